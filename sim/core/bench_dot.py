"""`Dot` against plain integers: random words, gaps, clears, shifts and drains."""

import cocotb

from hw import popcount
from hw.arch import timing
from hw.arch.config import Config
from sim.helpers import cycles, generator, settings, start

INPUTS = ("weight", "activation", "enable", "clear", "shift", "load", "below")


@cocotb.test()
async def random_words(dut):
    """Every accumulator value, seen through `load` in the declared cycle."""
    config, rng = Config.from_json(str(settings()["config"])), generator()
    mask = (1 << config.accumulator_bits) - 1
    await start(dut, **dict.fromkeys(INPUTS, 0))
    accumulator, values = 0, []
    commands = [(0, 0, 0)] * popcount.LATENCY  # (enable, clear, shift) of the operands before
    for step in range(int(settings()["steps"])):
        clear, shift, enable = int(step == 0 or rng.random() < 0.1), int(rng.random() < 0.2), int(rng.random() < 0.8)
        weight, activation = (rng.choice((0, (1 << config.word) - 1, rng.getrandbits(config.word))) for _ in range(2))
        dut.weight.value, dut.activation.value, dut.load.value = weight, activation, 1
        dut.enable.value = commands[1 - popcount.LATENCY][0]
        dut.clear.value, dut.shift.value = commands[-popcount.LATENCY][1:]
        commands.append((enable, clear, shift))
        await cycles(dut, 1)
        count = (~(weight ^ activation) & (1 << config.word) - 1).bit_count() if enable else 0
        kept = 0 if clear else accumulator << config.N if shift else accumulator
        accumulator = kept + count & mask
        values.append(accumulator)
        if step >= timing.DRAIN - 1:
            assert int(dut.value.value) == values[step - timing.DRAIN + 1], f"step {step}"
    dut.load.value = 0
    for _ in range(20):
        below = rng.getrandbits(config.accumulator_bits)
        dut.below.value = below
        await cycles(dut, 1)
        assert int(dut.value.value) == below
