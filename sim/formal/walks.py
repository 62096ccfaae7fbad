"""Contracts of the address walks: where pixel after pixel lies, against the formulas of `hw.arch.isa`.

Products of the formulas are sums here: a solver does not multiply.
"""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.utils import exact_log2

from hw.arch.isa import Source, Target, Walk
from hw.walk import LaneWalk, TargetWalk, lane_layout

from .control import CONFIG, Loop, set_up
from .opened import Opened
from .prover import Proof
from .stepping import later
from .storage import free

LANES = CONFIG.replace(column_lanes=4)


def lane_walk(m: Module, dut: Opened) -> None:
    """A pixel per cycle, at the place that its number has; `full` after as many cycles as there are lanes."""
    w, lanes = dut.component, LANES.pixel_lanes
    free(m, w.begin, w.take)
    started = Signal()
    changed = Cat(
        set_up(m, ~started & ~w.begin, cls, port) for cls, port in ((Source, w.source), (Walk, w.walk))).any()
    m.d.comb += [Assume(~w.begin | ~changed), Assume(~w.take | (w.full & started))]

    filled = Signal(range(lanes + 1))  # cycles since the fill began
    with m.If(w.begin):
        m.d.sync += filled.eq(0)
    with m.Elif(w.take):
        m.d.sync += filled.eq(1)
    with m.Elif(filled != lanes):
        m.d.sync += filled.eq(filled + 1)
    lane, fills = filled[: exact_log2(lanes)], (filled != lanes) | w.take
    m.d.comb += [Assert(filled <= lanes), Assert(w.full == (filled == lanes)), Assert(dut["lane"] == lane)]

    # The pixel of this cycle: number and column in its row, row, pixels left, and the words of groups and rows before.
    x, column, row, left, groups, rows = (
        Signal(width, name=f"pixel{n}") for n, width in enumerate((12, 13, 13, 20, 18, 18)))
    with m.If(fills):
        m.d.sync += [x.eq(x + 1), column.eq(column + w.source.stride), left.eq(Mux(left == 0, 0, left - 1))]
        with m.If(lane == lanes - 1):
            m.d.sync += groups.eq(groups + w.source.pixel_words)
        with m.If(x == w.walk.columns - 1):
            m.d.sync += [x.eq(0), column.eq(0), row.eq(row + w.source.stride), rows.eq(rows + w.walk.row_skip)]
    with m.If(w.begin | (fills & (lane == lanes - 1) & (left <= 1))):
        m.d.sync += [value.eq(0) for value in (x, column, row, groups, rows)]
        m.d.sync += left.eq(w.walk.pixels)
    with m.If(w.begin):
        m.d.sync += started.eq(1)
    origin = Signal(lane_layout())
    m.d.comb += [
        origin.valid.eq(left != 0), origin.row.eq(row), origin.column.eq(column),
        origin.address.eq(w.source.base + groups + rows),
    ]
    columns, pixels = Loop(dut, "columns", w.walk.columns), Loop(dut, "pixels", w.walk.pixels)
    with m.If(started):
        m.d.comb += [
            Assert(x < w.walk.columns), Assert(Value.cast(origin) == dut["here"]), Assert(left <= w.walk.pixels),
            *columns.holds(), Assert(columns.left == w.walk.columns - 1 - x),
            *pixels.holds(), Assert((left == 0) | (pixels.left == left - 1)),
            Assert(dut["both"] == (w.source.pixel_words + w.walk.row_skip)[:18]),
            Cover(w.full & (w.lanes[1].row == 2) & ~w.lanes[3].valid), Cover(w.take & (left == 1)),
        ]
    for number in range(lanes):  # a lane shows the pixel of its cycle until it is filled again
        written, shown = Signal(name=f"written{number}"), Signal(lane_layout(), name=f"shown{number}")
        with m.If(fills & (lane == number)):
            m.d.sync += [written.eq(started), shown.eq(origin)]
        m.d.comb += Assert(~written | (w.lanes[number] == shown))
        m.d.comb += Assert(~started | (filled <= number) | written)


