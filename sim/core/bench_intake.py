"""`Intake` against `hw.arch.isa.Pack` and `Load`: every word, the declared cycles, gaps on both sides, faults."""

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from hw.arch import timing
from hw.arch.config import IMAGE_PLANES, Space
from hw.arch.isa import LOADABLE, Load, Pack, Target
from hw.arch.numerics import image_planes
from hw.arch.packed import fields_of
from hw.interfaces import write_layout
from hw.writer import store_layout
from sim.core.surroundings import configuration, flat
from sim.helpers import Source, cycles, generator, start, unpack

IDLE = dict.fromkeys(("pack", "target", "pack_begin", "load", "load_begin", "blocked"), 0)
MARGIN = 4  # cycles after the end in which nothing may happen
LIMIT = 20_000


def some_pack(rng, config):
    """A window that fits a word, on an image that fits the line buffer but need not fit the window."""
    while True:
        pack = Pack(rows=rng.randint(1, 9), columns=rng.randint(1, 9), channels=rng.randint(1, 4),
                    window_rows=rng.randint(1, 4), window_columns=rng.randint(1, 4), row_stride=rng.randint(1, 4),
                    column_stride=rng.randint(1, 4), split=rng.randrange(1 + config.splits))
        if pack.window_rows * pack.window_columns * pack.channels <= config.word >> pack.split:
            return pack


