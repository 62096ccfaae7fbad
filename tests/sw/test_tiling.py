"""Tensors larger than the memories: bands of rows give the same integers; what comes again, what is chosen, refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hw.arch.config import Config, preset
from hw.arch.isa import Pack
from sw import artifact
from sw.abcnet.reference import reference
from sw.artifact import Model
from sw.cli import main
from sw.compiler import CompileError, Program, compile
from sw.compiler.pace import frame_cycles
from sw.driver import Accelerator
from sw.errors import ArtifactError
from sw.graph import Graph, Image
from sw.link import EmulatedLink
from tests.graphs import narrowed, random_conv, random_graph, random_images
from tests.residuals import residual_graph
from tests.sw.links import device
from tests.sw.samples import small_graph, some_images
from tests.sw.test_intake import emulated

ROOM = {"program_depth": 512, "tap_depth": 512}
LANES = preset("tiny").replace(column_lanes=8)
TALL = Image(24, 24, 1)  # does not fit the preset tiny


def narrow(graph: Graph, name: str, **memories: float) -> Config:
    config = LANES if name == "lanes" else preset(name)
    return narrowed(graph, config.replace(**ROOM), memories)


def banded(program: Program) -> list[str]:
    """Layers that run in bands."""
    return [stage.name for stage in program.stages if "bands" in stage.kernel]


def check(graph: Graph, config: Config, seed: int) -> list[str]:
    """Layers that run in bands; logits and cycles are the right ones, image after image."""
    program, images = compile(graph, config), random_images(graph, 2, seed)
    assert len(program.bands) > 1 and banded(program)
    np.testing.assert_array_equal(emulated(program, images), reference(graph, images, keep=False).logits)
    return banded(program)


@pytest.mark.parametrize(("seed", "share", "name", "layers"), [
    (2, 0.7, "tiny", 1), (8, 0.5, "tiny", 3), (8, 0.5, "lanes", 2), (12, 0.7, "tiny-2x2", 2), (18, 0.6, "tiny", 3),
    (18, 0.6, "tiny-2x2", 3), (20, 0.7, "tiny", 2), (33, 0.5, "tiny-2x2", 2), (2, 0.7, "lanes", 1),
])
def test_bands_give_the_same_integers(seed: int, share: float, name: str, layers: int) -> None:
    graph = random_graph(seed)
    assert len(check(graph, narrow(graph, name, activation_depth=share), seed)) == layers


@pytest.mark.parametrize(("seed", "name", "memories"), [
    (3, "tiny", {"value_depth": 0.5}), (5, "tiny-2x2", {"value_depth": 0.7}), (7, "tiny", {"activation_depth": 0.7}),
    (17, "tiny-2x2", {"activation_depth": 0.5}), (20, "tiny", {"activation_depth": 0.7}),
    (20, "tiny-2x2", {"activation_depth": 0.7, "weight_depth": 160}), (22, "tiny", {"value_depth": 0.7}),
])
def test_residual_values_in_bands(seed: int, name: str, memories: dict[str, float]) -> None:
    graph = residual_graph(seed)
    assert len(check(graph, narrow(graph, name, **memories), seed)) > 2


def test_what_tiling_is_not_asked_for() -> None:
    graph = small_graph(image=TALL)
    with pytest.raises(CompileError, match=(
            r"^layer image makes \d+ words per bank; with it activations need \d+, \d+ more than the activation "
            r"memory's depth of 1024$")):
        compile(graph, preset("tiny"), tiling=False)
    whole = compile(graph, preset("tiny").replace(activation_depth=4096))
    assert whole.bands == ((0, 26),) and not banded(whole)


def test_the_rows_of_every_band_are_sent() -> None:
    program, image = compile(small_graph(image=TALL), preset("tiny")), some_images(1, image=TALL)[0]
    packs = [instruction.rows for instruction in program.instructions if isinstance(instruction, Pack)]
    assert packs == [*(rows for _, rows in program.bands), packs[0]], "the next image's first band is packed ahead"
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    assert program.image_bytes(image) == b"".join(padded[a : a + n].tobytes() for a, n in program.bands)
    ends = [first + rows for first, rows in program.bands]
    assert program.bands[0][0] == 0 and ends[-1] == program.rows == 26
    assert all(end - first == 2 for end, (first, _) in zip(ends, program.bands[1:], strict=False)), "a 3 x 3 kernel"


def test_bands_over_the_link() -> None:
    graph, config, images = small_graph(image=TALL), preset("tiny"), some_images(5, image=TALL)
    program = compile(graph, config)
    with Accelerator(EmulatedLink(device(config))) as accelerator:
        accelerator.load(program)
        for part in (images[:3], images[3:]):
            np.testing.assert_array_equal(accelerator.infer(part), reference(graph, part).logits)
        assert accelerator.stats().cycles == len(images) * program.predicted_cycles


def test_model_files_keep_the_bands(tmp_path: Path) -> None:
    graph, images = small_graph(image=TALL), some_images(1, image=TALL)
    program = compile(graph, preset("tiny"))
    model = Model(graph, images, reference(graph, images).logits, program)
    artifact.save(tmp_path / "a", model)
    loaded = artifact.load(tmp_path / "a").program
    assert loaded is not None and loaded.bands == program.bands and loaded.instructions == program.instructions
    for bands, complaint in (
        (program.bands[1:], "must be the .* rows that its instructions pack"), ((), "must lie in the 26 rows"),
        (((20, 10),), "must lie in the 26 rows"), ((("a", 1),), "must lie in the 26 rows"),
    ):
        artifact.save(tmp_path / "b", dataclasses.replace(model, program=dataclasses.replace(program, bands=bands)))
        with pytest.raises(ArtifactError, match=f"^model file .*b: program bands {complaint}"):
            artifact.load(tmp_path / "b")


@pytest.mark.parametrize(("memories", "complaint"), [
    ({"activation_depth": 40}, ", in bands of rows too$"),
    ({"activation_depth": 400, "program_depth": 20}, "; in bands of rows graph sample needs .* than the program mem"),
    ({"activation_depth": 1024, "weight_depth": 8}, "; in bands of rows the 1 layers up to conv have no room for all "
     "their words in the weights memory's 8 beside what every image brings anew$"),
])
def test_what_does_not_fit_in_bands_either_is_refused(memories: dict[str, int], complaint: str) -> None:
    with pytest.raises(CompileError, match=f"^layer image makes .* than the activation memory's .*{complaint}"):
        compile(small_graph(image=TALL), preset("tiny").replace(**memories))


def test_the_fastest_way_is_chosen() -> None:
    """Of a layer alone, or of two and the pool between them, in bands of any height."""
    rng = np.random.default_rng(5)
    image, layers = (20, 12, 1), []
    for name, source, shape, planes, options in (
        ("first", "image", image, 8, {"co": 8, "padding": 1}), ("second", "first", (20, 12, 8), 2, {"co": 8, "pool": 2,
         "pool_stride": 2, "padding": 1}), ("last", "second", (10, 6, 8), 2, {"co": 3, "kernel": (10, 6), "levels": 0}),
    ):
        layers.append(random_conv(rng, name, source, shape, planes, **options))
    graph = Graph("three", Image(*image), tuple(layers), tuple("abc"))
    found = {}
    for depth in range(300, 1100, 40):
        program = compile(graph, preset("tiny").replace(activation_depth=depth, **ROOM))
        found[depth] = len(program.bands), tuple(banded(program)), frame_cycles(program)
    cycles = [each[-1] for each in found.values()]
    assert cycles == sorted(cycles, reverse=True), f"more memory is never slower: {found}"
    assert len({each[:2] for each in found.values()}) > 3


@pytest.mark.parametrize("rate", [0.05, 1.0])
def test_rows_that_come_again_take_time(rate: float) -> None:
    program = compile(small_graph(image=TALL), preset("tiny"))
    sent = len(program.image_bytes(some_images(1, image=TALL)[0]))
    assert sent == program.columns * sum(rows for _, rows in program.bands) > program.rows * program.columns
    least, cycles = max(sent / rate, program.pack_cycles), frame_cycles(program, rate)
    assert least <= cycles <= least + program.predicted_cycles


def test_info_names_the_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = small_graph(image=TALL)
    artifact.save(tmp_path / "a", Model(graph, some_images(0, image=TALL), np.zeros((0, 5), np.int64)))
    assert main(["info", str(tmp_path / "a"), "--preset", "tiny"]) == 0
    out, program = capsys.readouterr().out, compile(graph, preset("tiny"))
    again = sum(rows for _, rows in program.bands) / program.rows - 1
    assert f"the image comes in {len(program.bands)} bands of rows, {again:.0%} of them again\n" in out
    assert f"3x3, pool 2, {len(program.bands)} bands " in out and f"  {frame_cycles(program)} cycles, " in out
