"""`Dot` against plain integers: random words, gaps, whole and split, everything an accumulator may keep, drains."""

import cocotb

from hw import popcount
from hw.arch import timing
from hw.arch.config import Config
from hw.dot import Keep
from sim.helpers import cycles, generator, settings, start

INPUTS = ("weight", "activation", "enable", "split", "keep", "load", "below")


@cocotb.test()
async def random_words(dut):
    """Every accumulator value, seen through `load` in the declared cycle."""
    config, rng = Config.from_json(str(settings()["config"])), generator()
    mask, half = (1 << config.accumulator_bits) - 1, config.word // 2
    await start(dut, **dict.fromkeys(INPUTS, 0))
    accumulator, values, first, last = 0, [], popcount.early_mask(config.word), (0, 0)
    commands = [(0, 0, Keep.NONE)] * popcount.LATENCY  # (enable, split, keep) of the operands before
    for step in range(int(settings()["steps"])):
        keep = rng.choice([Keep.NONE, Keep.SHIFTED, Keep.TWICE, *[Keep.ALL] * 5]) if step else Keep.NONE
        enable, split = int(rng.random() < 0.8), rng.randrange(1 + config.splits)
        weight, activation = (rng.choice((0, (1 << config.word) - 1, rng.getrandbits(config.word))) for _ in range(2))
        dut.weight.value, dut.activation.value = (
            now & first | before & ~first for now, before in zip((weight, activation), last, strict=True))
        dut.load.value, last = 1, (weight, activation)
        dut.enable.value, dut.split.value, _ = commands[1 - popcount.LATENCY]
        dut.keep.value = commands[-popcount.LATENCY][2].value
        commands.append((enable, split, keep))
        await cycles(dut, 1)
        matches = ~(weight ^ activation) & (1 << config.word) - 1
        upper, lower = (matches >> half).bit_count(), (matches & (1 << half) - 1).bit_count()
        count = (lower + (upper << config.N if split else upper)) if enable else 0
        groups = {Keep.ALL: 0, Keep.SHIFTED: 1, Keep.TWICE: 2}
        accumulator = (accumulator << groups[keep] * config.N if keep in groups else 0) + count & mask
        values.append(accumulator)
        if step >= timing.COUNT - 1:
            assert int(dut.value.value) == values[step - timing.COUNT + 1], f"step {step}"
    dut.load.value = 0
    for _ in range(20):
        below = rng.getrandbits(config.accumulator_bits)
        dut.below.value = below
        await cycles(dut, 1)
        assert int(dut.value.value) == below
