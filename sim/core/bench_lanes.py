"""`LaneWalk` against the formulas of `hw.arch.isa.Source` and `Walk`."""

import cocotb

from hw.arch.config import Config
from hw.arch.isa import Source, Walk
from hw.walk import lane_layout
from sim.helpers import cycles, generator, settings, start, unpack


@cocotb.test()
async def lane_origins(dut):
    """Origins of all lanes, fill after fill, over two rewinds."""
    config, rng = Config.from_json(str(settings()["config"])), generator()
    lanes, size = config.pixel_lanes, lane_layout().size
    await start(dut, source=0, walk=0, begin=0, take=0)
    for _ in range(8):
        source = Source(
            base=rng.randint(0, 900), pixel_words=rng.randint(1, 9), channel_words=1, tail_bits=1, rows=9, columns=9,
            stride=rng.randint(1, 5), padding=0)
        walk = Walk(
            pixels=rng.randint(1, 40), columns=rng.randint(1, 9), row_skip=rng.randint(0, 20), tap_base=0, taps=1,
            positions=1, repeat=1)
        dut.source.value, dut.walk.value = source.pack(), walk.pack()
        await cycles(dut, 1)
        dut.begin.value = 1
        await cycles(dut, 1)
        dut.begin.value = 0
        groups = -(-walk.pixels // lanes)
        for number, group in enumerate([*range(groups), *range(groups), 0]):
            await cycles(dut, lanes - (number > 0))  # a fill begins with `take`
            assert int(dut.full.value), "not full after pixel_lanes cycles"
            filled = int(dut.lanes.value)
            for k in range(lanes):
                lane, pixel = unpack(lane_layout(), filled >> k * size & (1 << size) - 1), group * lanes + k
                y, x = divmod(pixel, walk.columns)
                assert lane["valid"] == (pixel < walk.pixels), (walk, pixel)
                if lane["valid"]:
                    address = source.base + pixel // lanes * source.pixel_words + y * walk.row_skip
                    origin = (address, y * source.stride, x * source.stride)
                    assert (lane["address"], lane["row"], lane["column"]) == origin
            dut.take.value = 1
            await cycles(dut, 1)
            dut.take.value = 0
