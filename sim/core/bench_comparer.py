"""`Comparer` against the order of thresholds in `hw.arch.isa.Conv`."""

import itertools

import cocotb

from hw.arch import timing
from hw.arch.config import Space
from hw.arch.isa import NO_VALUES, Conv, Values
from hw.layouts import access_layout, compare_layout
from sim.core.surroundings import Rom, Watch, configuration, flat
from sim.helpers import cycles, generator, start, unpack

CONV = {"weights": 0, "weight_passes": 1, "activation_passes": 1, "fused": 0, "coefficients": 0,
        "coefficient_stride": 0, "search": 0, "target_groups": 1, "row_groups": 1, "last_channels": 1, "split": 0}
VALUED = Values(base=3, add=1, keep=1, shift=0, rectify=0)
IDLE = {"conv": 0, "values": 0, "begin": 0, "finished": 0, "row_end": 0}


@cocotb.test()
async def random_layers(dut):
    """Commands, thresholds and values of every group in the declared cycles; groups as close as they may come."""
    config, rng = configuration(), generator()
    memory = config.memories[Space.THRESHOLDS]
    words = [[rng.getrandbits(memory.bits) for _ in range(memory.depth)] for _ in range(memory.banks)]
    Rom(dut, "address", "words", lambda a: flat([bank[a % memory.depth] for bank in words], memory.bits))
    await start(dut, **IDLE)
    for levels, values in itertools.product((0, 1, 2, 7, 15), (NO_VALUES, VALUED)):
        conv = Conv(thresholds=rng.randint(0, 9), levels=levels, **CONV)
        residual, per_channel = conv.residual(values), conv.compared(values)
        count, place = config.chain_channels * per_channel, values.base
        dut.conv.value, dut.values.value = conv.pack(), values.pack()
        await cycles(dut, 2)
        dut.begin.value = 1
        await cycles(dut, 1)
        dut.begin.value = 0
        watch, expected, cycle = Watch(dut, "compare", "access", "fault"), {}, 0
        await cycles(dut, 1)
        for row in range(3):
            groups = rng.randint(1, 3)
            for group in range(groups):
                gap = max(timing.least_period(config), timing.compare_period(config, conv, values))
                gap += rng.choice((0, 0, 1, 6)) - 1
                await cycles(dut, gap)
                dut.finished.value, dut.row_end.value = 1, int(group == groups - 1)
                await cycles(dut, 1)
                dut.finished.value = dut.row_end.value = 0
                first = cycle + gap + timing.COMPARE + residual
                expected.setdefault(cycle + gap, {})["load"] = 1
                cycle += gap + 1
                for n in range(count):
                    now, word = expected.setdefault(first + n, {}), n % per_channel
                    now["thresholds"] = flat(
                        [bank[conv.thresholds + row * count + n] for bank in words], memory.bits)
                    if word or not residual:
                        now["compare"], now["next"] = 1, int(word == per_channel - 1)
                    if word == 0:  # the sum is there in the cycle before its first threshold
                        take = first + n - 1 + residual
                        expected.setdefault(take, {})["take"] = expected.setdefault(take - 1, {})["advance"] = 1
                        if residual:
                            expected.setdefault(take - 3, {})["access"] = place
                            place += 1
                expected.setdefault(first + count, {})["done"] = 1
        await cycles(dut, count + timing.COMPARE + 4)
        for cycle, (compare, access, fault) in enumerate(watch.seen):
            found, now = unpack(compare_layout(config), compare), expected.get(cycle, {})
            assert not fault
            for name in ("load", "advance", "take", "compare", "next", "done"):
                assert found[name] == now.get(name, 0), (cycle, name, levels, values)
            if "thresholds" in now:
                assert found["thresholds"] == now["thresholds"], (cycle, levels)
            if found["take"]:
                assert found["bias"] == residual
            access = unpack(access_layout(config), access)
            assert (access["address"] if access["valid"] else None) == now.get("access")


@cocotb.test()
async def outside_the_memory(dut):
    """A threshold or value that does not exist is a fault; the value is not accessed."""
    config = configuration()
    channels = config.chain_channels
    await start(dut, words=0, **IDLE)
    last = Values(base=config.value_depth - 1, add=0, keep=1, shift=0, rectify=0)
    for thresholds, levels, values, faults in (
        (config.threshold_depth - 1, 15, NO_VALUES, 15 * channels - 1), (0, 2, last, channels - 1),
    ):
        dut.conv.value, dut.values.value = Conv(thresholds=thresholds, levels=levels, **CONV).pack(), values.pack()
        await cycles(dut, 2)
        dut.begin.value = 1
        await cycles(dut, 1)
        dut.begin.value, dut.finished.value = 0, 1
        watch = Watch(dut, "fault", "access")
        await cycles(dut, 1)
        dut.finished.value = 0
        await cycles(dut, 15 * channels + 5)
        assert sum(fault for fault, _ in watch.seen) == faults
        accesses = [unpack(access_layout(config), access) for _, access in watch.seen]
        assert [access["address"] for access in accesses if access["valid"]] == (
            [last.base] if values is last else [])
