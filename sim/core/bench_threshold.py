"""`Threshold` against `hw.arch.numerics`: random sums, thresholds and steps, extremes and ties included."""

import cocotb

from hw.arch import numerics, timing
from hw.arch.config import Config
from hw.arch.isa import MOST_STEPS
from hw.combine import final_layout
from hw.layouts import compare_layout
from hw.threshold import LEVEL_BITS
from sim.core.surroundings import configuration, flat
from sim.core.vectors import Vector, play
from sim.helpers import generator, pack


def steps(rng, value, count, top):
    """Steps of a search: halves of an even one, the greatest there are, or any, about `value` so that it matters."""
    unit = rng.choice((0, 1, 3, rng.randint(1, 1 + (top >> count))))
    middle = value + rng.randint(-count, count) * unit + rng.choice((-1, 0, 1))
    even = [unit << count - 2 - n for n in range(count - 1)]
    rest = rng.choice((even, even, [top] * (count - 1), [rng.randint(0, top) for _ in even]))
    return [rng.choice((min(max(middle, -top - 1), top), -top - 1, top)), *rest]


def vectors(config: Config, rng) -> list[Vector]:
    """Levels of every channel with value and bias added, and the loaded sums one by one through `pop`."""
    cases = [*((count, 0) for count in (*range(1, 16), 0, 1, 15)), *((count, 1) for count in range(1, MOST_STEPS + 1)),
             *[(MOST_STEPS, 1)] * 6]
    rng.shuffle(cases)
    result, held = [], None
    for count, search in cases:
        result += (played := case(config, rng, count, search))
        for vector in played:  # levels stay until the next ones
            if held and "levels" not in vector.outputs:
                vector.outputs["levels"] = held
            else:
                held = vector.outputs.get("levels")
        held = held if count else None
    return result


def case(config: Config, rng, count: int, search: int) -> list[Vector]:
    """The sums of a chain, compared with `count` thresholds or found in as many steps; popped if there are none."""
    top, mask = (1 << (config.sum_bits - 1)) - 1, (1 << config.sum_bits) - 1
    sums = [rng.choice((-top - 1, top, 0, rng.randint(-top, top))) for _ in range(config.chain_channels)]
    biased = rng.randint(0, 1)
    addends = [biased * rng.randint(max(-top - 1 - value, -top - 1), min(top - value, top)) for value in sums]
    biases = [biased * rng.randint(max(-top - 1 - s, -top - 1), min(top - s, top))
              for s in map(sum, zip(sums, addends, strict=True))]
    totals = [sum(parts) for parts in zip(sums, addends, biases, strict=True)]
    if search:
        rows = [steps(rng, value, count, top) for value in totals]
        expected = [numerics.pack(numerics.search(value, row)[::-1]) for value, row in zip(totals, rows, strict=True)]
    else:
        rows = [sorted(rng.choice((-top - 1, top, value, rng.randint(-top, top))) for _ in range(count))
                for value in totals]
        expected = [numerics.level(value, row) for value, row in zip(totals, rows, strict=True)]

    def vector(command=None, **inputs):
        result.append(Vector(
            {"search": search, "compare": pack(compare_layout(config), **(command or {})), **inputs}))
        return result[-1].outputs

    result = []
    for _ in range(rng.choice((0, rng.randint(1, 15)))):  # a fault may have ended the last frame amid a channel
        vector({"compare": 1}, threshold=rng.choice((top + 1, rng.getrandbits(config.sum_bits))))
    vector()
    lost = rng.choice((0, 0, rng.randrange(len(sums))))  # of a frame that ended amid a group
    for value in [*(rng.randint(-top, top) for _ in range(lost)), *sums]:
        vector(final=pack(final_layout(config), valid=1, value=value & mask))
    shown = vector({"load": 1})
    for value, addend, bias, total, row in zip(sums, addends, biases, totals, rows, strict=True):
        if not count:
            shown["head"] = value & mask, mask
            shown = vector(pop=1)
            continue
        for _ in range(rng.randrange(2)):
            vector()
        vector({"advance": 1}, addend=addend & mask)
        taken = vector({"take": 1, "bias": biased}, addend=rng.getrandbits(config.sum_bits), threshold=bias & mask)
        taken["sum"] = total & mask, mask
        for n, threshold in enumerate(row):
            for _ in range(0 if search else rng.choice((0, 0, 0, 2))):
                vector(threshold=rng.getrandbits(config.sum_bits))
            vector({"compare": 1, "next": int(n == count - 1)}, threshold=threshold & mask)
    for done in (1, *[0] * (timing.LEVEL - 1)):
        shown = vector({"done": done})
    if count:
        shown["levels"] = flat(expected, LEVEL_BITS), (1 << LEVEL_BITS * len(sums)) - 1
    return result


@cocotb.test()
async def random_levels(dut):
    """Levels, sums and heads of every case."""
    await play(dut, vectors(configuration(), generator()))
