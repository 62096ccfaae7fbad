"""A small network with random weights, what it answers, and files of it."""

from __future__ import annotations

import functools

import numpy as np

from hw.arch.config import Config, Space, preset
from hw.arch.isa import Padding
from sw.compiler import Program, compile
from sw.emulator import Machine
from sw.graph import Conv, Graph, Image

CONFIG = preset("tiny-2x2")
SIDE = 6
CLASSES = 5


def graph(seed: int = 1, side: int = SIDE) -> Graph:
    """Two layers of 2 x 2 planes: a padded, pooled convolution and a fully connected one."""
    rng = np.random.default_rng(seed)
    channels, planes = 6, 2 ** np.arange(7, -1, -1)
    bits = functools.partial(rng.integers, 0, 2, dtype=np.uint8)
    first = Conv(
        name="conv", source="image", weights=bits((2, channels, 1, 3, 3)),
        coefficients=np.outer([3, 1], planes).astype(np.int64), padding=1, pad=Padding.LOW, pool=2, pool_stride=2,
        thresholds=np.sort(rng.integers(-900, 900, (channels, 2)), axis=1),
        code=np.array([[0, 0], [1, 0], [1, 1]], np.uint8),
    )
    return _classified("sample", (first,), rng, side, seed)


def residual(seed: int = 1, side: int = SIDE) -> Graph:
    """Three layers, the second with the first one's values added."""
    rng = np.random.default_rng(seed)
    channels, planes = 4, 2 ** np.arange(7, -1, -1)
    bits = functools.partial(rng.integers, 0, 2, dtype=np.uint8)
    first = Conv(
        name="first", source="image", weights=bits((2, channels, 1, 2, 2)), stride=2, keep=True, shift=4,
        coefficients=np.outer([3, 1], planes).astype(np.int64),
        thresholds=np.sort(rng.integers(-400, 400, (channels, 2)), axis=1),
        code=np.array([[0, 0], [1, 0], [1, 1]], np.uint8),
    )
    second = Conv(
        name="second", source="first", weights=bits((2, channels, channels, 1, 1)), add="first", shift=4,
        coefficients=np.array([[50, 30], [20, 10]]),
        thresholds=np.sort(rng.integers(-400, 400, (channels, 2)), axis=1),
        code=np.array([[0, 0], [1, 0], [1, 1]], np.uint8),
    )
    return _classified("residual", (first, second), rng, side, seed)


def _classified(name: str, layers: tuple[Conv, ...], rng: np.random.Generator, side: int, seed: int) -> Graph:
    """The layers, which halve the image, and a fully connected one of 2 x 2 planes behind them."""
    shape = (2, CLASSES, layers[-1].channels, side // 2, side // 2)
    last = Conv(
        name="fc", source=layers[-1].name, weights=rng.integers(0, 2, shape, dtype=np.uint8),
        coefficients=np.array([[5, 3], [2, 1]]), bias=rng.integers(-50, 50, CLASSES),
    )
    names = tuple(f"class {i}" for i in range(CLASSES))
    return Graph(name, Image(side, side, 1), (*layers, last), names, 0.01, {"seed": str(seed)})


@functools.cache
def program(seed: int = 1, config: Config = CONFIG) -> Program:
    """`graph(seed)`, compiled."""
    return compile(graph(seed), config)


def images(count: int, seed: int = 2, side: int = SIDE) -> np.ndarray:
    """Random images, uint8 [count, side, side, 1]."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 1)).astype(np.uint8)


def load(machine: Machine, program: Program) -> Machine:
    """Write the program into a core; the same core."""
    for space in program.memories:
        for bank, first, words in program.memory_words(space):
            machine.write(space, bank, first, words)
    return machine


def expected(program: Program, batch: np.ndarray) -> np.ndarray:
    """Logits int64 [B, classes] by the emulator, without any link."""
    machine, rows = load(Machine(program.config), program), []
    for image in batch:
        machine.feed(program.image_bytes(image))
        machine.run()
        rows.append(program.logits(machine.read(Space.RESULTS, 0, 0, program.result_words)))
    return np.array(rows)
