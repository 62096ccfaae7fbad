"""Contracts of what stores words: `Buffer`, `Queue` and `Ring` lose, double, change and reorder nothing."""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Cover, Module, Mux, Signal, Value

from hw.link.ring import Ring
from hw.queue import Buffer, Queue

from .opened import Opened
from .prover import Proof

DEPTH = 16  # words of the queue and bytes of the ring; contracts do not depend on it


class Watch:
    """Follows one word, of the solver's choice, through something that holds at most `most` words.

    Members
    -------
    level : words inside
    inside : the word is; `ahead` words are before it and it is `value`
    """

    def __init__(self, m: Module, i, o, most: int):
        self.level, self.ahead = Signal(range(most + 1)), Signal(range(most + 1))
        self.inside, self.value = Signal(), Signal.like(Value.cast(i.payload))
        chosen, enters, leaves = AnySeq(1), Signal(), Signal()
        m.d.comb += [enters.eq(i.valid & i.ready), leaves.eq(o.valid & o.ready)]
        m.d.sync += self.level.eq(self.level + enters - leaves)
        with m.If(self.inside & leaves):
            m.d.sync += self.ahead.eq(self.ahead - 1)
            with m.If(self.ahead == 0):
                m.d.sync += self.inside.eq(0)
                m.d.comb += Assert(o.payload == self.value)
        with m.Elif(~self.inside & enters & chosen):
            m.d.sync += [self.inside.eq(1), self.value.eq(i.payload), self.ahead.eq(self.level - leaves)]
        m.d.comb += [
            Assert(self.level <= most), Assert(~self.inside | (self.ahead < self.level)),
            Cover(self.level == most), Cover(self.inside & leaves & (self.ahead == 0)),
        ]


def free(m: Module, *inputs) -> None:
    """Let the solver choose these inputs anew in every cycle."""
    for signal in inputs:
        value = Value.cast(signal)
        m.d.comb += value.eq(AnySeq(len(value)))


def steady(m: Module, o) -> None:
    """A stream that waits does not change."""
    waited, shown = Signal(), Signal.like(Value.cast(o.payload))
    m.d.sync += [waited.eq(o.valid & ~o.ready), shown.eq(o.payload)]
    with m.If(waited):
        m.d.comb += Assert(o.valid & (Value.cast(o.payload) == shown))


def buffer(m: Module, dut: Opened) -> None:
    b, spare, kept = dut.component, dut["spare"], dut["kept"]
    free(m, b.i.payload, b.i.valid, b.o.ready)
    watch = Watch(m, b.i, b.o, 2)
    steady(m, b.o)
    m.d.comb += [Assert(watch.level == spare + b.o.valid), Assert(~spare | b.o.valid)]
    with m.If(watch.inside):
        m.d.comb += Assert(Mux(watch.ahead == 0, b.o.payload, kept) == watch.value)


def queue(m: Module, dut: Opened) -> None:
    q, inner = dut.component, "queue."
    produce, consume, level = dut[inner + "produce"], dut[inner + "consume"], dut[inner + "inner_level"]
    free(m, q.i.payload, q.i.valid, q.o.ready)
    m.d.comb += q.flush.eq(0)
    watch = Watch(m, q.i, q.o, q.depth)
    steady(m, q.o)
    depth, (store,) = q.depth - 1, dut.memories
    place, span = Signal(range(2 * depth)), Signal(range(2 * depth))
    m.d.comb += [
        # The watched word is in the output if none is ahead of it, else in the memory.
        place.eq(consume + watch.ahead - q.o.valid), store.ghost.addr.eq(Mux(place < depth, place, place - depth)),
        span.eq(consume + level),
        Assert(produce < depth), Assert(consume < depth), Assert(level <= depth),
        Assert(produce == Mux(span < depth, span, span - depth)),
        Assert(watch.level == q.level), Assert(q.level == level + q.o.valid),
    ]
    with m.If(watch.inside):
        here = (watch.ahead == 0) & q.o.valid
        m.d.comb += Assert(Mux(here, q.o.payload, store.ghost.data) == watch.value)