def target_walk(m: Module, dut: Opened) -> None:
    """Bank and address of pixel (y, x) are those of the formula in `Target`, two cycles later."""
    w, target, bits = dut.component, dut.component.target, exact_log2(LANES.pixel_lanes)
    free(m, w.begin, w.step)
    started = Signal()
    changed = set_up(m, ~started & ~w.begin, Target, w.target)
    m.d.comb += [Assume(~w.step | started), Assume(~w.begin | ~changed)]

    def crossed(before, after):
        return Mux(before[bits:20] == after[bits:20], 0, target.pixel_words)

    # x, x mod S and x div S; y mod S; words of both phases; (y div S) * pitch in banks.
    x, x_phase, x_whole, y_phase = Signal(12), Signal(4), Signal(12), Signal(4)
    x_words, y_words, pitch_banks = Signal(18), Signal(18), Signal(20)
    # The pixel's flat index counted in banks; a pixel's words for every whole row of banks in it, and those of pitches.
    flat, words, row_words, next_pitch = Signal(20), Signal(18), Signal(18), Signal(20)
    m.d.comb += [flat.eq(pitch_banks + x_whole), next_pitch.eq(pitch_banks + target.pitch_banks)]
    with m.If(w.step):
        m.d.sync += [x.eq(x + 1), x_phase.eq(x_phase + 1), x_words.eq(x_words + target.phase_words)]
        with m.If(x_phase == target.phases - 1):
            m.d.sync += [x_phase.eq(0), x_words.eq(0), x_whole.eq(x_whole + 1)]
            m.d.sync += words.eq(words + crossed(flat, flat + 1))
        with m.If(x == target.columns - 1):
            m.d.sync += [x.eq(0), x_phase.eq(0), x_whole.eq(0), x_words.eq(0), words.eq(row_words)]
            m.d.sync += [y_phase.eq(y_phase + 1), y_words.eq(y_words + target.phase_row_words)]
            with m.If(y_phase == target.phases - 1):
                following = row_words + target.pitch_words + crossed(pitch_banks, next_pitch)
                m.d.sync += [y_phase.eq(0), y_words.eq(0), pitch_banks.eq(next_pitch)]
                m.d.sync += [row_words.eq(following), words.eq(following)]
    with m.If(w.begin):
        m.d.sync += [value.eq(0) for value in (
            x, x_phase, x_whole, y_phase, x_words, y_words, pitch_banks, words, row_words)]
        m.d.sync += started.eq(1)

    bank, address = Signal(bits), Signal(18)
    m.d.sync += [bank.eq(flat), address.eq(target.base + x_words + y_words + words)]
    loops = [Loop(dut, name, count) for name, count in (
        ("columns", target.columns), ("phase_x", target.phases), ("phase_y", target.phases))]
    with m.If(started):
        m.d.comb += [
            Assert((x_whole <= x) & (x < target.columns) & (x_phase < target.phases) & (y_phase < target.phases)),
            *(check for loop in loops for check in loop.holds()),
            Assert(loops[0].left == target.columns - 1 - x), Assert(loops[1].left == target.phases - 1 - x_phase),
            Assert(loops[2].left == target.phases - 1 - y_phase),
            Assert((dut["bank"] == flat[:bits]) & (dut["row_bank"] == pitch_banks[:bits])),
            Assert(dut["following"] == pitch_banks[:bits] + target.pitch_banks),
            Assert(dut["one_more"] == target.pitch_words + target.pixel_words),
            *(Assert(dut[name] == sum(parts, target.base)[:18]) for name, parts in (
                ("here", (x_words, y_words, words)), ("cell", (y_words, words)), ("row", (y_words, row_words)),
                ("rows", (row_words,)))),
            Cover((w.bank == 3) & (x == 1) & (y_phase == 1)), Cover((x_whole == 2) & (row_words != 0)),
        ]
    with m.If(later(m, started, 1)):
        m.d.comb += Assert((w.bank == bank) & (w.address == address))


PROOFS = (
    Proof("lane_walk", LaneWalk, lambda cls: cls(LANES), lane_walk, (
        "Mux(bank_end, both, walk.row_skip)", "Mux(bank_end, source.pixel_words, walk.row_skip)"), cover=24),
    Proof("target_walk", TargetWalk, lambda cls: cls(LANES), target_walk, (
        "Mux(following[-1], one_more,", "Mux(following > lanes, one_more,"), cover=24),
)
