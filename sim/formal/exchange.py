"""Contracts of the session and of the serial line."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal

from hw.arch import wire
from hw.link.session import Session
from hw.link.uart import BITS, FIRST, OVERSAMPLING, PHASE_BITS, Receiver, Transmitter

from .opened import Opened
from .prover import Proof
from .storage import free

RATES = 25_000_000, 3_000_000  # clock and baud; the clock is no multiple


def session(m: Module, dut: Opened) -> None:
    """In order and once: the history of one sequence number, of the solver's choice."""
    s = dut.component
    free(m, s.session, s.sequence, s.open, s.advance, s.note, s.busy)
    number, advances = AnyConst(8), s.advance & ~s.open
    never = wire.WINDOW + 1
    age, noted = Signal(range(never + 1), init=never), Signal()  # requests since `number` was executed; its outcome
    known, current = Signal(), Signal(16)
    expected, following = s.expected, Mux(s.open, s.sequence + 1, s.expected + 1)[:8]
    # The executor notes the outcome of the request that just had its turn, before the next has.
    m.d.comb += Assume(~s.note | ((s.sequence == (expected - 1)[:8]) & ~s.advance & ~s.open))
    with m.If(s.open):
        m.d.sync += [known.eq(1), current.eq(s.session), age.eq(Mux(s.sequence == number, 1, never))]
    with m.Elif(s.advance):
        with m.If(expected == number):
            m.d.sync += age.eq(1)
        with m.Elif(age != never):
            m.d.sync += age.eq(age + 1)
    fresh_note, noted_once = s.note & (s.sequence == number), Signal()
    with m.If(fresh_note):
        m.d.sync += [noted.eq(s.busy), noted_once.eq(1)]
    with m.Elif(s.open | (advances & (expected == number))):
        m.d.sync += noted_once.eq(0)

    # The verdict on a request, a cycle later.
    asked, judged, stale, repeats, busy = Signal(), Signal(), Signal(init=0), Signal(), Signal()
    fresh = Signal()
    m.d.sync += [
        judged.eq(1), asked.eq(s.sequence == number), stale.eq(~known | (s.session != current)),
        repeats.eq((age != 0) & (age <= wire.WINDOW)), fresh.eq(expected == number), busy.eq(noted),
    ]
    remembered = Signal()
    m.d.sync += remembered.eq(noted_once & (age <= wire.WINDOW))
    with m.If(judged):
        m.d.comb += Assert(s.stale == stale)
        with m.If(asked):
            m.d.comb += [Assert(s.fresh == fresh), Assert(s.repeated == (repeats & ~fresh))]
            m.d.comb += Assert(~remembered | (s.was_busy == busy))
    m.d.comb += [Assert(~(s.fresh & s.repeated)), Cover(judged & asked & s.repeated & s.was_busy)]

    # Only its turn moves the expected number, by one.
    moved, before, next_ = Signal(), Signal(8), Signal(8)
    m.d.sync += [moved.eq(s.open | s.advance), before.eq(expected), next_.eq(following)]
    m.d.comb += Assert(expected == Mux(moved, next_, before))

    # Why: what is remembered, against the history.
    executed, behind = dut["executed"], Signal(8)
    m.d.comb += [
        behind.eq(expected - number),
        Assert(dut["known"] == known), Assert(dut["current"] == current), Assert(executed <= wire.WINDOW),
        Assert((age >= 1) & (age <= never)),
        Assert((age == never) | (behind == age)),
        Assert((age <= wire.WINDOW) == ((behind != 0) & (behind <= executed))),
        Assert(~(noted_once & (age <= wire.WINDOW)) | (dut["refused"].bit_select(number[:5], 1) == noted)),
    ]


