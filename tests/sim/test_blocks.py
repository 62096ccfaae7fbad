"""The blocks of the core, each alone against plain integers."""

import pytest

from hw.arch.config import preset
from hw.array import Array
from hw.dot import Dot
from hw.sequencer import Sequencer
from hw.threshold import Threshold
from hw.values import ValueLane
from hw.walk import LaneWalk, TargetWalk
from sim.runner import run

CONFIGS = {
    "tiny": preset("tiny"),
    "tiny-2x2": preset("tiny-2x2"),
    "one": preset("tiny").replace(row_lanes=1, column_lanes=1, chain=1, word=8),
    "odd": preset("tiny").replace(M=3, N=3, row_lanes=12, column_lanes=12, chain=6, word=24),
}


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


def test_dot(config):
    assert run(Dot(config), "sim.core.bench_dot", settings={"config": config.to_json(), "steps": 500}) == 1


def test_array(config):
    assert run(Array(config), "sim.core.bench_array", settings={"config": config.to_json()}) == 1


def test_threshold(config):
    assert run(Threshold(config), "sim.core.bench_threshold", settings={"config": config.to_json()}) == 1


def test_values(config):
    assert run(ValueLane(config), "sim.core.bench_values", settings={"config": config.to_json()}) == 1


@pytest.mark.parametrize("walk", [TargetWalk, LaneWalk])
def test_walk(config, walk):
    kind = {TargetWalk: "target", LaneWalk: "lanes"}[walk]
    run(walk(config), f"sim.core.bench_{kind}", settings={"config": config.to_json()})


@pytest.mark.parametrize("name", ["tiny", "odd"])
def test_sequencer(name):
    config = CONFIGS[name].replace(program_depth=12)
    settings = {"config": config.to_json(), "programs": 120}
    assert run(Sequencer(config), "sim.core.bench_sequencer", settings=settings) == 3
