"""`Comparer` against the order of thresholds in `hw.arch.isa.Conv`."""

import cocotb

from hw.arch import timing
from hw.arch.config import Space
from hw.arch.isa import Conv
from hw.layouts import compare_layout
from sim.core.surroundings import Rom, Watch, configuration, flat
from sim.helpers import cycles, generator, start, unpack

CONV = {"weights": 0, "weight_passes": 1, "activation_passes": 1, "fused": 0, "coefficients": 0,
        "coefficient_stride": 0, "target_groups": 1, "row_groups": 1, "last_channels": 1}


@cocotb.test()
async def random_layers(dut):
    """Commands and thresholds of every group in the declared cycles; groups as close as they may come."""
    config, rng = configuration(), generator()
    memory = config.memories[Space.THRESHOLDS]
    words = [[rng.getrandbits(memory.bits) for _ in range(memory.depth)] for _ in range(memory.banks)]
    Rom(dut, "address", "words", lambda a: flat([bank[a % memory.depth] for bank in words], memory.bits))
    await start(dut, conv=0, begin=0, finished=0, row_end=0)
    for levels in (0, 1, 2, 7, 15):
        base, count = rng.randint(0, 9), config.chain_channels * levels
        dut.conv.value, dut.begin.value = Conv(thresholds=base, levels=levels, **CONV).pack(), 1
        await cycles(dut, 1)
        dut.begin.value = 0
        watch, expected, cycle = Watch(dut, "compare", "fault"), {}, 0
        await cycles(dut, 1)
        for row in range(3):
            groups = rng.randint(1, 3)
            for group in range(groups):
                gap = max(timing.least_period(config), count) - 1 + rng.choice((0, 0, 1, 6))
                await cycles(dut, gap)
                dut.finished.value, dut.row_end.value = 1, int(group == groups - 1)
                await cycles(dut, 1)
                dut.finished.value = dut.row_end.value = 0
                first, cycle = cycle + gap + timing.COMPARE, cycle + gap + 1
                expected.setdefault(first - 1, {})["load"] = 1
                for n in range(count):
                    now = expected.setdefault(first + n, {})
                    now["compare"], now["next"] = 1, int(n % levels == levels - 1)
                    now["thresholds"] = flat([bank[base + row * count + n] for bank in words], memory.bits)
                expected.setdefault(first + count, {})["done"] = 1
        await cycles(dut, count + timing.COMPARE + 3)
        for cycle, (compare, fault) in enumerate(watch.seen):
            found, now = unpack(compare_layout(config), compare), expected.get(cycle, {})
            assert not fault
            for name in ("load", "compare", "next", "done"):
                assert found[name] == now.get(name, 0), (cycle, name, levels)
            if "thresholds" in now:
                assert found["thresholds"] == now["thresholds"], (cycle, levels)


@cocotb.test()
async def outside_the_memory(dut):
    """A threshold that does not exist is a fault."""
    config = configuration()
    await start(dut, conv=0, begin=0, finished=0, row_end=0, words=0)
    dut.conv.value, dut.begin.value = Conv(thresholds=config.threshold_depth - 1, levels=15, **CONV).pack(), 1
    await cycles(dut, 1)
    dut.begin.value, dut.finished.value = 0, 1
    watch = Watch(dut, "fault")
    await cycles(dut, 1)
    dut.finished.value = 0
    await cycles(dut, 15 * config.chain_channels + 5)
    assert sum(fault for fault, in watch.seen) == 15 * config.chain_channels - 1
