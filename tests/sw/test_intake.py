"""Layers that read the image, with kernels that fit a word and kernels that do not: windows, and the same integers."""

import numpy as np
import pytest

from hw.arch.config import Space, preset
from hw.arch.isa import Await, Conv, Pack, Walk
from sw.abcnet.reference import reference
from sw.compiler import CompileError, compile
from sw.emulator import Machine
from sw.graph import Graph, Image
from tests.graphs import random_conv, random_images


def graph_with(kernel, image=(13, 12, 3), seed=1, **options):
    """One layer on the image, one on its pixels and a classifier."""
    rng = np.random.default_rng(seed)
    first = random_conv(rng, "first", "image", image, 8, co=5, kernel=kernel, m=2, **options)
    out = first.output(*image[:2])
    shape = out.rows, out.columns, out.channels
    middle = random_conv(rng, "middle", "first", shape, first.planes, co=5, kernel=1)
    last = random_conv(rng, "last", "middle", shape, middle.planes, co=3, kernel=shape[:2], levels=0)
    return Graph("intake", Image(*image), (first, middle, last), tuple("abc"), 1.0, {})


def emulated(program, images):
    """Logits of images that are all fed at once."""
    machine, rows = Machine(program.config), []
    for space in program.memories:
        for bank, first, words in program.memory_words(space):
            machine.write(space, bank, first, words)
    machine.feed(b"".join(program.image_bytes(image) for image in images))
    for _ in images:
        machine.run()
        assert not machine.busy and not machine.fault
        assert machine.cycles == program.predicted_cycles
        rows.append(program.logits(machine.read(Space.RESULTS, 0, 0, program.result_words)))
    return np.array(rows)


@pytest.mark.parametrize(("kernel", "word", "window", "options"), [
    (3, 32, (3, 3), {"stride": 2, "pool": 2, "pool_stride": 2}),
    (7, 64, (7, 1), {"padding": 3, "stride": 2, "pool": 2, "pool_stride": 1}),
    (7, 16, (1, 1), {"padding": 2}),
    (7, 64, (7, 1), {"padding": 3, "stride": 2, "pool": 3, "pool_stride": 2, "pool_padding": 1}),
    (3, 32, (3, 3), {"padding": 1, "pool": 3, "pool_stride": 2, "pool_padding": 1}),
    (11, 64, (11, 1), {"padding": 4, "stride": 4}),
    (11, 16, (1, 1), {"padding": 1}),
    ((4, 6), 32, (4, 2), {"stride": 3}),
    ((6, 4), 32, (2, 4), {"stride": 1, "pool": 3, "pool_stride": 2}),
])
@pytest.mark.parametrize("name", ["tiny", "tiny-2x2"])
def test_kernels_of_any_size(name, kernel, word, window, options):
    config = preset(name).replace(
        word=word, accumulator_bits=20, sum_bits=32, weight_depth=8192, activation_depth=16384, tap_depth=2048)
    graph = graph_with(kernel, **options)
    program = compile(graph, config)
    pack = next(item for item in program.instructions if isinstance(item, Pack))
    assert (pack.window_rows, pack.window_columns) == window
    images = random_images(graph, 3)
    assert np.array_equal(emulated(program, images), reference(graph, images).logits)


@pytest.mark.parametrize(("n", "kernel", "split", "words"), [
    (1, 3, 1, 4), (2, 3, 1, 2), (3, 3, 0, 3), (4, 3, 1, 1), (5, 3, 1, 1), (6, 3, 1, 1), (7, 3, 1, 1), (8, 3, 0, 1),
    (1, 5, 0, 8),  # a word holds the kernel, half a word a fifth of it
    (1, 7, 1, 4 * 7), (2, (6, 3), 0, 4),  # equal words: fewer weights
])
def test_two_planes_in_a_word(n, kernel, split, words):
    config = preset("tiny").replace(
        N=n, column_lanes=2 * n, word=32, coefficient_bits=16, accumulator_bits=18, sum_bits=32)
    graph = graph_with(kernel, image=(9, 8, 1), stride=2, padding=1)
    program = compile(graph, config)
    pack, conv = (next(item for item in program.instructions if isinstance(item, cls)) for cls in (Pack, Conv))
    walk = next(item for item in program.instructions if isinstance(item, Walk))
    assert (pack.split, conv.split, walk.taps * conv.activation_passes) == (split, split, words)
    images = random_images(graph, 2)
    assert np.array_equal(emulated(program, images), reference(graph, images).logits)


def test_a_small_line_buffer_takes_smaller_windows():
    graph = graph_with(3, image=(9, 9, 3))
    windows = []
    for depth in (64, 32):
        program = compile(graph, preset("tiny").replace(word=32, image_depth=depth))
        pack = next(item for item in program.instructions if isinstance(item, Pack))
        windows.append((pack.window_rows, pack.window_columns))
        images = random_images(graph, 2)
        assert np.array_equal(emulated(program, images), reference(graph, images).logits)
    assert windows == [(3, 3), (1, 3)]
    with pytest.raises(CompileError, match="^layer first needs 28 bytes of image line buffer, 12 more than the 16 of"):
        compile(graph, preset("tiny").replace(image_depth=16))


def test_the_next_image_is_packed_ahead_where_there_is_room():
    graph = graph_with(3, image=(9, 9, 1))
    config = preset("tiny")
    program = compile(graph, config)
    kinds = [type(item) for item in program.instructions]
    first = kinds.index(Conv)
    assert kinds[1:3] == [Pack, Await] and kinds[first + 2] == Pack and kinds.count(Await) == 1
    tight = compile(graph, config.replace(activation_depth=program.activation_words - 1))
    assert [type(item) for item in tight.instructions].count(Pack) == 1
    assert "next image, ahead" in [stage.kernel for stage in program.stages]
    assert "next image, ahead" not in [stage.kernel for stage in tight.stages]
    images = random_images(graph, 3)
    for compiled in (program, tight):
        assert np.array_equal(emulated(compiled, images), reference(graph, images).logits)
