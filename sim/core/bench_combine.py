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
GROUPS = 24


def wrapped(value: int, bits: int) -> int:
    """A signed number of `bits` bits that is congruent to `value`."""
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def near(config: Config, rng, values) -> int:
    """A sum that often differs from one of `values` in one bit: comparisons must look at all of them."""
    value = rng.choice((rng.getrandbits(config.sum_bits), *values, *values, *values))
    return value ^ rng.randrange(2) << rng.randrange(config.sum_bits)


def vectors(config: Config, rng) -> list[Vector]:
    """Random slots, and the sums in the declared cycles; anything where nothing is looked at."""
    bound, most = 1 << config.coefficient_bits - 1, (1 << config.accumulator_bits) - 1
    lowest = -1 << config.sum_bits - 1
    slots, lefts, expected, cycle = {}, {}, {}, 0
    for _ in range(GROUPS):
        positions, passes, best = rng.randint(1, 3), rng.randint(1, 3), [lowest] * config.chain_channels
        for position in range(positions):
            void, sums = rng.choice((0, 0, 0, 1)), [0] * config.chain_channels
            for number in range(passes):
                place = {"first_pass": number == 0, "final_pass": number == passes - 1, "first_position": position == 0,
                         "final_position": position == positions - 1}
                place = pack(pass_layout(), **{name: int(value) for name, value in place.items()})
                for slot in range(config.chain):
                    channel, plane = divmod(slot, config.M)
                    bits = rng.choice((0, 1, most, rng.randint(0, most)))
                    matches = rng.choice((0, bits, rng.randint(0, bits)))
                    coefficient = rng.choice((-bound, bound - 1, rng.randint(-bound, bound - 1)))
                    drain = {"valid": 1, "first_plane": int(plane == 0), "place": place,
                             "last_plane": int(plane == config.M - 1), "last": int(slot == config.chain - 1)}
                    slots[cycle] = drain, matches, bits, void, coefficient
                    sums[channel] += coefficient * (2 * matches - bits)
                    if plane == config.M - 1:
                        if config.N > 1:
                            lefts[cycle + TO_LEFT] = near(config, rng, best) - sums[channel]
                            sums[channel] += lefts[cycle + TO_LEFT]
                        if number == passes - 1:
                            value = lowest if void else wrapped(sums[channel], config.sum_bits)
                            best[channel] = max(best[channel], value)
                            if position == positions - 1:
                                expected[cycle + timing.COMBINE] = best[channel]
                    cycle += 1
                cycle += rng.choice((0, 0, 3))
    return played(config, rng, slots, lefts, expected, cycle + timing.COMBINE + 2)


def played(config: Config, rng, slots, lefts, expected, length: int) -> list[Vector]:
    """What goes in at the cycles of `slots` and `lefts` and comes out at those of `expected`, and else anything."""
    drains, final = drain_layout(config), final_layout(config)
    sum_mask, widths = (1 << config.sum_bits) - 1, (config.accumulator_bits, config.accumulator_bits, 1)
    result = []
    for now in range(length):
        idle = {name: rng.getrandbits(field.width) for name, field in drains if name != "valid"}
        idle = idle, *(rng.getrandbits(bits) for bits in (*widths, config.coefficient_bits))
        drain, matches, bits, void, coefficient = slots.get(now, idle)
        value = expected.pop(now + 1, None)
        shown = (0, pack(final, valid=1)) if value is None else (
            pack(final, valid=1, value=value & sum_mask), (1 << final.size) - 1)
        result.append(Vector({
            "drain": pack(drains, **drain), "matches": matches, "bits": bits, "void": void,
            "coefficient": coefficient & (1 << config.coefficient_bits) - 1,
            "left": lefts.get(now, rng.getrandbits(config.sum_bits)) & sum_mask,
        }, {"final": shown}))
    assert not expected
    return result


@cocotb.test()
async def random_sums(dut):
    """alpha*beta times S, over planes, the lane to the left and passes, then the maximum; in the declared cycle."""
    await play(dut, vectors(configuration(), generator()))
