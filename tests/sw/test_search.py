"""Tensors of binary numbers: compiler and emulator against the integer reference, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from hw.arch.config import Space, preset
from sw.abcnet.reference import reference
from sw.compiler import CompileError, compile
from tests.graphs import random_graph, random_images
from tests.residuals import residual_graph
from tests.sw.test_schemes_compiled import emulate

ROOM = {"weight_depth": 4096, "program_depth": 128, "coefficient_depth": 512, "threshold_depth": 1024,
        "activation_depth": 4096}
CONFIGS = {
    "tiny": preset("tiny").replace(**ROOM), "tiny-2x2": preset("tiny-2x2").replace(**ROOM),
    "three": preset("tiny").replace(N=3, column_lanes=6, coefficient_bits=16, **ROOM),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("make", [random_graph, residual_graph])
def test_emulator_equals_reference(make, config):
    for seed in range(12):
        graph = make(seed, search=True)
        images = random_images(graph, 2, seed)
        logits = emulate(compile(graph, config), images)
        assert logits.tolist() == reference(graph, images, keep=False).logits.tolist(), seed


def test_a_search_takes_a_word_a_bit():
    """Eight bits from eight words, where thresholds would be 255."""
    graph = random_graph(5, search=True)
    assert graph.layers[0].levels == graph.layers[0].planes == 8
    whole, one = (compile(g, preset("tiny")).memories for g in (graph, replace(graph, layers=tuple(
        replace(layer, thresholds=layer.thresholds[:, :1], search=False, code=np.eye(2, layer.planes, dtype=np.uint8))
        if n == 0 else layer for n, layer in enumerate(graph.layers)))))
    channels = preset("tiny").chain_channels
    groups = -(-graph.layers[0].channels // preset("tiny").channel_lanes)
    assert whole[Space.THRESHOLDS].shape[1] - one[Space.THRESHOLDS].shape[1] == 7 * channels * groups


def test_steps_wider_than_a_sum_are_refused():
    graph = random_graph(5, search=True)
    first = graph.layers[0]
    steps = first.thresholds.copy()
    steps[0, 1] = 1 << 27
    wide = replace(graph, layers=(replace(first, thresholds=steps), *graph.layers[1:]))
    with pytest.raises(CompileError, match="^layer conv0 searches in steps up to 134217728, more than 28 signed bits"):
        compile(wide, preset("tiny"))
