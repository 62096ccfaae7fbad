"""`Threshold` against `hw.arch.numerics`: random sums, thresholds and steps, extremes and ties included."""

import cocotb

from hw.arch import numerics, timing
from hw.arch.config import Config
from hw.arch.isa import MOST_STEPS
from hw.combine import final_layout
from hw.layouts import compare_layout
from hw.threshold import LEVEL_BITS
from sim.helpers import cycles, generator, pack, settings, start


def steps(rng, value, count, top):
    """Steps of a search: halves of an even one, the greatest there are, or any, about `value` so that it matters."""
    unit = rng.choice((0, 1, 3, rng.randint(1, 1 + (top >> count))))
    middle = value + rng.randint(-count, count) * unit + rng.choice((-1, 0, 1))
    even = [unit << count - 2 - n for n in range(count - 1)]
    rest = rng.choice((even, even, [top] * (count - 1), [rng.randint(0, top) for _ in even]))
    return [rng.choice((min(max(middle, -top - 1), top), -top - 1, top)), *rest]


@cocotb.test()
async def random_levels(dut):
    """Levels of every channel with value and bias added, and the loaded sums one by one through `pop`."""
    config, rng = Config.from_json(str(settings()["config"])), generator()
    top, mask = (1 << (config.sum_bits - 1)) - 1, (1 << config.sum_bits) - 1
    await start(dut, final=0, search=0, compare=0, threshold=0, addend=0, pop=0)
    cases = [*((count, 0) for count in (*range(1, 16), 0, 1, 15)), *((count, 1) for count in range(1, MOST_STEPS + 1))]
    rng.shuffle(cases)
    for count, search in cases:
        sums = [rng.choice((-top - 1, top, 0, rng.randint(-top, top))) for _ in range(config.chain_channels)]
        biased = rng.randint(0, 1)
        addends = [biased * rng.randint(max(-top - 1 - value, -top - 1), min(top - value, top)) for value in sums]
        biases = [biased * rng.randint(max(-top - 1 - s, -top - 1), min(top - s, top))
                  for s in map(sum, zip(sums, addends, strict=True))]
        totals = [sum(parts) for parts in zip(sums, addends, biases, strict=True)]
        if search:
            rows = [steps(rng, value, count, top) for value in totals]
            bits = [numerics.search(value, row) for value, row in zip(totals, rows, strict=True)]
            expected = [numerics.pack(row[::-1]) for row in bits]
        else:
            rows = [sorted(rng.choice((-top - 1, top, value, rng.randint(-top, top))) for _ in range(count))
                    for value in totals]
            expected = [numerics.level(value, row) for value, row in zip(totals, rows, strict=True)]
        dut.search.value = search
        await cycles(dut, 1)
        for value in sums:
            dut.final.value = pack(final_layout(config), valid=1, value=value & mask)
            await cycles(dut, 1)
        dut.final.value = 0
        dut.compare.value = pack(compare_layout(config), load=1)
        await cycles(dut, 1)
        for value, addend, bias, total, row in zip(sums, addends, biases, totals, rows, strict=True):
            dut.compare.value = 0
            if not count:
                dut.compare.value, dut.pop.value = 0, 1
                assert int(dut.head.value) == value & mask
                await cycles(dut, 1)
                continue
            dut.compare.value, dut.addend.value = pack(compare_layout(config), advance=1), addend & mask
            await cycles(dut, 1)
            dut.addend.value = rng.getrandbits(config.sum_bits)
            dut.compare.value, dut.threshold.value = pack(compare_layout(config), take=1, bias=biased), bias & mask
            await cycles(dut, 1)
            assert int(dut.sum.value) == total & mask
            for n, threshold in enumerate(row):
                dut.compare.value = pack(compare_layout(config), compare=1, next=int(n == count - 1))
                dut.threshold.value = threshold & mask
                await cycles(dut, 1)
        dut.pop.value = 0
        dut.compare.value = pack(compare_layout(config), done=1)
        await cycles(dut, 1)
        dut.compare.value = 0
        await cycles(dut, timing.LEVEL - 1)
        if count:
            levels = int(dut.levels.value)
            assert [levels >> n * LEVEL_BITS & (1 << LEVEL_BITS) - 1 for n in range(len(sums))] == expected
