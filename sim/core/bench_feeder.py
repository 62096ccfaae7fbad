"""`Feeder` against the addresses of `hw.arch.isa`: the operands of every lane, and what lies outside the image."""

import cocotb

from hw.arch import timing
from hw.arch.config import Space
from hw.arch.isa import Padding, Source, Tap, Walk
from hw.layouts import issue_layout, pass_layout, step_layout
from sim.core.surroundings import Rom, Watch, configuration, flat, split
from sim.helpers import cycles, generator, pack, start, unpack

INPUTS = ("issue", "begin", "source", "walk", "probe", "probe_address", "tap", "weight_words", "read_data")


class Bench:
    """Memories of random words around the feeder."""

    def __init__(self, dut, config, rng):
        self.config, shapes = config, config.memories
        activations, weights = shapes[Space.ACTIVATIONS], shapes[Space.WEIGHTS]
        self.activations, self.weights = ([[rng.getrandbits(shape.bits) for _ in range(shape.depth)]
                                           for _ in range(shape.banks)] for shape in (activations, weights))
        self.taps = []
        width = (activations.depth - 1).bit_length()
        Rom(dut, "tap_address", "tap", lambda a: self.taps[a].pack() if a < len(self.taps) else 0)
        Rom(dut, "weight_address", "weight_words",
            lambda a: flat([bank[a % weights.depth] for bank in self.weights], weights.bits))
        Rom(dut, "read_address", "read_data", lambda word: flat(
            [bank[a % activations.depth] for bank, a in zip(
                self.activations, split(word, width, activations.banks), strict=True)], activations.bits))

    def operand(self, source, walk, pixel, word):
        """(word of all planes, whether it counts, whether its tap is inside, whether its address exists) of a pixel."""
        config, lanes, tap = self.config, self.config.pixel_lanes, self.taps[word["tap"]]
        if pixel >= walk.pixels:
            return 0, source.padding == Padding.LOW, False, True
        y, x = divmod(pixel, walk.columns)
        row, column = y * source.stride + tap.dy, x * source.stride + tap.dx
        if not (0 <= row < source.rows and 0 <= column < source.columns):
            return 0, source.padding == Padding.LOW, False, True
        address = (source.base + pixel // lanes * source.pixel_words + y * walk.row_skip + tap.offset + word["inner"]
                   + (pixel % lanes + tap.rotate >= lanes) * source.pixel_words)
        if not 0 <= address < config.activation_depth:
            return None, True, True, False
        return self.activations[(pixel + tap.rotate) % lanes][address], True, True, True


def some_layer(rng, config):
    rows, columns = rng.randint(1, 6), rng.randint(1, 6)
    source = Source(base=rng.randint(100, 200), pixel_words=rng.randint(1, 4), channel_words=1, tail_bits=1,
                    rows=rows, columns=columns, stride=rng.randint(1, 2), padding=rng.choice(list(Padding)))
    walk = Walk(pixels=rng.randint(1, 12), columns=rng.randint(1, 4), row_skip=rng.randint(0, 5), tap_base=0, taps=1,
                positions=1, repeat=1)
    return source, walk


