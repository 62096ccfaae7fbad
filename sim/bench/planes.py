"""Cycles of a layer as its bases grow: linear in the planes, and a third to a half of that with recoding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hw.arch.config import Config, preset
from hw.arch.isa import Padding
from sim.figures import Figure
from sw.compiler import compile
from sw.graph import Conv, Graph, Image

BASES = (1, 2, 3, 5)
# Recoding needs 2 planes for 3 bases and 3 for 5, on both sides.
BARS = {3: Fraction(4, 9), 5: Fraction(9, 25)}
CHANNELS, SIZE = 64, 12


def network(m: int, n: int, rng: np.random.Generator) -> Graph:
    """A 3x3 layer, 64 to 64 channels on a 12x12 map; m bases and n activations, nested, of symmetric coefficients."""
    def symmetric(count: int) -> np.ndarray:
        half = rng.integers(5, 20, -(-count // 2))
        return np.concatenate([half, half[::-1][count % 2 :]])

    def layer(name: str, source: str, bases: int, planes: int, levels: int, **values: object) -> Conv:
        ci = 1 if source == "image" else CHANNELS
        order = rng.random((CHANNELS, ci, 3, 3))
        bits = np.stack([order > (i + 1) / (bases + 1) for i in range(bases)]).astype(np.uint8)
        return Conv(name=name, source=source, weights=bits, padding=1, pad=Padding.SKIP, **{
            "coefficients": np.outer(symmetric(bases), symmetric(planes)),
            "thresholds": np.sort(rng.integers(-500, 500, (CHANNELS, levels)), axis=1),
            "code": np.tril(np.ones((levels + 1, levels), np.uint8), -1), **values})

    first = layer("first", "image", 1, 8, n, coefficients=1 << np.arange(7, -1, -1)[None])
    first = Conv(**{**first.__dict__, "pad": Padding.LOW})
    last = Conv(name="last", source="layer", weights=np.ones((1, 2, CHANNELS, SIZE, SIZE), np.uint8),
                coefficients=np.ones((1, 1), np.int64))
    return Graph(f"planes{m}x{n}", Image(SIZE, SIZE, 1), (first, layer("layer", "first", m, n, 1), last), ("a", "b"))


def cycles(graph: Graph, config: Config, recoding: bool) -> int:
    """Predicted, that is exact, cycles of the layer."""
    stages = compile(graph, config, recoding=recoding).stages
    return next(stage.cycles for stage in stages if stage.name == "layer")


def measure(quick: bool, seed: int) -> list[Figure]:
    """The layer with 1x1 to 5x5 planes, with and without recoding."""
    config = preset("medium").replace(
        weight_depth=4096, activation_depth=8192, coefficient_depth=4096, threshold_depth=4096, tap_depth=1024,
        accumulator_bits=18)
    counts = {bases: [cycles(network(bases, bases, np.random.default_rng(seed)), config, recoding)
                      for recoding in (False, True)] for bases in BASES[: 3 if quick else None]}
    # What a pair of planes costs, and a layer whatever its planes; that of 1 x 1 may save a set-up it shares.
    each = Fraction(counts[3][0] - counts[2][0], 9 - 4)
    once = counts[2][0] - 4 * each
    figures = []
    for bases, (plain, recoded) in counts.items():
        linear = plain - once <= bases**2 * each
        figures.append(Figure(
            f"{bases}x{bases} bases without recoding, against a pair of planes ({once} cycles once per layer left out)",
            f"<= {bases**2}", f"{float((plain - once) / each):.2f} ({plain:,} cycles)", linear))
        if bases in BARS:
            ratio = Fraction(recoded - once, plain - once)
            figures.append(Figure(
                f"{bases}x{bases} bases with recoding, against without", f"<= {BARS[bases]}",
                f"{ratio} ({recoded:,} cycles)", ratio <= BARS[bases]))
    return figures