def some_target(rng, config, pack):
    """A tensor in one phase whose rows follow each other without gaps."""
    groups = timing.pack_words(config, pack)
    columns = max(1, (pack.columns - pack.window_columns) // pack.column_stride + 1)
    pitch_words, pitch_banks = divmod(columns, config.pixel_lanes)
    return Target(
        base=rng.randrange(50), pixel_words=groups, channel_words=1, columns=columns, phases=1, phase_words=0,
        phase_row_words=0, pitch_words=pitch_words * groups, pitch_banks=pitch_banks)


def windows(config, pack, image):
    """Words of the plane groups of every window, planes side by side."""
    n, groups, room = config.N, timing.plane_groups(config), config.word >> pack.split
    front = [0] * (groups * n - IMAGE_PLANES)
    for y in range(0, pack.rows - pack.window_rows + 1, pack.row_stride):
        for x in range(0, pack.columns - pack.window_columns + 1, pack.column_stride):
            pixels = [image[((y + ky) * pack.columns + x + kx) * pack.channels + c]
                      for kx in range(pack.window_columns) for c in range(pack.channels)
                      for ky in range(pack.window_rows)]
            planes = [front + image_planes(pixel) for pixel in pixels]
            zeros = room - len(planes)
            words = [flat([0] * zeros + [bits[plane] for bits in planes], 1) for plane in range(groups * n)]
            if pack.split:  # plane and the one N further on, which is less significant
                words = [flat((words[plane + n], words[plane]), room)
                         for group in range(0, groups, 2) for plane in range(group * n, (group + 1) * n)]
            yield [flat(words[group : group + n], config.word) for group in range(0, len(words), n)]


class Stores:
    """Stores that took place, with `blocked` high in random cycles, which forbids the next; cycles while busy."""

    def __init__(self, dut, config, chance):
        self.dut, self.config, self.chance, self.seen, self.busy = dut, config, chance, [], 0
        self.fault = False
        self.task = cocotb.start_soon(self._run(generator("blocked")))

    async def _run(self, rng):
        while True:
            await FallingEdge(self.dut.clk)
            blocked = int(self.dut.blocked.value)
            self.dut.blocked.value = int(rng.random() < self.chance)
            await ReadOnly()
            seen = len(self.seen)
            self.look()
            assert not blocked or len(self.seen) == seen
            self.busy += int(self.dut.busy.value)
            self.fault |= bool(int(self.dut.fault.value))

    def look(self):
        store = unpack(store_layout(self.config), int(self.dut.store.value))
        assert not store["enable"] or int(self.dut.storing.value)
        if store["enable"]:
            assert store["enable"] == (1 << self.config.N * self.config.slices) - 1
            self.seen.append((store["bank"], store["address"], store["data"]))


class Loads(Stores):
    """Words that were loaded, as (space, bank, address, word)."""

    def look(self):
        if int(self.dut.loading.value):
            word = unpack(write_layout(self.config), int(self.dut.loaded.value))
            memory = self.config.memories[Space(word["space"])]
            self.seen.append((word["space"], word["bank"], word["address"], word["data"] % (1 << memory.bits)))


async def begin(dut, pack, target):
    dut.pack.value, dut.target.value, dut.pack_begin.value = pack.pack(), target.pack(), 1
    await cycles(dut, 1)
    dut.pack_begin.value = 0
    await cycles(dut, 2)


@cocotb.test()
async def random_images(dut):
    """All words at their places, images one after the other; in the declared cycles when nobody is late."""
    config, rng = configuration(), generator()
    await start(dut, **IDLE)
    stream = Source(dut, "i")
    for number in range(24):
        pack = some_pack(rng, config)
        image = [rng.getrandbits(8) for _ in range(pack.rows * pack.columns * pack.channels)]
        target = some_target(rng, config, pack)
        prompt = number % 2 == 0
        stream.stall = 0.0 if prompt else rng.choice((0.0, 0.7))
        stream.put(image)
        if prompt:  # the image waits in the line buffer
            await stream.drained()
            await cycles(dut, 2)
        stores = Stores(dut, config, 0.0 if prompt else rng.choice((0.0, 0.8)))
        await begin(dut, pack, target)
        while int(dut.busy.value):
            await cycles(dut, 1)
            assert stores.busy < LIMIT, pack
        if prompt:
            assert stores.busy == timing.pack_cycles(config, pack), pack
        await cycles(dut, MARGIN)
        stores.task.cancel()
        assert not stream.queue and not stores.fault
        expected = []
        for pixel, words in enumerate(windows(config, pack, image)):
            bank, place = pixel % config.pixel_lanes, target.base + pixel // config.pixel_lanes * target.pixel_words
            expected += [(bank, place + group, word) for group, word in enumerate(words)]
        assert stores.seen == expected, pack


@cocotb.test()
async def the_next_image_waits(dut):
    """Bytes are taken up to the line buffer's depth without a `Pack`, and belong to the next one."""
    config, rng = configuration(), generator()
    await start(dut, **IDLE)
    stream = Source(dut, "i")
    columns = config.image_depth // 8 + 1
    pack = Pack(rows=8, columns=columns, channels=1, window_rows=2, window_columns=2, row_stride=3, column_stride=15,
                split=int(config.splits))
    sent = [rng.getrandbits(8) for _ in range(pack.rows * pack.columns)]
    stream.put(sent)
    await cycles(dut, config.image_depth + 20)
    assert len(stream.queue) == len(sent) - config.image_depth
    stores = Stores(dut, config, 0.0)
    await begin(dut, pack, some_target(rng, config, pack))
    while int(dut.busy.value):
        await cycles(dut, 1)
        assert stores.busy < LIMIT
    assert not stream.queue
    assert [data for *_, data in stores.seen] == [word for group in windows(config, pack, sent) for word in group]


@cocotb.test()
async def what_does_not_fit(dut):
    """A window larger than a word, rows larger than the line buffer, a word outside the memory are faults."""
    config = configuration()
    await start(dut, **IDLE)
    stream, depth = Source(dut, "i"), config.image_depth
    fits = dict.fromkeys([name for name, _ in fields_of(Pack)], 1) | {"split": 0}
    halves = {"split": int(config.splits)}
    inside = Target(base=0, pixel_words=1, channel_words=1, columns=9, phases=1, phase_words=0, phase_row_words=0,
                    pitch_words=1, pitch_banks=0)
    outside = Target(base=config.activation_depth, pixel_words=1, channel_words=1, columns=9, phases=1, phase_words=0,
                     phase_row_words=0, pitch_words=1, pitch_banks=0)
    for change, target, fault in (
        ({}, inside, False), ({}, outside, True),
        ({"window_rows": config.word // 8, "window_columns": 8}, inside, config.word > 120),
        ({"channels": 9, "window_rows": config.word // 8, "window_columns": 1}, inside, True),
        ({"channels": config.word // 2, **halves}, inside, False),
        ({"channels": config.word // 2 + 1, **halves}, inside, config.splits),
        ({"columns": depth - 1, "rows": 2, "window_rows": 3}, inside, True),
        ({"columns": depth // 2 - 1, "window_rows": 3}, inside, False),
        ({"columns": depth // 2, "window_rows": 3}, inside, True),
        ({"columns": 4095, "channels": 31}, inside, True),
    ):
        pack = Pack(**fits | change)
        dut.rst.value = 1
        await cycles(dut, 1)
        dut.rst.value = 0
        if pack.channels * pack.window_rows * pack.window_columns <= config.word and change.get("window_rows", 1) > 15:
            continue
        stores = Stores(dut, config, 0.0)
        stream.put([255] * (0 if fault and target is inside else pack.rows * pack.columns * pack.channels))
        await begin(dut, pack, target)
        await cycles(dut, len(stream.queue) + 200)
        assert (stores.fault, bool(int(dut.busy.value))) == (fault, fault), pack
        assert bool(stores.seen) == (pack.window_rows == pack.window_columns == 1 and not fault), pack
        assert not stream.queue
        stores.task.cancel()


def some_load(rng, config):
    """A few words of some memories, up to the last one there is."""
    fields = {}
    for name, space in zip([name for name, _ in fields_of(Load)][::2], LOADABLE, strict=True):
        depth = config.memories[space].depth
        words = rng.choice((0, 1, rng.randint(0, 5)))
        fields |= {name: rng.choice((depth - words, rng.randint(0, depth - words))),
                   f"{space.name.lower().removesuffix('s')}_words": words}
    return Load(**fields)


async def begin_load(dut, load):
    dut.load.value, dut.load_begin.value = load.pack(), 1
    await cycles(dut, 1)
    dut.load_begin.value = 0
    await cycles(dut, 1)
    dut.load.value = 0
    await cycles(dut, 1)


@cocotb.test()
async def random_loads(dut):
    """All words at their places, an image in between; in the declared cycles when nobody is late."""
    config, rng = configuration(), generator()
    await start(dut, **IDLE)
    stream = Source(dut, "i")
    for number in range(24):
        load = some_load(rng, config)
        sent = [rng.getrandbits(8) for _ in range(load.stream_bytes(config))]
        rest, expected = list(sent), []
        for space, (first, count) in load.spans.items():
            memory = config.memories[space]
            for address in range(first, first + count):
                for bank in range(memory.banks):
                    word = sum(rest.pop(0) << 8 * n for n in range(memory.bytes_per_word))
                    expected.append((space, bank, address, word % (1 << memory.bits)))
        prompt = number % 2 == 0
        stream.stall = 0.0 if prompt else rng.choice((0.0, 0.7))
        stream.put(sent[: config.image_depth])
        if prompt:
            await stream.drained()
            await cycles(dut, 2)
        stream.put(sent[config.image_depth :])
        loads = Loads(dut, config, 0.0 if prompt else rng.choice((0.0, 0.8)))
        await begin_load(dut, load)
        while int(dut.busy.value):
            await cycles(dut, 1)
            assert loads.busy < LIMIT, load
        if prompt:
            assert loads.busy == timing.load_cycles(config, load), load
        await cycles(dut, MARGIN)
        loads.task.cancel()
        assert not stream.queue and loads.seen == expected, load
        if number % 8 == 1:
            pack = Pack(rows=2, columns=2, channels=1, window_rows=1, window_columns=1, row_stride=1, column_stride=1,
                        split=0)
            stores = Stores(dut, config, 0.0)
            stream.put([1, 2, 3, 4])
            await begin(dut, pack, some_target(rng, config, pack))
            while int(dut.busy.value):
                await cycles(dut, 1)
            stores.task.cancel()
            found = [word for *_, word in stores.seen]
            assert found == [word for words in windows(config, pack, [1, 2, 3, 4]) for word in words]


@cocotb.test()
async def loads_outside(dut):
    """Words outside any of the memories are a fault, before any is stored."""
    config = configuration()
    await start(dut, **IDLE)
    stream = Source(dut, "i")
    names = [name for name, _ in fields_of(Load)]
    for space, name, words in zip(LOADABLE, names[::2], names[1::2], strict=True):
        depth, limits = config.memories[space].depth, dict(fields_of(Load))
        for first, count in ((depth, 1), (depth - 1, 2), (limits[name]["high"], limits[words]["high"])):
            stream.put([1] * 16)
            loads = Loads(dut, config, 0.0)
            await begin_load(dut, Load(**dict.fromkeys(names, 1) | {name: first, words: count}))
            await cycles(dut, 2 * timing.LOADED)
            assert int(dut.fault.value) and int(dut.busy.value) and not loads.seen, (space, first, count)
            loads.task.cancel()
            dut.rst.value = 1
            await cycles(dut, 1)
            dut.rst.value = 0