@cocotb.test()
async def random_layers(dut):
    """Operands, enables, weights and commands, FEED cycles after their word and skewed over the columns."""
    config, rng = configuration(), generator()
    await start(dut, **dict.fromkeys(INPUTS, 0))
    bench, planes = Bench(dut, config, rng), config.N * config.pixel_lanes
    for _ in range(6):
        source, walk = some_layer(rng, config)
        bench.taps = [Tap(offset=rng.randint(-50, 50), rotate=rng.randrange(config.pixel_lanes),
                          dy=rng.randint(-2, 2), dx=rng.randint(-2, 2), anchor=rng.randint(0, 1)) for _ in range(8)]
        dut.source.value, dut.walk.value = source.pack(), walk.pack()
        await cycles(dut, 1)
        dut.begin.value = 1
        await cycles(dut, 1)
        dut.begin.value = 0
        await cycles(dut, config.pixel_lanes)
        assert int(dut.ready.value), "lanes must be ready pixel_lanes cycles after begin"
        watch, words = Watch(dut, "activations", "enables", "weights", "step", "voids", "fault"), {}
        await cycles(dut, 1)
        cycle, groups = 0, -(-walk.pixels // config.pixel_lanes)
        for number in range(2 * groups):
            group, length = number % groups, config.pixel_lanes + rng.randint(0, 3)
            for n in range(length):
                word = {"swap": int(n == 0), "clear": rng.randint(0, 1), "shift": rng.randint(0, 1),
                        "last": rng.randint(0, 1), "tap": rng.randrange(8), "inner": rng.randint(0, 5),
                        "weight": rng.randrange(config.weight_depth), "count": rng.randint(0, config.word),
                        "split": rng.randint(0, 1),
                        "place": pack(pass_layout(), row_end=int(group == groups - 1), final_pass=rng.randint(0, 1))}
                dut.issue.value = pack(issue_layout(config), valid=1, **word)
                words[cycle] = (group, word)
                await cycles(dut, 1)
                cycle += 1
        dut.issue.value = 0
        await cycles(dut, timing.FEED + planes + 2)
        for cycle, (group, word) in words.items():
            _, _, weights, step, *_ = watch.seen[cycle + timing.FEED]
            assert split(weights, config.word, config.row_lanes) == [bank[word["weight"]] for bank in bench.weights]
            assert unpack(step_layout(config), step) == {
                name: word[name] for name in ("clear", "shift", "last", "count", "split", "place")}
            for k in range(config.pixel_lanes):
                bits, counts, inside, _ = bench.operand(source, walk, group * config.pixel_lanes + k, word)
                *_, voids, _ = watch.seen[cycle + timing.FEED + (k + 1) * config.N - 1]
                assert voids >> k & 1 == (bench.taps[word["tap"]].anchor and not inside), (cycle, k)
                for j in range(config.N):
                    column = k * config.N + j
                    activations, enables, *_ = watch.seen[cycle + timing.FEED + column]
                    assert enables >> column & 1 == counts, (cycle, k, j)
                    if counts:
                        assert split(activations, config.word, planes)[column] == split(bits, config.word, config.N)[j]
        assert not any(fault for *_, fault in watch.seen)
        idle = [at for at in range(len(watch.seen) - planes) if at - timing.FEED not in words]
        for at in idle:
            assert not watch.seen[at][1] & 1, "an enable without a word"


@cocotb.test()
async def outside_the_memory(dut):
    """Words of lanes inside the image whose address does not exist are faults, others are not."""
    config, rng = configuration(), generator()
    await start(dut, **dict.fromkeys(INPUTS, 0))
    bench = Bench(dut, config, rng)
    source = Source(base=config.activation_depth - 20, pixel_words=1, channel_words=1, tail_bits=1, rows=4, columns=4,
                    stride=1, padding=0)
    walk = Walk(pixels=config.pixel_lanes, columns=4, row_skip=0, tap_base=0, taps=1, positions=1, repeat=1)
    bench.taps = [Tap(offset=offset, rotate=rng.randrange(config.pixel_lanes), dy=rng.randint(-1, 1), dx=0, anchor=0)
                  for offset in (-65_536, 65_535, 17, 18, 19, 20, 21, -config.activation_depth + 19,
                                 -config.activation_depth + 20) for _ in range(3)]
    dut.source.value, dut.walk.value = source.pack(), walk.pack()
    await cycles(dut, 1)
    dut.begin.value = 1
    await cycles(dut, 1)
    dut.begin.value = 0
    await cycles(dut, config.pixel_lanes)
    watch, expected = Watch(dut, "fault"), []
    await cycles(dut, 1)
    for number in range(len(bench.taps)):
        word = {"swap": int(number == 0), "tap": number, "inner": 0}
        dut.issue.value = pack(issue_layout(config), valid=1, **word)
        expected.append(not all(bench.operand(source, walk, k, word)[-1] for k in range(config.pixel_lanes)))
        await cycles(dut, 1)
    dut.issue.value = 0
    await cycles(dut, timing.FEED + 2)
    faults = [bool(fault) for fault, in watch.seen]
    first = next(n for n, fault in enumerate(faults) if fault) - expected.index(True)
    assert first <= timing.FEED
    assert faults[first : first + len(expected)] == expected
    assert sum(faults) == sum(expected) > 0
