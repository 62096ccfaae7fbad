"""`Comparer` against the order of thresholds in `hw.arch.isa.Conv`."""

import itertools

import cocotb

from hw.arch import timing
from hw.arch.config import Config, Space
from hw.arch.isa import NO_VALUES, Conv, Values
from hw.layouts import access_layout, compare_layout
from sim.core.surroundings import Watch, configuration, flat
from sim.core.vectors import Vector, play
from sim.helpers import cycles, generator, pack, start, unpack

CONV = {"weights": 0, "weight_passes": 1, "activation_passes": 1, "fused": 0, "coefficients": 0,
        "coefficient_stride": 0, "search": 0, "target_groups": 1, "row_groups": 1, "last_channels": 1, "split": 0}
MOST_BITS = 16  # of where words begin
BEGIN = 2  # cycles after the layer is there
IDLE = {"conv": 0, "values": 0, "begin": 0, "finished": 0, "row_end": 0}


def vectors(config: Config, rng) -> list[Vector]:
    """Commands, thresholds, values and faults of every group in the declared cycles, at any distance they may have."""
    cases = [*itertools.product((0, 1, 2, 4, 8, 15), (0, 1), (0, 1))]
    return [vector for levels, add, keep in rng.sample(cases, len(cases))
            for vector in layer(config, rng, levels, Values(
                base=place(rng, config.value_depth), add=add, keep=keep, shift=0, rectify=0))]


def place(rng, depth: int) -> int:
    """Where words begin: inside their memory, about its end, far outside, or outside by one bit."""
    return rng.choice((rng.randrange(depth), max(0, depth - rng.randint(1, 9)), rng.randrange(1 << MOST_BITS),
                       (1 << MOST_BITS) - rng.randint(1, 9), 1 << rng.randrange(MOST_BITS)))


def layer(config: Config, rng, levels: int, values: Values) -> list[Vector]:
    """A layer of three row groups, its thresholds behind a memory that is two cycles away."""
    memory, channels = config.memories[Space.THRESHOLDS], config.chain_channels
    conv = Conv(thresholds=place(rng, memory.depth), levels=levels, **CONV)
    residual, per_channel = conv.residual(values), conv.compared(values)
    count, value = channels * per_channel, values.base
    commands: dict[int, dict[str, int]] = {}
    words, accesses, finished = {}, {}, {}
    cycle = BEGIN
    for row in range(3):
        groups = rng.randint(1, 3)
        for group in range(groups):
            cycle += max(timing.least_period(config), timing.compare_period(config, conv, values))
            cycle += rng.choice((0, 0, 1, 6))
            finished[cycle] = int(group == groups - 1)
            first = cycle + timing.COMPARE + residual - 1
            for n in range(count):
                now, word = commands.setdefault(first + n, {}), n % per_channel
                words[first + n] = conv.thresholds + row * count + n, [
                    rng.getrandbits(memory.bits) for _ in range(memory.banks)]
                if word or not residual:
                    now["compare"], now["next"] = 1, int(word == per_channel - 1)
                if word == 0:  # the sum is there in the cycle before its first threshold
                    take = first + n - 1 + residual
                    commands.setdefault(take, {}).update(take=1, bias=residual)
                    commands.setdefault(take - 1, {})["advance"] = 1
                    if residual:
                        accesses[take - 3] = value
                        value += 1
            commands.setdefault(first + count, {})["done"] = 1
    layout, access = compare_layout(config), access_layout(config)
    names = ("load", "advance", "take", "compare", "next", "done")
    result = []
    for now in range(cycle + count + timing.COMPARE + 4):
        inputs = {"conv": conv.pack(), "values": values.pack(), "begin": int(now == BEGIN)}
        if now in finished:
            inputs.update(finished=1, row_end=finished[now])
        given = words[now][1] if now in words else [rng.getrandbits(memory.bits) for _ in range(memory.banks)]
        inputs["words"] = flat(given, memory.bits)
        command = {"load": int(now in finished), **commands.get(now, {})}
        known = (*names, "bias") if "take" in command else names
        shown = pack(layout, **command), pack(layout, **dict.fromkeys(known, 1))
        if now in words:
            shown = tuple(part | flat(value, memory.bits) << layout["thresholds"].offset
                          for part, value in zip(shown, (given, [-1] * memory.banks), strict=True))
        outputs = {"compare": shown, "access": (0, pack(access, valid=1))}
        faults = accesses.get(now, 0) >= config.value_depth
        if now in accesses and not faults:
            outputs["access"] = pack(access, valid=1, address=accesses[now]), (1 << access.size) - 1
        if now + 2 in words:
            faults |= words[now + 2][0] >= memory.depth
            outputs["address"] = words[now + 2][0] % memory.depth, memory.depth - 1
        outputs["fault"] = int(faults), 1
        result.append(Vector(inputs, outputs))
    return result


@cocotb.test()
async def random_layers(dut):
    """Every layer, one after the other."""
    await play(dut, vectors(configuration(), generator()))


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
