"""Networks larger than the memories: exact, over the link too; what is loaded, what it costs, what is refused."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from hw.arch.config import Space, preset
from hw.arch.isa import LOADABLE, Await, Conv, Load, Pack
from sw import artifact
from sw.abcnet.reference import reference
from sw.artifact import Model
from sw.cli import main
from sw.compiler import CompileError, Program, compile
from sw.compiler.pace import INTAKE_RATE, frame_cycles
from sw.compiler.streaming import LayerWords, place
from sw.driver import Accelerator
from sw.emulator import Machine
from sw.errors import ArtifactError
from sw.graph import Image
from sw.link import EmulatedLink
from tests.graphs import STREAMED, TIGHT, random_images
from tests.residuals import residual_graph
from tests.sw.links import Spy, device
from tests.sw.samples import small_graph, some_images

CONFIGS = STREAMED | {"tight": TIGHT}
SMALL = preset("tiny-2x2").replace(weight_depth=18)  # for the small graph


def loads(program: Program) -> list[Load]:
    return [instruction for instruction in program.instructions if isinstance(instruction, Load)]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", [7, 14, 24, 42])
def test_every_logit_is_the_reference(seed: int, name: str) -> None:
    graph, config = residual_graph(seed), CONFIGS[name]
    program, machine, images = compile(graph, config), Machine(config), random_images(graph, 2, seed)
    assert len(loads(program)) > 1
    for space in program.memories:
        for bank, first, words in program.memory_words(space):
            machine.write(space, bank, first, words)
    found = []
    for image in images:
        machine.feed(program.image_bytes(image))
        machine.run()
        assert not machine.busy and not machine.fault and machine.cycles == program.predicted_cycles
        found.append(program.logits(machine.read(Space.RESULTS, 0, 0, program.result_words)))
    np.testing.assert_array_equal(found, reference(graph, images, keep=False).logits)


@pytest.mark.parametrize("seed", [7, 24, 44])
def test_nothing_is_loaded_over_what_a_layer_reads(seed: int) -> None:
    program = compile(residual_graph(seed), STREAMED["tiny"])
    stays = {space: program.memories[space].shape[1] if space in program.memories else 0 for space in LOADABLE}
    there = loading = None
    together = 0
    for instruction in program.instructions:
        if isinstance(instruction, Load):
            assert loading is None
            loading = instruction
            for space, (first, words) in loading.spans.items():
                assert not words or stays[space] <= first <= program.config.memories[space].depth - words
        elif isinstance(instruction, Await):
            there, loading = loading or there, None
        elif isinstance(instruction, Conv) and there and loading:
            together += 1
            for space, (first, words) in loading.spans.items():
                other, count = there.spans[space]
                assert first + words <= other or other + count <= first or not words or not count
    assert loading is None, "what was loaded last was computed with"
    assert together > 1


def test_what_is_sent_is_what_is_taken() -> None:
    program = compile(residual_graph(24), STREAMED["tiny"])
    assert len(program.stream) == sum(load.stream_bytes(program.config) for load in loads(program))
    kinds = [type(instruction) for instruction in program.instructions]
    assert len(kinds) - 1 - kinds[::-1].index(Pack) > len(kinds) - 1 - kinds[::-1].index(Load), "the next image is last"


def test_what_fits_is_not_loaded() -> None:
    program = compile(small_graph(), preset("tiny-2x2"))
    assert not len(program.stream) and not loads(program)


@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_batches_over_a_bad_line(seed: int, window: int) -> None:
    rng = random.Random(seed)

    def garble(data: bytes) -> bytes:
        return bytes(byte ^ 1 << rng.randrange(8) if rng.random() > 0.999 else byte for byte in data)

    program, images = compile(small_graph(), SMALL), some_images(5)
    assert loads(program)
    with Accelerator(Spy(device(SMALL), garble, 0.01), window=window, retries=30) as accelerator:
        accelerator.load(program)
        for part in (images[:4], images[4:]):
            np.testing.assert_array_equal(accelerator.infer(part), reference(small_graph(), part).logits)
        assert accelerator.stats().link.resent > 0
        assert accelerator.stats().cycles == 5 * program.predicted_cycles


def test_more_words_than_the_device_buffers() -> None:
    graph = small_graph(channels=48, classes=200)
    program, images = compile(graph, preset("tiny")), some_images(3)
    assert len(program.stream) > 10_000
    with Accelerator(EmulatedLink(device(preset("tiny")))) as accelerator:
        accelerator.load(program)
        np.testing.assert_array_equal(accelerator.infer(images), reference(graph, images).logits)


def test_model_files_keep_the_stream(tmp_path: Path) -> None:
    graph, images = small_graph(), some_images(2)
    model = Model(graph, images, reference(graph, images).logits, compile(graph, SMALL))
    artifact.save(tmp_path / "a", model)
    loaded = artifact.load(tmp_path / "a").program
    assert loaded is not None and model.program is not None
    assert loaded.instructions == model.program.instructions
    np.testing.assert_array_equal(loaded.stream, model.program.stream)
    short = dataclasses.replace(model.program, stream=model.program.stream[:-1])
    artifact.save(tmp_path / "b", dataclasses.replace(model, program=short))
    size = len(model.program.stream)
    with pytest.raises(ArtifactError, match=rf"b: program stream must be the {size} bytes .*, not {size - 1}$"):
        artifact.load(tmp_path / "b")


def words(count: int, *, groups: int = 1, unit: int = 1, name: str = "layer") -> LayerWords:
    """A layer of that many words per row group of weights, and none of the other memories."""
    config = preset("tiny")
    images = {space: np.zeros((config.memories[space].banks, 0, config.memories[space].bytes_per_word), np.uint8)
              for space in LOADABLE}
    memory = config.memories[Space.WEIGHTS]
    images[Space.WEIGHTS] = np.zeros((memory.banks, count * groups, memory.bytes_per_word), np.uint8)
    return LayerWords(name, groups, unit, images, frozenset({Space.WEIGHTS}))


@pytest.mark.parametrize(("layers", "depth", "stays", "parts", "ahead"), [
    ([words(5), words(5)], 10, 10, [1, 1], True),
    ([words(5), words(4)], 8, 0, [1, 1], False),  # no room for two areas
    ([words(5), words(4), words(3)], 11, 0, [1, 1, 1], True),
    ([words(2, groups=7)], 8, 0, [2, 2, 2, 1], True),
    ([words(2, groups=7, unit=2)], 9, 0, [2, 2, 2, 1], True),
    ([words(2, groups=6, unit=4)], 9, 0, [4, 2], False),
    ([words(1, groups=9), words(6)], 10, 6, [2, 2, 2, 2, 1, 1], True),
    ([words(70), words(1, groups=90), words(4)], 100, 74, [1, 13, 13, 13, 13, 13, 13, 12, 1], True),
])
def test_what_stays_and_how_layers_are_cut(
    layers: list[LayerWords], depth: int, stays: int, parts: list[int], ahead: bool
) -> None:
    placement = place(layers, preset("tiny").replace(weight_depth=depth))
    kept = placement.memories.get(Space.WEIGHTS)
    assert (0 if kept is None else kept.shape[1]) == stays
    assert [part.groups for part in placement.parts] == parts
    assert placement.ahead == ahead
    covered = [(part.layer, part.first + n) for part in placement.parts for n in range(part.groups)]
    assert covered == [(number, n) for number, layer in enumerate(layers) for n in range(layer.row_groups)]


def test_a_layer_that_is_too_large_is_refused() -> None:
    with pytest.raises(CompileError, match=(
            r"^layer b needs 12 words per bank of weights memory for 8 of its channels at once, "
            r"2 more than its depth of 10$")):
        place([words(5), words(6, groups=3, unit=2, name="b")], preset("tiny").replace(weight_depth=10))
    with pytest.raises(CompileError, match="^layer b needs 18 words per bank of weights memory after 5 used ones, 13 "):
        place([words(5), words(6, groups=3, name="b")], preset("tiny").replace(weight_depth=10), streaming=False)


def test_what_no_configuration_loads_is_refused_with_the_preset_that_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image, channels, advice in ((Image(28, 28, 1), 40, "compact is the smallest preset that runs sample"),
                                    (Image(100, 100, 1), 6, "no preset runs sample")):
        graph = small_graph(image=image, channels=channels)
        images = some_images(1, image=image)
        artifact.save(tmp_path / "a", Model(graph, images, np.zeros((1, 5), np.int64)))
        assert main(["info", str(tmp_path / "a"), "--preset", "tiny"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.endswith(f"; {advice}\n"), err
        assert " more than the activation memory's depth of " in err, err


def test_info_says_what_loading_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = small_graph(channels=48, classes=200)
    artifact.save(tmp_path / "a", Model(graph, some_images(0), np.zeros((0, 200), np.int64)))
    assert main(["info", str(tmp_path / "a"), "--preset", "tiny"]) == 0
    out, program = capsys.readouterr().out, compile(graph, preset("tiny"))
    assert f"{len(program.stream)} bytes of words come with every image\nfrom one image to the next:\n" in out
    assert f"  {frame_cycles(program)} cycles, " in out
    assert " parts " in out


@pytest.mark.parametrize("rate", [0.01, 0.25, INTAKE_RATE])
def test_a_slow_line_sets_the_pace(rate: float) -> None:
    program = compile(small_graph(channels=48, classes=200), preset("tiny"))
    least = (len(program.stream) + program.rows * program.columns) / rate
    assert least <= frame_cycles(program, rate) <= 1.02 * least + 500


def test_a_fast_line_costs_nothing() -> None:
    program = compile(small_graph(channels=48, classes=200), preset("tiny"))
    waits = (1 + len(loads(program))) * 30
    assert program.predicted_cycles <= frame_cycles(program, 1e6) <= program.predicted_cycles + waits
    resident = compile(small_graph(), preset("tiny"))
    assert resident.predicted_cycles <= frame_cycles(resident) <= resident.predicted_cycles + resident.pack_cycles
