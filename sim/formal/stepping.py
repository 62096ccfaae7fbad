"""Contracts of what steps through coefficients and thresholds: the order of `hw.arch.isa.Conv`, and where it ends."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value

from hw.arch import timing
from hw.arch.isa import Conv, Values
from hw.drain import READ, Drain
from hw.threshold import Comparer

from .control import CONFIG, set_up
from .opened import Opened
from .prover import Proof
from .storage import free

PLANES = CONFIG.replace(M=2)


def later(m: Module, signal, cycles: int):
    """`signal`, so many cycles later."""
    for _ in range(cycles):
        register = Signal.like(signal, name="later")
        m.d.sync += register.eq(signal)
        signal = register
    return signal


def comparer(m: Module, dut: Opened) -> None:
    """The threshold words of each channel of the chain, in order; those of a row group again for each pixel group.

    With residual values a channel has its bias first, starts a cycle later, and has the next value ahead of it.
    """
    c, channels = dut.component, CONFIG.chain_channels
    free(m, c.begin, c.finished, c.row_end)
    at, base, place, running, ends = Signal(range(channels * 16 + 1)), Signal(17), Signal(17), Signal(), Signal()
    valued, words, count = Signal(), Signal(5), Signal(range(channels * 16 + 1))
    waiting = later(m, c.finished, 1)
    start, final = Mux(valued, waiting, c.finished), running & (at == count - 1)
    busy = Cat(c.begin, c.finished, waiting, running, *(later(m, running, n) for n in range(1, 5))).any()
    changed = Cat(set_up(m, ~busy, cls, port) for cls, port in ((Conv, c.conv), (Values, c.values))).any()
    recent = later(m, changed, 1)
    m.d.comb += [
        valued.eq(c.values.keep | (c.values.add & (c.conv.levels != 0))), words.eq(c.conv.levels + valued),
        count.eq(words * channels),
        Assume(~c.finished | Mux(valued, ~running & ~waiting, ~running | final)),
        Assume(~c.begin | ~(running | c.finished | waiting)), Assume(~(c.begin | c.finished) | ~changed),
        Assume(~c.finished | ~recent),
    ]

    pointer, word, channel = dut["pointer"], dut["word"], dut["channel"]
    ends_channel, bias = running & (word == words - 1), running & valued & (word == 0)
    ahead = Mux(start, count != 0, ends_channel & (channel != channels - 1))
    m.d.sync += [at.eq(at + 1), place.eq(place + (ahead & valued))]
    with m.If(final):
        m.d.sync += running.eq(0)
        with m.If(ends):
            m.d.sync += base.eq(base + count)
    with m.If(start):
        m.d.sync += [running.eq(count != 0), at.eq(0)]
    with m.If(c.finished):
        m.d.sync += ends.eq(c.row_end)
    with m.If(c.begin):
        m.d.sync += [base.eq(c.conv.thresholds), place.eq(c.values.base)]

    inside, advance = place < CONFIG.value_depth, Mux(valued, later(m, ahead, 2), later(m, ahead, 1))
    outside = running & (pointer >= CONFIG.threshold_depth)
    m.d.comb += [
        Assert(changed | ((dut["residual"] == valued) & (dut["count"] == words))),
        Assert(~running | (dut["final"] == (word == words - 1))),
        Assert(changed | recent | ((dut["single"] == (words == 1)) & (dut["before"] == (dut["count"] - 2)[:9]))),
        Assert(dut["running"] == running), Assert(dut["base"] == base), Assert(dut["place"] == place),
        Assert(dut["started"] == waiting), Assert(dut["first"] == (running & (word == 0))),
        Assert(pointer == Mux(running, base + at, base)[:17]),
        Assert(~running | ((at == channel * words + word) & (word < words) & (at < count) & ~changed)),
        Assert(~(running | waiting) | (dut["row_end"] == ends)), Assert(~waiting | ~valued | ~running),
        Assert(c.fault == (outside | (ahead & valued & ~inside))), Assert(~running | outside | (c.address == pointer)),
        Assert(c.access.valid == (ahead & valued & inside)), Assert(~c.access.valid | (c.access.address == place)),
        Assert(c.compare.load == c.finished), Assert(c.compare.advance == advance),
        Assert(c.compare.take == later(m, advance, 1)), Assert(c.compare.compare == later(m, running & ~bias, 2)),
        Assert(c.compare.next == later(m, ends_channel & ~bias, 2)),
        Assert(c.compare.done == later(m, final | (c.finished & (count == 0)), 3)),
        Cover(outside & (pointer == CONFIG.threshold_depth)), Cover(final & c.finished & (base > 4)),
        Cover(c.fault & (place == CONFIG.value_depth)), Cover(c.compare.done & c.access.valid),
    ]


def drain(m: Module, dut: Opened) -> None:
    """`chain` slots after each pass, with the coefficients of that pass."""
    d, chain = dut.component, PLANES.chain
    free(m, d.begin, d.step)
    step = later(m, d.step, timing.DRAIN - READ)
    at, active = Signal(range(chain)), Signal()
    row, passes, base = Signal(17), Signal(17), Signal(17)  # coefficients of the row group, of the passes, of this one
    place = Signal(d.step.place.shape())
    busy = Cat(active, d.step.last, *(later(m, d.step.last, n) for n in range(1, timing.DRAIN - READ + 1))).any()
    m.d.comb += [Assume(~step.last | ~active | (at == chain - 1)), Assume(~d.begin | ~busy)]
    set_up(m, ~(busy | d.begin), Conv, d.conv)

    m.d.sync += at.eq(at + 1)
    with m.If(at == chain - 1):
        m.d.sync += active.eq(0)
    with m.If(step.last):
        m.d.sync += [active.eq(1), at.eq(0), place.eq(step.place), base.eq(row + passes), passes.eq(passes + chain)]
        with m.If(step.place.final_pass):
            m.d.sync += passes.eq(0)
            with m.If(step.place.final_position & step.place.row_end):
                m.d.sync += row.eq(row + d.conv.coefficient_stride)
    with m.If(d.begin):
        m.d.sync += [row.eq(d.conv.coefficients), passes.eq(0)]

    pointer, plane = dut["pointer"], dut["plane"]
    shown = later(m, active, 2)
    slot = {"first_plane": plane == 0, "last_plane": plane == PLANES.M - 1, "last": at == chain - 1}
    m.d.comb += [
        Assert(dut["valid"] == active), Assert(dut["base"] == row), Assert(dut["following"] == (row + passes)[:17]),
        Assert(~active | ((dut["slot"] == at) & (plane == at % PLANES.M) & (pointer == (base + at)[:17]))),
        Assert(~active | (Value.cast(place) == dut["here"])),
        Assert(d.fault == (active & (pointer >= PLANES.coefficient_depth))),
        Assert(~active | d.fault | (d.address == pointer)),
        Assert(d.drain.valid == shown), *(Assert(~shown | (d.drain[name] == later(m, slot[name], 2))) for name in slot),
        Assert(~shown | (d.drain.place == later(m, place, 2))),
        Cover(d.fault & (pointer == PLANES.coefficient_depth)), Cover(active & step.last & (row > 2)),
    ]


PROOFS = (
    Proof("comparer", Comparer, lambda cls: cls(CONFIG), comparer, (
        "[base.eq(pointer + 1), pointer.eq(pointer + 1)]", "base.eq(pointer + 1)"), depth=5, cover=24),
    Proof("drain", Drain, lambda cls: cls(PLANES), drain, (
        "following.eq(following + config.chain)", "following.eq(following + config.chain - 1)"), depth=5, cover=24),
)
