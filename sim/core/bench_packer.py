"""`Packer` against `hw.arch.isa.Pack`: every window's planes, the declared cycles, gaps in the stream, faults."""

import cocotb

from hw.arch import timing
from hw.arch.config import IMAGE_PLANES
from hw.arch.isa import Pack
from hw.arch.numerics import image_planes
from hw.writer import store_layout
from sim.core.surroundings import Targets, Watch, configuration, flat
from sim.helpers import Source, cycles, generator, start, unpack

IDLE = dict.fromkeys(("pack", "begin", "channel_words", "address"), 0)
MARGIN = 4  # cycles after the end in which nothing may happen


def some_pack(rng, config):
    """A window that fits a word, on an image that need not fit the window."""
    while True:
        pack = Pack(rows=rng.randint(1, 7), columns=rng.randint(1, 7), channels=rng.randint(1, 4),
                    window_rows=rng.randint(1, 4), window_columns=rng.randint(1, 4), stride=rng.randint(1, 4))
        if pack.window_rows * pack.window_columns * pack.channels <= config.word:
            return pack


def windows(config, pack, image):
    """Words of the plane groups of every window, planes side by side."""
    groups = -(-IMAGE_PLANES // config.N)
    front = [0] * (groups * config.N - IMAGE_PLANES)
    for y in range(0, pack.rows - pack.window_rows + 1, pack.stride):
        for x in range(0, pack.columns - pack.window_columns + 1, pack.stride):
            pixels = [image[(y + ky) * pack.columns * pack.channels + (x + kx) * pack.channels + c]
                      for kx in range(pack.window_columns) for ky in range(pack.window_rows)
                      for c in range(pack.channels)]
            planes = [front + image_planes(pixel) for pixel in pixels]
            words = [flat([bits[plane] for bits in planes], 1) for plane in range(groups * config.N)]
            yield [flat(words[group * config.N : (group + 1) * config.N], config.word) for group in range(groups)]


@cocotb.test()
async def random_images(dut):
    """All words at their places; without gaps in the declared cycles."""
    config, rng = configuration(), generator()
    await start(dut, **IDLE)
    targets, stream = Targets(dut, [(0, 0)]), Source(dut, "i")
    for number in range(14):
        pack = some_pack(rng, config)
        image = [rng.getrandbits(8) for _ in range(pack.rows * pack.columns * pack.channels)]
        expected = list(windows(config, pack, image))
        targets.places = [(rng.randrange(config.pixel_lanes), 9 * n) for n in range(max(1, len(expected)))]
        targets.number = 0  # the sequencer begins the walk with the image
        stream.stall = 0.0 if number % 2 else 0.4
        stream.put(image)
        dut.pack.value, dut.channel_words.value, dut.begin.value = pack.pack(), 1, 1
        await cycles(dut, 1)
        dut.begin.value = 0
        watch = Watch(dut, "store", "finished", "fault")
        while not watch.seen or not watch.seen[-1][1]:
            await cycles(dut, 1)
            assert len(watch.seen) < 20_000, pack
        # FETCH and the cycle of `begin` come before the first watched one, but for its successor.
        if not stream.stall:
            assert len(watch.seen) == timing.pack_cycles(config, pack) - timing.FETCH - 2, pack
        await cycles(dut, MARGIN)
        assert not stream.queue
        stores = [unpack(store_layout(config), word) for word, *_ in watch.seen]
        stores = [store for store in stores if store["enable"]]
        assert all(store["enable"] == (1 << config.N * config.slices) - 1 for store in stores)
        assert [(store["bank"], store["address"], store["data"]) for store in stores] == [
            (bank, address + group, word) for (bank, address), words in zip(targets.places, expected, strict=False)
            for group, word in enumerate(words)], pack
        assert not any(fault for *_, fault in watch.seen)


@cocotb.test()
async def what_does_not_fit(dut):
    """A window larger than a word, a row larger than the line buffer, a word outside the memory are faults."""
    config = configuration()
    await start(dut, **IDLE)
    targets, stream = Targets(dut, [(0, 0)]), Source(dut, "i")
    wide = config.image_depth // 4 + 1
    for pack, address, taken in (
        (Pack(rows=9, columns=9, channels=config.word // 8 + 1, window_rows=4, window_columns=2, stride=1), 0, 0),
        (Pack(rows=1, columns=wide, channels=1, window_rows=4, window_columns=1, stride=1), 0, wide),
        (Pack(rows=1, columns=1, channels=1, window_rows=1, window_columns=1, stride=1), config.activation_depth, 1),
    ):
        targets.places, targets.number = [(0, address)], 0
        stream.put([255] * taken)
        watch = Watch(dut, "store", "fault")
        dut.pack.value, dut.channel_words.value, dut.begin.value = pack.pack(), 1, 1
        await cycles(dut, 1)
        dut.begin.value = 0
        await cycles(dut, 3 * taken + 20)
        assert any(fault for _, fault in watch.seen), pack
        assert not any(unpack(store_layout(config), word)["enable"] for word, _ in watch.seen)
        assert not stream.queue
        dut.rst.value = 1
        await cycles(dut, 1)
        dut.rst.value = 0
