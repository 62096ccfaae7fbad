"""`Drain` against the order of coefficients in `hw.arch.isa.Conv`."""

import cocotb

from hw.arch import timing
from hw.arch.config import Space
from hw.arch.isa import Conv
from hw.layouts import drain_layout, pass_layout, step_layout
from sim.core.surroundings import Rom, Watch, configuration, flat
from sim.helpers import cycles, generator, pack, start, unpack

CONV = {"weights": 0, "weight_passes": 1, "activation_passes": 1, "fused": 0, "thresholds": 0, "levels": 0, "search": 0,
        "target_groups": 0, "row_groups": 1, "last_channels": 1, "split": 0}


@cocotb.test()
async def random_layers(dut):
    """Slots and coefficients of every pass in the declared cycle; passes as close as `chain` cycles."""
    config, rng = configuration(), generator()
    memory = config.memories[Space.COEFFICIENTS]
    words = [[rng.getrandbits(memory.bits) for _ in range(memory.depth)] for _ in range(memory.banks)]
    Rom(dut, "address", "words", lambda a: flat([bank[a % memory.depth] for bank in words], memory.bits))
    await start(dut, conv=0, begin=0, step=0)
    for _ in range(4):
        rows, groups, positions, passes = (rng.randint(1, 3) for _ in range(4))
        stride, base = rng.choice((0, passes * config.chain)), rng.randint(0, 9)
        conv = Conv(coefficients=base, coefficient_stride=stride, **CONV)
        dut.conv.value, dut.begin.value = conv.pack(), 1
        await cycles(dut, 1)
        dut.begin.value = 0
        watch, expected, cycle = Watch(dut, "drain", "fault"), {}, 0
        await cycles(dut, 1)
        for row in range(rows):
            for number in range(groups * positions * passes):
                group, (position, index) = number // (positions * passes), divmod(number % (positions * passes), passes)
                place = {"first_pass": index == 0, "final_pass": index == passes - 1, "first_position": position == 0,
                         "final_position": position == positions - 1, "row_end": group == groups - 1}
                place = pack(pass_layout(), **{name: int(value) for name, value in place.items()})
                gap = config.chain - 1 + rng.choice((0, 0, 1, 5))
                await cycles(dut, gap)
                dut.step.value = pack(step_layout(config), last=1, place=place)
                await cycles(dut, 1)
                dut.step.value = 0
                step, cycle = cycle + gap, cycle + gap + 1
                for slot in range(config.chain):
                    address = base + row * stride + index * config.chain + slot
                    expected[step + timing.DRAIN + slot] = {
                        "valid": 1, "first_plane": int(slot % config.M == 0),
                        "last_plane": int(slot % config.M == config.M - 1), "last": int(slot == config.chain - 1),
                        "place": place, "coefficients": flat([bank[address] for bank in words], memory.bits)}
        await cycles(dut, config.chain + timing.DRAIN + 3)
        for cycle, (drain, fault) in enumerate(watch.seen):
            found = unpack(drain_layout(config), drain)
            assert not fault
            assert found["valid"] == (cycle in expected), cycle
            if found["valid"]:
                assert found == expected.pop(cycle), cycle
        assert not expected


@cocotb.test()
async def outside_the_memory(dut):
    """A slot whose coefficient does not exist is a fault."""
    config = configuration()
    await start(dut, conv=0, begin=0, step=0, words=0)
    dut.conv.value = Conv(coefficients=config.coefficient_depth - 1, coefficient_stride=0, **CONV).pack()
    dut.begin.value = 1
    await cycles(dut, 1)
    dut.begin.value, dut.step.value = 0, pack(step_layout(config), last=1)
    watch = Watch(dut, "fault")
    await cycles(dut, 1)
    dut.step.value = 0
    await cycles(dut, config.chain + timing.DRAIN)
    assert sum(fault for fault, in watch.seen) == config.chain - 1
