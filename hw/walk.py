"""Address walks over tensors, one pixel at a time, with additions only.

`LaneWalk` prepares where the pixel lanes read, `TargetWalk` says where a pixel is written. Both follow the layout
formulas of `hw.arch.isa`.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config
from hw.arch.isa import Source, Target, Walk
from hw.layouts import layout_of


def lane_layout() -> data.StructLayout:
    """Where one pixel lane stands: word address of its origin, and the origin's row and column."""
    return data.StructLayout({"valid": 1, "address": 18, "row": 13, "column": 13})


class LaneWalk(wiring.Component):
    """Fill `lanes` with the next `pixel_lanes` pixels of a row-major walk.

    `begin` starts a layer; a fill takes `hw.arch.timing.lane_fill` cycles. `take` says that the lanes were copied and
    starts the next fill: of the following pixels, or with `rewind` of the first ones. Lanes past the last pixel are
    not valid.
    """

    def __init__(self, config: Config):
        self._lanes = config.pixel_lanes
        super().__init__({
            "source": In(layout_of(Source)), "walk": In(layout_of(Walk)),
            "begin": In(1), "take": In(1), "rewind": In(1), "full": Out(1),
            "lanes": Out(data.ArrayLayout(lane_layout(), config.pixel_lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        source, walk = self.source, self.walk
        lane, left, x = Signal(range(self._lanes + 1)), Signal(20), Signal(12)
        here = Signal(lane_layout())
        m.d.comb += [self.full.eq(lane == self._lanes), here.valid.eq(left != 0)]

        bank_end, row_end = Signal(), Signal()
        m.d.comb += [bank_end.eq(lane == self._lanes - 1), row_end.eq(x == walk.columns - 1)]
        with m.If(~self.full):
            m.d.sync += [
                self.lanes[lane].eq(here), lane.eq(lane + 1), left.eq(left - here.valid),
                here.address.eq(here.address + Mux(bank_end, source.pixel_words, 0) + Mux(row_end, walk.row_skip, 0)),
                here.column.eq(here.column + source.stride), x.eq(x + 1),
            ]
            with m.If(row_end):
                m.d.sync += [x.eq(0), here.column.eq(0), here.row.eq(here.row + source.stride)]
        with m.If(self.take):
            m.d.sync += lane.eq(0)
        with m.If(self.begin | (self.take & self.rewind)):
            m.d.sync += [
                lane.eq(0), left.eq(walk.pixels), x.eq(0),
                here.row.eq(0), here.column.eq(0), here.address.eq(source.base),
            ]
        return m


class TargetWalk(wiring.Component):
    """Bank and word address of one pixel after the other, in row-major order.

    `begin` goes to pixel 0, `step` to the next; `bank` and `address` are valid from two cycles later on, and `step`
    may come every cycle: they follow two cycles behind.
    """

    def __init__(self, config: Config):
        self._lanes = config.pixel_lanes
        super().__init__({
            "target": In(layout_of(Target)), "begin": In(1), "step": In(1),
            "bank": Out(range(config.pixel_lanes)), "address": Out(18),
        })

    def elaborate(self, platform):
        m = Module()
        target, lanes = self.target, self._lanes
        x, phase_x, phase_y = Signal(12), Signal(4), Signal(4)
        shift_x, shift_y = Signal(16), Signal(16)
        bank, address = Signal(range(lanes)), Signal(18)  # of the pixel inside its phase
        row_bank, row_address = Signal(range(lanes)), Signal(18)  # of the row's first pixel

        next_row_bank = Signal(range(2 * lanes))
        next_row_address = Signal(18)
        m.d.comb += [
            next_row_bank.eq(row_bank + target.pitch_banks),
            next_row_address.eq(
                row_address + target.pitch_words + Mux(next_row_bank >= lanes, target.pixel_words, 0)),
        ]
        with m.If(self.step):
            m.d.sync += [x.eq(x + 1), phase_x.eq(phase_x + 1), shift_x.eq(shift_x + target.phase_words)]
            with m.If(phase_x == target.phases - 1):
                m.d.sync += [phase_x.eq(0), shift_x.eq(0), bank.eq(bank + 1)]
                with m.If(bank == lanes - 1):
                    m.d.sync += [bank.eq(0), address.eq(address + target.pixel_words)]
            with m.If(x == target.columns - 1):
                m.d.sync += [x.eq(0), phase_x.eq(0), shift_x.eq(0), bank.eq(row_bank), address.eq(row_address),
                             phase_y.eq(phase_y + 1), shift_y.eq(shift_y + target.phase_row_words)]
                with m.If(phase_y == target.phases - 1):
                    m.d.sync += [phase_y.eq(0), shift_y.eq(0)]
                    for value, row_value, following in (
                        (bank, row_bank, next_row_bank), (address, row_address, next_row_address),
                    ):
                        m.d.sync += [value.eq(following), row_value.eq(following)]
        with m.If(self.begin):
            m.d.sync += [value.eq(0) for value in (
                x, phase_x, phase_y, shift_x, shift_y, bank, address, row_bank, row_address)]
        m.d.sync += [self.bank.eq(bank), self.address.eq(target.base + shift_x + shift_y + address)]
        return m
