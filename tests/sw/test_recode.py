"""Recoding: fewer planes, the same integers, for every number of planes up to seven."""

from dataclasses import replace

import numpy as np
import pytest

from sw.compiler.recode import recode
from sw.graph import Conv, Graph, Image

SEED = 7
FEWER = {1: 1, 2: 2, 3: 2, 4: 4, 5: 3, 6: 6, 7: 4}


def nested_graph(m, n, coefficients, rng, flip=True):
    """Image layer, a layer with nested bases and activations, and classes; c of the middle layer as given."""
    wide = rng.normal(size=(6, 4, 3, 3))
    bases = np.stack([wide + u > 0 for u in np.linspace(-1, 1, m)]).astype(np.uint8)
    if flip:
        bases[:, 1::2] ^= 1  # negative batch norm scales
    thermometer = (np.arange(n) < np.arange(n + 1)[:, None]).astype(np.uint8)
    first = Conv(
        name="first", source="image", weights=rng.integers(0, 2, (1, 4, 1, 3, 3)).astype(np.uint8),
        coefficients=np.array([[3 << 7 - j for j in range(8)]]),
        thresholds=np.sort(rng.integers(-4000, 4000, (4, n)), axis=1), code=thermometer)
    middle = Conv(name="middle", source="first", weights=bases, coefficients=coefficients,
                  thresholds=np.sort(rng.integers(-300, 300, (6, 2)), axis=1),
                  code=np.array([[0, 0], [0, 1], [1, 1]], np.uint8))
    last = Conv(name="last", source="middle", weights=rng.integers(0, 2, (1, 3, 6, 4, 4)).astype(np.uint8),
                coefficients=np.array([[5, 9]]), bias=np.arange(3))
    return Graph("nested", Image(8, 8, 1), (first, middle, last), ("a", "b", "c"), 1.0, {})


def symmetric(count, rng):
    half = rng.integers(1, 40, (count + 1) // 2)
    return np.concatenate([half, half[: count // 2][::-1]])


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("m", range(1, 8))
def test_symmetric_planes_shrink_and_integers_stay(m, n):
    reference = pytest.importorskip("sw.abcnet.reference").reference
    rng = np.random.default_rng([SEED, m, n])
    graph = nested_graph(m, n, np.outer(symmetric(m, rng), symmetric(n, rng)), rng)
    fewer = recode(graph)
    assert fewer.layers[1].weight_planes == FEWER[m]
    assert fewer.layers[0].planes == fewer.layers[1].source_planes == FEWER[n]
    images = rng.integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
    before, after = reference(graph, images), reference(fewer, images)
    for name, integers in before.integers.items():
        assert np.array_equal(integers, after.integers[name]), name
    assert np.array_equal(before.logits, after.logits)


def test_even_levels_take_binary_weights():
    rng = np.random.default_rng(SEED)
    fewer = recode(nested_graph(7, 7, np.full((7, 7), 2), rng))
    assert (fewer.layers[1].weight_planes, fewer.layers[1].source_planes) == (3, 3)


@pytest.mark.parametrize("why", ["asymmetric", "not nested"])
def test_other_planes_are_left_alone(why):
    rng = np.random.default_rng(SEED)
    graph = nested_graph(3, 1, np.array([[3], [4], [5 if why == "asymmetric" else 3]]), rng)
    if why == "not nested":
        weights = rng.integers(0, 2, graph.layers[1].weights.shape).astype(np.uint8)
        graph = replace(graph, layers=(graph.layers[0], replace(graph.layers[1], weights=weights), graph.layers[2]))
    assert recode(graph).layers[1].weight_planes == 3
