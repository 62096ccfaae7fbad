"""`Issuer` against the loops of `hw.arch.isa.Conv` and the cycles of `hw.arch.timing`."""

import cocotb

from hw.arch import timing
from hw.arch.isa import NO_VALUES, Conv, Source, Walk
from hw.layouts import issue_layout, pass_layout
from sim.core.surroundings import Watch, configuration
from sim.helpers import cycles, generator, start, unpack


def some_layer(rng, config):
    """A random layer of at most a few hundred words."""
    split = rng.randrange(1 + config.splits)
    channel_words, room = (1, config.word // 2) if split else (rng.randint(1, 3), config.word)
    source = Source(base=0, pixel_words=1, channel_words=channel_words, tail_bits=rng.randint(1, room),
                    rows=9, columns=9, stride=1, padding=0)
    walk = Walk(pixels=rng.randint(1, 3 * config.pixel_lanes), columns=9, row_skip=0, tap_base=rng.randint(0, 20),
                taps=rng.randint(1, 4), positions=rng.randint(1, 3),
                repeat=rng.randint(1, 3))
    conv = Conv(
        weights=rng.randint(0, 99), weight_passes=rng.randint(1, 3), activation_passes=rng.randint(1, 3),
        fused=rng.randint(0, 1), coefficients=0, coefficient_stride=0, thresholds=0, levels=rng.choice((0, 1, 3, 15)),
        search=0, target_groups=rng.randint(1, 3), row_groups=rng.randint(1, 2), last_channels=1, split=split)
    return conv, walk, source


def words(config, conv, walk, source):
    """What is issued, in order: the loops, outermost first."""
    lanes, size = config.pixel_lanes, walk.taps * source.channel_words
    tail = source.tail_bits * (1 + (conv.split << config.N))  # bits of an upper half count 2^N times
    shared = -(-walk.taps // walk.repeat) * source.channel_words  # words of weights
    for row in range(conv.row_groups):
        for pixel in range(0, walk.pixels, lanes):
            for position in range(walk.positions):
                for i in range(conv.weight_passes):
                    for j in range(conv.activation_passes):
                        for word in range(size):
                            tap, inner = divmod(word, source.channel_words)
                            final_j, first = j == conv.activation_passes - 1, word == 0
                            place = {
                                "first_pass": i == 0 and (j == 0 or conv.fused),
                                "final_pass": i == conv.weight_passes - 1 and final_j,
                                "first_position": position == 0, "final_position": position == walk.positions - 1,
                                "row_end": pixel + lanes >= walk.pixels}
                            yield {
                                "valid": 1, "tap": walk.tap_base + position * walk.taps + tap,
                                "inner": j * source.channel_words + inner,
                                "weight": (conv.weights + (row * conv.weight_passes + i) * shared
                                           + tap // walk.repeat * source.channel_words + inner),
                                "count": tail if inner == source.channel_words - 1 else config.word,
                                "split": conv.split,
                                "swap": int(first and i == 0 and j == 0 and position == 0),
                                "clear": int(first and (j == 0 or not conv.fused)),
                                "shift": int(first and j != 0 and conv.fused),
                                "last": int(word == size - 1 and (final_j or not conv.fused)),
                                "place": place}


def settled(config, word):
    """A word with those bits of `place` that are looked at: with `last`, and `row_end` with `swap`."""
    place = unpack(pass_layout(), word["place"]) if isinstance(word["place"], int) else word["place"]
    place = {name: int(value) for name, value in place.items()}
    if not word["last"]:
        place = {"row_end": place["row_end"]}
    return {**word, "place": place}


@cocotb.test()
async def random_layers(dut):
    """Every word in order; passes and groups at their distances; the whole layer in the declared cycles."""
    config, rng = configuration(), generator()
    await start(dut, source=0, walk=0, conv=0, begin=0, period=0)
    for _ in range(12):
        conv, walk, source = some_layer(rng, config)
        period, total = timing.group_period(config, conv, NO_VALUES), timing.issue_cycles(
            config, conv, walk, source, NO_VALUES)
        for port, value in (("source", source), ("walk", walk), ("conv", conv)):
            getattr(dut, port).value = value.pack()
        dut.period.value = period
        await cycles(dut, 2)
        dut.begin.value = 1
        await cycles(dut, 1)
        dut.begin.value = 0
        watch = Watch(dut, "issue", "group", "active", "fault")
        await cycles(dut, total + 5)
        assert [active for _, _, active, _ in watch.seen].count(1) == total - 1  # the first cycle went by unwatched
        assert not any(fault for *_, fault in watch.seen)
        issued = [(cycle, unpack(issue_layout(config), word)) for cycle, (word, *_) in enumerate(watch.seen)]
        issued = [(cycle, word) for cycle, word in issued if word["valid"]]
        expected = list(words(config, conv, walk, source))
        assert [settled(config, word) for _, word in issued] == [settled(config, word) for word in expected]
        lasts = [cycle for cycle, word in issued if word["last"]]
        assert all(b - a >= config.chain for a, b in zip(lasts, lasts[1:], strict=False))
        ends = [cycle for cycle, (_, group, *_) in enumerate(watch.seen) if group]
        assert len(ends) == conv.row_groups * -(-walk.pixels // config.pixel_lanes)
        assert all(b - a >= period for a, b in zip(ends, ends[1:], strict=False))
        assert ends[0] >= timing.least_period(config) - 1


@cocotb.test()
async def outside_the_memories(dut):
    """Words whose tap or weight does not exist are faults and are not issued."""
    config, rng = configuration(), generator()
    await start(dut, source=0, walk=0, conv=0, begin=0, period=1)
    for field in ("tap", "weight"):
        conv, walk, source = some_layer(rng, config)
        conv = Conv(**{**vars(conv), "weights": config.weight_depth - 2 if field == "weight" else 0})
        walk = Walk(**{**vars(walk), "tap_base": config.tap_depth - 2 if field == "tap" else 0, "taps": 4})
        for port, value in (("source", source), ("walk", walk), ("conv", conv)):
            getattr(dut, port).value = value.pack()
        await cycles(dut, 2)
        dut.begin.value = 1
        await cycles(dut, 1)
        dut.begin.value = 0
        watch = Watch(dut, "issue", "active", "fault")
        while not watch.seen or watch.seen[-1][1]:
            await cycles(dut, 1)
        await cycles(dut, 2)
        expected = list(words(config, conv, walk, source))
        inside = [word for word in expected
                  if word["tap"] < config.tap_depth and word["weight"] < config.weight_depth]
        issued = [unpack(issue_layout(config), word) for word, _, _ in watch.seen]
        assert [settled(config, word) for word in issued if word["valid"]] == [
            settled(config, word) for word in inside]
        assert sum(fault for *_, fault in watch.seen) == len(expected) - len(inside)
        assert len(inside) < len(expected)