def transmitter(m: Module, dut: Opened) -> None:
    """Start bit, eight data bits, stop bit; each for the time that the rate gives, to within a cycle."""
    t = dut.component
    free(m, t.i.payload, t.i.valid)
    left, shift, tick = dut["left"], dut["shift"], dut["tick"]
    byte, taken, levels, done = Signal(8), Signal(), Signal(2 * BITS), Signal(range(BITS + 1))
    m.d.comb += taken.eq(t.i.valid & t.i.ready)
    with m.If(taken):
        m.d.sync += byte.eq(t.i.payload)
    m.d.comb += [
        levels.eq(Cat(Const(0, 1), byte, Const(-1, BITS + 1))),
        Assert(left <= BITS),
        done.eq(BITS - left), Assert((left == 0) | (shift == (levels >> done)[:BITS])),
        Assert((left != 0) | shift.all()), Assert(t.tx == shift[0]),
        Assert(t.i.ready == ((left == 0) | ((left == 1) & tick))),
        Cover((left == BITS - 1) & tick & (byte == 0xA5)),
    ]
    # A bit lasts OVERSAMPLING cycles at least and one more at most at this rate.
    since, longest = Signal(range(2 * OVERSAMPLING)), -(-RATES[0] // RATES[1])
    with m.If((left == 0) | tick):
        m.d.sync += since.eq(0)
    with m.Else():
        m.d.sync += since.eq(since + 1)
    step, phase, total, sending = t._step, dut["phase"], Signal(PHASE_BITS + 1), Signal()
    m.d.comb += [
        total.eq(Cat(phase, tick)), sending.eq(left != 0), Assert(sending | ~tick),
        Assert(~sending | ((total >= (since + 1) * step) & (total < (since + 2) * step))),
        Assert((sending & ~tick) | (phase < step)),
        Assert(since < longest), Assert(~tick | (since >= OVERSAMPLING - 1)),
    ]


def receiver(m: Module, dut: Opened) -> None:
    """Ten levels, eight ticks apart, from the start bit's middle on; a byte per ten, with the error of its stop bit."""
    r = dut.component
    free(m, r.rx)
    tick, level, left, wait = dut["tick"], dut["level"], dut["left"], dut["wait"]
    idle, bits, broken = dut.state("Idle"), dut.state("Bits"), dut.state("Break")
    active, age, count, levels, hung = Signal(), Signal(7), Signal(range(BITS + 1)), Signal(BITS), Signal()
    samples, judges = Signal(), Signal()
    m.d.comb += [
        judges.eq(active & tick & (age == FIRST - 1 + OVERSAMPLING * count)),
        samples.eq(judges & ~((count == 0) & level)),
    ]
    complete, value, first = Signal(), Signal(BITS), Signal(range(BITS + 1))
    m.d.sync += [complete.eq(samples & (count == BITS - 1)), value.eq(Cat(levels[1:], level))]
    with m.If(tick):
        with m.If(active):
            m.d.sync += age.eq(age + 1)
        with m.Elif(~hung & ~level):
            m.d.sync += [active.eq(1), age.eq(0), count.eq(0)]
        with m.If(hung & level):
            m.d.sync += hung.eq(0)
    with m.If(judges):
        m.d.sync += [count.eq(count + 1), levels.eq(Cat(levels[1:], level))]
        with m.If(((count == 0) & level) | (count == BITS - 1)):
            m.d.sync += [active.eq(0), hung.eq((count == BITS - 1) & ~level)]

    m.d.comb += [
        Assert(r.o.valid == complete),
        Assert(~complete | ((r.o.p.data == value[1:9]) & (r.o.p.error == ~value[9]) & ~value[0])),
        Cover(active & (count == 1)),
        Assert(dut.legal()), Assert(bits == active), Assert(broken == hung), Assert(~(active & hung)),
        Assert(~active | ((count < BITS) & (left == BITS - count))),
        Assert(~active | (age == (FIRST - 1 + OVERSAMPLING * count - wait)[:7])),
        Assert(~(active & (count == 0)) | (wait < FIRST)),
        first.eq(BITS - count), Assert(~active | (count == 0) | ~levels.bit_select(first, 1)),
        Assert(idle | active | hung),
        Assert(dut["shift"] == levels[2:]),
    ]
    # The level is the majority of five samples, so two samples never change it.
    ones = sum((dut["samples"][n] for n in range(1, 5)), dut["samples"][0])
    m.d.comb += Assert(level == (ones >= 3))


PROOFS = (
    Proof("session", Session, lambda cls: cls(), session, ("(behind <= executed)", "(behind <= executed + 1)")),
    Proof("transmitter", Transmitter, lambda cls: cls(*RATES), transmitter, (
        "(left == 0) | (tick & (left == 1))", "(left == 0) | tick")),
    Proof("receiver", Receiver, lambda cls: cls(*RATES), receiver, ("level.eq(ones > SAMPLES // 2)",
                                                                   "level.eq(ones > SAMPLES // 2 + 1)"), cover=40),
)
