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
from hw.rounds import Rounds


def lane_layout() -> data.StructLayout:
    """Where one pixel lane stands: word address of its origin, and the origin's row and column."""
    return data.StructLayout({"valid": 1, "address": 18, "row": 13, "column": 13})


class LaneWalk(wiring.Component):
    """Fill `lanes` with the next `pixel_lanes` pixels of a row-major walk, which starts anew behind its last pixel.

    `begin` starts a layer; `take` says that the full lanes are copied and starts the next fill, which takes
    `pixel_lanes` cycles, its own included. Lanes past the last pixel are not valid. `source` and `walk` hold from the
    cycle before `begin` on.
    """

    def __init__(self, config: Config):
        self._lanes = config.pixel_lanes
        super().__init__({
            "source": In(layout_of(Source)), "walk": In(layout_of(Walk)), "begin": In(1), "take": In(1),
            "full": Out(1), "lanes": Out(data.ArrayLayout(lane_layout(), config.pixel_lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        source, walk = self.source, self.walk
        lane = Signal(range(max(2, self._lanes)))
        here = Signal(lane_layout(), reset_less=True)
        filled = Signal(self.lanes.shape(), reset_less=True)
        step = Signal()
        bank_end = Signal()
        again = Signal()
        both = Signal(18, reset_less=True)
        m.d.comb += self.lanes.eq(filled)
        m.submodules.pixels = pixels = Rounds(len(walk.pixels))
        m.submodules.columns = columns = Rounds(len(walk.columns))
        m.d.comb += [
            step.eq(~self.full | self.take), bank_end.eq(lane == self._lanes - 1),
            again.eq(self.begin | (step & bank_end & (pixels.last | ~here.valid))),
            pixels.count.eq(walk.pixels), columns.count.eq(walk.columns),
        ]
        for rounds in (pixels, columns):
            m.d.comb += [rounds.begin.eq(again), rounds.step.eq(step)]

        # The addresses' steps: to the next bank row, to the next row of the map, or both.
        m.d.sync += both.eq(source.pixel_words + walk.row_skip)
        words = Mux(columns.last, Mux(bank_end, both, walk.row_skip), Mux(bank_end, source.pixel_words, 0))
        with m.If(step):
            m.d.sync += [
                filled[lane].eq(here), lane.eq(Mux(bank_end, 0, lane + 1)), self.full.eq(bank_end),
                here.address.eq(here.address + words), here.column.eq(here.column + source.stride),
            ]
            with m.If(pixels.last):
                m.d.sync += here.valid.eq(0)
            with m.If(columns.last):
                m.d.sync += [here.column.eq(0), here.row.eq(here.row + source.stride)]
        with m.If(again):
            m.d.sync += [here.valid.eq(1), here.row.eq(0), here.column.eq(0), here.address.eq(source.base)]
        with m.If(self.begin):
            m.d.sync += [lane.eq(0), self.full.eq(0)]
        return m


class TargetWalk(wiring.Component):
    """Bank and word address of one pixel after the other, in row-major order.

    `begin` goes to pixel 0, `step` to the next; `bank` and `address` are valid from two cycles later on, and `step`
    may come every cycle: they follow two cycles behind. `target` holds from the cycle before `begin` on.
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
        m.submodules.columns = columns = Rounds(len(target.columns))
        m.submodules.phase_x = phase_x = Rounds(len(target.phases))
        m.submodules.phase_y = phase_y = Rounds(len(target.phases))
        row_end = self.step & columns.last
        for rounds, count, begin, step in (
            (columns, target.columns, self.begin, self.step), (phase_y, target.phases, self.begin, row_end),
            (phase_x, target.phases, self.begin | row_end, self.step),
        ):
            m.d.comb += [rounds.count.eq(count), rounds.begin.eq(begin), rounds.step.eq(step)]

        # Bank and address of the pixel at hand; `cell` and `row` are the addresses of the first pixel of its group of
        # phases and of its row, `rows` of the first row of its group of phases.
        bank = Signal(range(lanes))
        here = Signal(18)
        cell = Signal(18)
        row_bank = Signal(range(lanes))
        row = Signal(18)
        rows = Signal(18)
        following = Signal(range(2 * lanes))  # bank of the next group of rows, wrapped or not
        one_more = Signal(18)
        m.d.sync += one_more.eq(target.pitch_words + target.pixel_words)
        next_bank = Signal.like(bank)
        next_row = Signal(18)
        with m.If(phase_y.last):
            m.d.comb += [
                next_bank.eq(following), next_row.eq(rows + Mux(following[-1], one_more, target.pitch_words))]
        with m.Else():
            m.d.comb += [next_bank.eq(row_bank), next_row.eq(row + target.phase_row_words)]
        next_cell = cell + Mux(bank == lanes - 1, target.pixel_words, 0)
        with m.If(self.step):
            m.d.sync += here.eq(here + target.phase_words)
            with m.If(phase_x.last):
                m.d.sync += [bank.eq(Mux(bank == lanes - 1, 0, bank + 1)), here.eq(next_cell), cell.eq(next_cell)]
            with m.If(columns.last):
                m.d.sync += [value.eq(next_row) for value in (here, cell, row)]
                m.d.sync += [value.eq(next_bank) for value in (bank, row_bank)]
                with m.If(phase_y.last):
                    m.d.sync += [rows.eq(next_row), following.eq(next_bank + target.pitch_banks)]
        with m.If(self.begin):
            m.d.sync += [value.eq(target.base) for value in (here, cell, row, rows)]
            m.d.sync += [bank.eq(0), row_bank.eq(0), following.eq(target.pitch_banks)]
        m.d.sync += [self.bank.eq(bank), self.address.eq(here)]
        return m
