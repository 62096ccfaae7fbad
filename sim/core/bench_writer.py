"""`Writer` against the formulas of `hw.arch.isa.Target` and `Conv`: planes, integers, cycles, faults."""

import cocotb
from cocotb.triggers import FallingEdge

from hw.arch import timing
from hw.arch.isa import MOST_STEPS, NO_VALUES, Conv, Values, Walk
from hw.threshold import LEVEL_BITS
from hw.writer import HEAD, store_layout
from sim.core.surroundings import Targets, Watch, configuration, flat
from sim.helpers import cycles, generator, start, unpack

IDLE = dict.fromkeys((
    "conv", "values", "walk", "code", "begin", "restart", "done", "levels", "head", "channel_words", "address"), 0)
CONV = {"weights": 0, "weight_passes": 1, "activation_passes": 1, "fused": 0, "coefficients": 0,
        "coefficient_stride": 0, "thresholds": 0, "split": 0}
CODE_PLANES = 8


KEPT = Values(base=0, add=0, keep=1, shift=0, rectify=0)


def some_layer(rng, config, levels, search=0):
    conv = Conv(levels=levels, search=search, target_groups=rng.randint(1, -(-CODE_PLANES // config.N)),
                row_groups=rng.randint(1, 2 * config.slices + 1), last_channels=rng.randint(1, config.channel_lanes),
                **CONV)
    walk = Walk(pixels=rng.randint(1, 2 * config.pixel_lanes + 1), columns=3, row_skip=0, tap_base=0, taps=1,
                positions=1, repeat=1)
    return conv, walk


async def begin(dut, conv, walk, **ports):
    for name, value in {"conv": conv.pack(), "walk": walk.pack(), **ports}.items():
        getattr(dut, name).value = value
    dut.begin.value = dut.restart.value = 1
    await cycles(dut, 1)
    dut.begin.value = dut.restart.value = 0


async def groups(dut, config, conv, walk, levels, values=NO_VALUES):
    """`done` for every pixel group, as close as they may come; the cycles in which `group_done` must follow."""
    period, lanes = timing.group_period(config, conv, values), config.pixel_lanes
    per_row = -(-walk.pixels // lanes)
    done = [n * period for n in range(conv.row_groups * per_row)]
    whole = Walk(**{**vars(walk), "pixels": lanes})
    compare = timing.COMPARE + timing.LEVEL - 1 + conv.residual(values) + config.chain_channels * conv.compared(values)
    longest, last = (timing.finish_cycles(config, conv, w, values) - compare for w in (whole, walk))
    current = [[0] * config.channel_lanes for _ in range(lanes)]
    for cycle in range(done[-1] + longest + HEAD):
        dut.done.value = int(cycle in done)
        for k in range(lanes):
            if cycle - 1 - k * config.N in done:  # the levels change behind `done`
                current[k] = levels(done.index(cycle - 1 - k * config.N), k)
        dut.levels.value = flat([level for lane in current for level in lane], LEVEL_BITS)
        await cycles(dut, 1)
    return [cycle + (last if n % per_row == per_row - 1 else longest) for n, cycle in enumerate(done)]


@cocotb.test()
async def random_planes(dut):
    """The activation memory after a layer, and the cycle in which each group is done."""
    config, rng = configuration(), generator()
    lanes = config.pixel_lanes
    await start(dut, **IDLE)
    targets = Targets(dut, [(0, 0)])
    for number in range(8):
        search = number % 2
        conv, walk = some_layer(rng, config, levels=rng.randint(1, MOST_STEPS if search else 15), search=search)
        per_row = -(-walk.pixels // lanes)
        table = [[rng.randint(0, 1) for _ in range(CODE_PLANES)] for _ in range(16)]
        words = rng.randint(3, 5)  # channel words per pixel and plane group
        pixel_words = words * conv.target_groups
        targets.places = [(p % lanes, 7 + p // lanes * pixel_words) for p in range(walk.pixels)] * 2
        top, upper = ((1 << conv.levels) - 1, max(0, conv.levels - 4)) if conv.search else (conv.levels, 0)
        chosen = {(g, k): [rng.randint(0, top) for _ in range(config.channel_lanes)]
                  for g in range(conv.row_groups * per_row) for k in range(lanes)}
        await begin(dut, conv, walk, code=flat([bit for row in table for bit in row], 1), channel_words=words)
        watch = Watch(dut, "store", "group_done", "fault", "result_enable")
        await cycles(dut, 1)
        ends = await groups(dut, config, conv, walk, lambda g, k, chosen=chosen: chosen[g, k])
        memory, expected, ones = {}, {}, (1 << config.channel_lanes) - 1
        for word, *_ in watch.seen:
            store = unpack(store_layout(config), word)
            place = store["bank"], store["address"]
            for part in range(config.N * config.slices):
                if store["enable"] >> part & 1:
                    memory[*place, part] = store["data"] >> part * config.channel_lanes & ones
        for (g, k), levels in chosen.items():
            row, group = divmod(g, per_row)
            pixel = group * lanes + k
            if pixel >= walk.pixels:
                continue
            used = conv.last_channels if row == conv.row_groups - 1 else config.channel_lanes
            word, part = divmod(row, config.slices)
            bank, address = targets.places[pixel]
            for plane in range(conv.target_groups * config.N):
                bits = [table[level >> 4 if plane < upper else level & 15][plane] if plane < CODE_PLANES else 0
                        for level in levels[:used]]
                at = address + plane // config.N * words + word
                for clear in range(part if part == 0 else config.slices, config.slices):
                    expected.setdefault((bank, at, plane % config.N * config.slices + clear), 0)
                expected[bank, at, plane % config.N * config.slices + part] = flat(bits, 1)
        assert memory == expected
        assert [cycle for cycle, (_, end, *_) in enumerate(watch.seen) if end] == ends
        assert not any(fault or enable for *_, fault, enable in watch.seen)


@cocotb.test()
async def random_integers(dut):
    """Results in the order (row group, pixel, channel lane), one after the other over two layers."""
    config, rng = configuration(), generator()
    lanes, channels = config.pixel_lanes, config.channel_lanes
    await start(dut, **IDLE)
    Targets(dut, [(0, 0)])
    heads = {(k, c): [] for k in range(lanes) for c in range(config.chains)}
    written, coming = [], [0] * HEAD

    async def serve():
        while True:
            await FallingEdge(dut.clk)
            place = int(dut.pop_lane.value), int(dut.pop_chain.value)
            queue = heads.get(place, [])
            coming.append(queue[0] if queue else 0)
            dut.head.value = coming.pop(0)
            if int(dut.pop.value):
                queue.pop(0)
            if int(dut.result_enable.value):
                written.append((int(dut.result_address.value), int(dut.result.value)))

    cocotb.start_soon(serve())
    for _ in range(4):
        conv, walk = some_layer(rng, config, levels=0)
        conv = Conv(**{**vars(conv), "row_groups": rng.randint(1, 3)})
        per_row, expected = -(-walk.pixels // lanes), []
        for _ in range(conv.row_groups):
            for pixel in range(walk.pixels):
                values = [rng.getrandbits(config.sum_bits) for _ in range(channels)]
                expected += values
                for c, value in enumerate(values):
                    heads[pixel % lanes, c // config.chain_channels].append(value)
        await begin(dut, conv, walk)
        watch = Watch(dut, "group_done", "fault")
        written.clear()
        await cycles(dut, 1)
        ends = await groups(dut, config, conv, walk, lambda g, k: [0] * channels)
        assert written == list(enumerate(expected))
        assert not any(heads.values())
        assert [cycle for cycle, (end, _) in enumerate(watch.seen) if end] == ends
        assert len(ends) == conv.row_groups * per_row
        assert not any(fault for _, fault in watch.seen)


@cocotb.test()
async def outside_the_memories(dut):
    """A plane or integer that has no place is a fault and is not written."""
    config = configuration()
    await start(dut, **IDLE)
    depth = config.activation_depth
    targets = Targets(dut, [(0, depth - 1)] * 4)
    walk = Walk(pixels=1, columns=1, row_skip=0, tap_base=0, taps=1, positions=1, repeat=1)
    conv = Conv(levels=1, search=0, target_groups=2, row_groups=1, last_channels=1, **CONV)
    await begin(dut, conv, walk, channel_words=1)
    watch = Watch(dut, "store", "fault")
    await cycles(dut, 1)
    await groups(dut, config, conv, walk, lambda g, k: [1] * config.channel_lanes)
    stores = [unpack(store_layout(config), word) for word, _ in watch.seen]
    assert {store["address"] for store in stores if store["enable"]} == {depth - 1}
    assert sum(fault for _, fault in watch.seen) == 1
    targets.places = [(0, 0)]
    count = config.result_depth // config.channel_lanes + 1
    conv = Conv(levels=0, search=0, target_groups=0, row_groups=count, last_channels=1, **CONV)
    await begin(dut, conv, walk)
    watch = Watch(dut, "result_enable", "fault")
    await cycles(dut, 1)
    await groups(dut, config, conv, walk, lambda g, k: [0] * config.channel_lanes)
    assert sum(enable for enable, _ in watch.seen) == config.result_depth
    assert sum(fault for _, fault in watch.seen) == count * config.channel_lanes - config.result_depth


@cocotb.test()
async def values_only(dut):
    """A layer that makes values only writes nothing and says when all lanes are done."""
    config, rng = configuration(), generator()
    await start(dut, **IDLE)
    Targets(dut, [(0, 0)])
    conv, walk = some_layer(rng, config, levels=0)
    await begin(dut, conv, walk, values=KEPT.pack())
    watch = Watch(dut, "store", "result_enable", "pop", "fault", "group_done")
    await cycles(dut, 1)
    ends = await groups(dut, config, conv, walk, lambda g, k: [0] * config.channel_lanes, KEPT)
    assert not any(unpack(store_layout(config), store)["enable"] or enable or pop or fault
                   for store, enable, pop, fault, _ in watch.seen)
    assert [cycle for cycle, (*_, end) in enumerate(watch.seen) if end] == ends
