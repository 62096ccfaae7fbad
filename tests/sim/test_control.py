"""The blocks that feed the array and write its results, each alone: their order, their cycles, their faults."""

import pytest

from hw.arch.config import Memory
from hw.combine import Combine
from hw.drain import Drain
from hw.feeder import Feeder
from hw.intake import Intake
from hw.issuer import Issuer
from hw.memory import Banks
from hw.threshold import Comparer
from hw.writer import Writer
from sim.runner import run
from tests.sim.test_blocks import CONFIGS

BLOCKS = {
    "drain": (Drain, 2), "comparer": (Comparer, 2), "issuer": (Issuer, 2), "feeder": (Feeder, 2), "writer": (Writer, 4),
    "intake": (Intake, 5),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", BLOCKS)
def test_block(name, config):
    block, count = BLOCKS[name]
    assert run(block(config), f"sim.core.bench_{name}", settings={"config": config.to_json()}) == count


def test_intake_of_two_plane_groups():
    config = CONFIGS["tiny"].replace(N=4, column_lanes=8)
    assert run(Intake(config), "sim.core.bench_intake", settings={"config": config.to_json()}) == 5


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_combine(config):
    block = Combine(config, config.N - 1)
    assert run(block, "sim.core.bench_combine", settings={"config": config.to_json()}) == 1


@pytest.mark.parametrize(("shape", "granularity"), [((1, 5, 8), 8), ((3, 16, 24), 6), ((8, 33, 16), 4)])
def test_banks(shape, granularity):
    settings = {"shape": shape, "granularity": granularity}
    assert run(Banks(Memory(*shape), granularity), "sim.core.bench_banks", settings=settings) == 1