def ring(m: Module, dut: Opened) -> None:
    """A writer that keeps the rules, against a byte at an address of the solver's choice."""
    r, (store,) = dut.component, dut.memories
    read, shown, fetch, commit = dut["read"], dut["shown"], store.read_ports[1].en, dut["commit"]
    bits = len(r.head)
    distance = lambda a, b: (a - b)[:bits]
    kept, spare = dut["buffer.kept"], dut["buffer.spare"]
    stage, stage_valid = dut["i__payload"], dut["i__valid"]

    # The writer: at the head if there is room, or anew what is not committed; or it moves its marks.
    head, mark = Signal(bits), Signal(bits)
    there, towards, action = AnySeq(bits), AnySeq(bits), AnySeq(2)
    free(m, r.data, r.o.ready)
    m.d.comb += [r.head.eq(head), r.commit.eq(mark), r.address.eq(head)]
    with m.Switch(action):
        with m.Case(1):
            m.d.comb += r.write.eq(r.room)
            m.d.sync += head.eq(head + r.room)
        with m.Case(2):
            m.d.comb += [r.address.eq(there), r.write.eq(distance(there, mark) < distance(head, mark))]
        with m.Case(3):
            with m.If(distance(towards, mark) <= distance(head, mark)):
                m.d.sync += mark.eq(towards)
                with m.If(AnySeq(1)):
                    m.d.sync += head.eq(towards)

    # What was stored last at the watched address; then what was fetched from there.
    watched, last, latched = AnyConst(bits), Signal(8), Signal(8)
    write, address, data = store.write_ports[0].en, store.write_ports[0].addr, store.write_ports[0].data
    stored = Signal(8)  # as the memory holds it, a cycle later than `last`
    with m.If(r.write & (r.address == watched)):
        m.d.sync += last.eq(r.data)
    with m.If(write & (address == watched)):
        m.d.sync += stored.eq(data)
        m.d.comb += Assert(data == last)
    with m.Else():
        m.d.comb += Assert(last == stored)
    with m.If(fetch & (read == watched)):
        m.d.sync += latched.eq(last)
        m.d.comb += Assert(~(write & (address == watched)))
    m.d.comb += [store.ghost.addr.eq(watched), Assert(store.ghost.data == stored)]

    # Bytes leave in the order of their addresses, each as it was when it was fetched.
    out = Signal(bits)
    m.d.sync += out.eq(out + (r.o.valid & r.o.ready))
    places = [(r.o.valid, r.o.payload), (spare, kept), (stage_valid, stage), (shown, store.read_ports[1].data)]
    expected = out
    for valid, byte in places:
        with m.If(valid & (expected == watched)):
            m.d.comb += Assert(byte == latched)
        expected = (expected + valid)[:bits]
    steady(m, r.o)
    used = Signal(bits)
    m.d.comb += [
        used.eq(distance(head, read)),
        Assert(expected == read), Assert(~spare | r.o.valid),
        Assert(distance(commit, read) <= distance(mark, read)), Assert(distance(mark, read) <= used),
        Assert(~r.room | (used <= r.depth - 2)),  # so that a full ring never looks empty
        # Nothing unread is ever overwritten.
        Assert(~r.write | (distance(r.address, read) >= distance(mark, read))),
        Assert(~write | (distance(address, read) >= distance(commit, read))),
        Cover(used == r.depth - 1), Cover(r.o.valid & (out == 3) & (head == 1)),
    ]


PROOFS = (
    Proof("buffer", Buffer, lambda cls: cls(8), buffer, ("spare.eq(1)", "spare.eq(0)")),
    Proof("queue", Queue, lambda cls: cls(8, DEPTH), queue, (
        "queue.r_en.eq(self.o.ready)", "queue.r_en.eq(self.o.ready | self.i.valid)"), cover=24),
    Proof("ring", Ring, lambda cls: cls(DEPTH), ring, ("for distance in (1, 2)", "for distance in (0, 1)"), cover=50),
)
