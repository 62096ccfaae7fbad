"""`Combine` of the last plane lane against the sums of `hw.arch.numerics`, slot by slot."""

import cocotb

from hw.arch import timing
from hw.arch.config import Config
from hw.combine import final_layout
from hw.layouts import drain_layout, pass_layout
from sim.core.surroundings import configuration
from sim.core.vectors import Vector, play
from sim.helpers import generator, pack

TO_LEFT = timing.COMBINE - 3  # from a channel's last slot to the left neighbour's total of it


def vectors(config: Config, rng) -> list[Vector]:
    """Random slots, and the sums in the declared cycles."""
    mask, bound = (1 << config.coefficient_bits) - 1, 1 << (config.coefficient_bits - 1)
    lowest = -1 << config.sum_bits - 1
    most = (1 << config.accumulator_bits - 4) - 1  # of counts, so that sums do not wrap
    slots, lefts, expected, cycle = {}, {}, {}, 0
    for _ in range(12):
        positions, passes, best = rng.randint(1, 3), rng.randint(1, 3), None
        for position in range(positions):
            void = rng.choice((0, 0, 1))
            sums = [0] * config.chain_channels
            for number in range(passes):
                place = {"first_pass": number == 0, "final_pass": number == passes - 1, "first_position": position == 0,
                         "final_position": position == positions - 1}
                place = pack(pass_layout(), **{name: int(value) for name, value in place.items()})
                for slot in range(config.chain):
                    channel, plane = divmod(slot, config.M)
                    bits = rng.choice((0, 1, most, rng.randint(0, most)))
                    matches = rng.choice((0, bits, rng.randint(0, bits)))
                    coefficient = rng.choice((-bound, bound - 1, rng.randint(-bound, bound - 1)))
                    drain = pack(drain_layout(config), valid=1, first_plane=int(plane == 0), place=place,
                                 last_plane=int(plane == config.M - 1), last=int(slot == config.chain - 1))
                    slots[cycle] = drain, matches, bits, void, coefficient & mask
                    sums[channel] += coefficient * (2 * matches - bits)
                    if plane == config.M - 1:
                        left = rng.randint(-1000, 1000) if config.N > 1 else 0
                        lefts[cycle + TO_LEFT], sums[channel] = left, sums[channel] + left
                        if number == passes - 1:
                            value = sums[channel] = lowest if void else sums[channel]
                            if position:
                                value = max(value, best[channel])
                            if position == positions - 1:
                                expected[cycle + timing.COMBINE] = value
                    cycle += 1
                cycle += rng.choice((0, 0, 3))
            best = sums if best is None else [max(pair) for pair in zip(best, sums, strict=True)]
    top = max(abs(value) for value in expected.values() if value != lowest)
    assert top < 1 << (config.sum_bits - 1), "the bench must not wrap"
    layout, names = final_layout(config), ("drain", "matches", "bits", "void", "coefficient")
    wrapped = (1 << config.sum_bits) - 1
    result = []
    for now in range(cycle + timing.COMBINE + 2):
        inputs = dict(zip(names, slots.get(now, (0, 0, 0, 0, 0)), strict=True))
        due = expected.pop(now + 1, None)
        final = (0, pack(layout, valid=1)) if due is None else (
            pack(layout, valid=1, value=due & wrapped), (1 << layout.size) - 1)
        result.append(Vector({**inputs, "left": lefts.get(now, 0) & wrapped}, {"final": final}))
    assert not expected
    return result


@cocotb.test()
async def random_sums(dut):
    """alpha*beta times S, over planes, the lane to the left and passes, then the maximum; in the declared cycle."""
    await play(dut, vectors(configuration(), generator()))
