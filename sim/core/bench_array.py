"""`Array` against the formula of the paper: sums over weight planes, activation planes, passes and pool positions."""

import cocotb

from hw.arch import timing
from hw.arch.config import Config
from hw.combine import final_layout
from hw.layouts import drain_layout, step_layout
from sim.core.surroundings import configuration
from sim.core.vectors import Vector, play
from sim.helpers import generator, pack

SLACK = 8


def packed(values, width):
    """A list of unsigned integers as one array port, first value in the low bits."""
    return sum(value << (width * n) for n, value in enumerate(values))


class Group:
    """One pixel group: random operands for `positions` x `passes` passes, and the sums they must give."""

    def __init__(self, config: Config, rng, positions: int, passes: int, fused: int):
        self.config, self.passes = config, []
        self.split = rng.randrange(1 + config.splits)
        sums = None
        for position in range(positions):
            total = [[0] * config.channel_lanes for _ in range(config.pixel_lanes)]
            voids = [rng.random() < 0.3 for _ in range(config.pixel_lanes)]
            for number in range(passes):
                place = {"first_pass": number == 0, "final_pass": number == passes - 1, "first_position": position == 0,
                         "final_position": position == positions - 1}
                self.passes.append(self._pass(rng, place, fused, voids, total))
            total = [[-1 << config.sum_bits - 1] * config.channel_lanes if void else row
                     for void, row in zip(voids, total, strict=True)]
            sums = total if sums is None else [
                [max(a, b) for a, b in zip(*rows, strict=True)] for rows in zip(sums, total, strict=True)]
        self.sums = sums

    def _pass(self, rng, place, fused, voids, total):
        """Random words of one pass, one of which says that lanes are void; adds its contribution to `total`."""
        config, words = self.config, []
        room = config.word >> self.split  # of a plane group in a word

        def halves(bits, unused=0):
            return packed([rng.getrandbits(bits) | unused for _ in range(1 + self.split)], room)

        for part in range(fused):
            for n in range(rng.randint(1, 4)):
                count = rng.randint(1, room)
                words.append({
                    "clear": part == 0 and n == 0, "shift": part > 0 and n == 0, "split": self.split,
                    "count": count * (1 + (self.split << config.N)),
                    # Bits not in use: ones against zeros.
                    "weights": [halves(room, (1 << room) - (1 << count)) for _ in range(config.row_lanes)],
                    "activations": [[halves(count) for _ in range(config.N)] for _ in range(config.pixel_lanes)],
                    "enables": [rng.random() < 0.8 for _ in range(config.pixel_lanes)],
                    "voids": [False] * config.pixel_lanes,
                })
        rng.choice(words)["voids"] = voids
        bound = 1 << (config.coefficient_bits - 1)
        coefficients = [[[rng.randint(-bound, bound - 1) for _ in range(config.N)] for _ in range(config.chains)]
                        for _ in range(config.chain)]
        for k in range(config.pixel_lanes):
            for row in range(config.row_lanes):
                chain, slot = divmod(row, config.chain)
                for j in range(config.N):
                    dot = 0
                    for word in words:
                        dot <<= config.N * (1 + self.split) if word["shift"] else 0
                        if word["enables"][k]:
                            matches = ~(word["weights"][row] ^ word["activations"][k][j])
                            upper, lower = (matches >> start & (1 << room) - 1 for start in (config.word - room, 0))
                            found = lower.bit_count() + (upper.bit_count() << config.N if self.split else 0)
                            dot += 2 * found - word["count"]
                    total[k][row // config.M] += dot * coefficients[slot][chain][j]
        return {"words": words, "place": place, "coefficients": coefficients}


def schedule(config: Config, groups):
    """Per cycle: the step, drain and operand values of every port, skewed as the array wants them.

    And the first drain slot of every group's last pass, and the number of cycles.
    """
    ports, ends = {}, []
    cycle, last = 0, -config.chain
    for group in groups:
        for item in group.passes:
            # Passes end at least `chain` cycles apart: their values leave through the same registers.
            cycle = max(cycle, last + config.chain - len(item["words"]) + 1)
            last = cycle + len(item["words"]) - 1
            for word in item["words"]:
                step = {name: int(word[name]) for name in ("clear", "shift", "count", "split")}
                step["last"] = int(word is item["words"][-1])
                at = ports.setdefault(cycle, {})
                at["step"] = pack(step_layout(config), **step)
                at["weights"] = packed(word["weights"], config.word)
                for k in range(config.pixel_lanes):
                    for j in range(config.N):
                        later = ports.setdefault(cycle + k * config.N + j, {})
                        operands = word["activations"][k][j], word["enables"][k], word["voids"][k]
                        later.setdefault("operands", {})[k, j] = operands
                cycle += 1
            for slot in range(config.chain):
                flat = [c & (1 << config.coefficient_bits) - 1 for chain in item["coefficients"][slot] for c in chain]
                place = packed([int(item["place"].get(n, 0)) for n in (
                    "first_pass", "final_pass", "first_position", "final_position")], 1)
                ports.setdefault(cycle - 1 + timing.DRAIN + slot, {})["drain"] = pack(
                    drain_layout(config), valid=1, first_plane=int(slot % config.M == 0),
                    last_plane=int(slot % config.M == config.M - 1), last=int(slot == config.chain - 1), place=place,
                    coefficients=packed(flat, config.coefficient_bits))
        ends.append(cycle - 1 + timing.DRAIN)
    return ports, ends, cycle


def idle(config: Config, rng) -> dict[str, int]:
    """Operands and commands that mean nothing: no pass ends, no slot drains."""
    step, drain = ({name: rng.getrandbits(field.width) for name, field in layout if name not in ("last", "valid")}
                   for layout in (step_layout(config), drain_layout(config)))
    return {"step": pack(step_layout(config), **step), "drain": pack(drain_layout(config), **drain),
            "weights": rng.getrandbits(config.row_lanes * config.word)}


def vectors(config: Config, rng) -> list[Vector]:
    """Random groups, and the finished sums of every pixel lane and channel in the declared cycles; else anything."""
    groups = [Group(config, rng, rng.randint(1, 3), rng.randint(1, 4), rng.choice((1, 1, 2))) for _ in range(6)]
    driven, ends, length = schedule(config, groups)
    layout, size = final_layout(config), final_layout(config).size
    lanes = [(k, j) for k in range(config.pixel_lanes) for j in range(config.N)]
    valids = packed([pack(layout, valid=1)] * (config.pixel_lanes * config.chains), size)
    result = []
    for cycle in range(length + timing.DRAIN + config.chain + config.column_lanes + timing.COMBINE + SLACK):
        now = {**idle(config, rng), **driven.get(cycle, {})}
        operands = now.pop("operands", {})
        words, enables, voids = zip(*(
            operands.get(lane) or (rng.getrandbits(config.word), rng.getrandbits(1), rng.getrandbits(1))
            for lane in lanes), strict=True)
        result.append(Vector({
            **now, "activations": packed(words, config.word), "enables": packed(map(int, enables), 1),
            "voids": packed(map(int, voids[config.N - 1 :: config.N]), 1),
        }, {"finals": (0, valids)}))
    for group, end in zip(groups, ends, strict=True):
        for k, row in enumerate(group.sums):
            for channel, total in enumerate(row):
                chain, number = divmod(channel, config.chain_channels)
                slot = end + number * config.M + config.M - 1  # the channel's last
                outputs = result[slot + (k + 1) * config.N - 1 + timing.COMBINE - 1].outputs
                place = (k * config.chains + chain) * size
                final = pack(layout, valid=1, value=total & (1 << config.sum_bits) - 1)
                value, mask = outputs["finals"]
                outputs["finals"] = value | final << place, mask | (1 << size) - 1 << place
    return result


@cocotb.test()
async def random_groups(dut):
    """Finished sums of every pixel lane and channel, in order and in the declared cycle."""
    await play(dut, vectors(configuration(), generator()))
