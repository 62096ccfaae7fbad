"""Contracts of checksum, length and flow control: `Checker` and `Framer`, around the checksum unit."""

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal

from hw.arch import wire
from hw.link.frames import CRC_BYTES, LENGTH_AT, Checker, Framer

from .opened import Opened
from .prover import Proof
from .storage import free

MANY = 2 * wire.MAX_FRAME


def checksum(m: Module, dut: Opened, byte, valid, start) -> None:
    """The checksum unit sees these bytes and no others, and starts anew there; what it computes is tested elsewhere."""
    m.d.comb += [Assert(dut["valid"] == valid), Assert(dut["start"] == start), Assert(~valid | (dut["data"] == byte))]


def checker(m: Module, dut: Opened) -> None:
    c = dut.component
    free(m, c.i.payload, c.i.valid, c.o.ready)
    front, commit, full = dut["front"], dut["commit"], dut["full"]
    byte, end = Signal(), Signal()
    m.d.comb += [byte.eq(c.i.valid & ~c.i.p.end), end.eq(c.i.valid & c.i.p.end)]
    checksum(m, dut, c.i.p.data, byte, end)

    # The frame by definition: how many bytes came, what the header says, whether all found room.
    count, length, version, stored = Signal(range(MANY + 1)), Signal(16), Signal(4), Signal(init=1)
    with m.If(end):
        m.d.sync += [count.eq(0), stored.eq(1)]
    with m.Elif(byte):
        m.d.sync += count.eq(Mux(count == MANY, MANY, count + 1))
        with m.If(count < wire.MAX_FRAME):
            m.d.sync += stored.eq(stored & dut["ring.room"])
        with m.If(count == 0):
            m.d.sync += version.eq(c.i.p.data >> 4)
        with m.If(count == LENGTH_AT):
            m.d.sync += length[:8].eq(c.i.p.data)
        with m.If(count == LENGTH_AT + 1):
            m.d.sync += length[8:].eq(c.i.p.data)
    fits = (count <= wire.MAX_FRAME) & (count == length + wire.HEADER.size + CRC_BYTES)
    whole = c.i.p.good & dut["crc.match_detected"] & (version == wire.VERSION) & fits

    # A frame is passed on, without its CRC, exactly when it is whole; otherwise it leaves no trace but a count.
    after, passed, before, kept = Signal(), Signal(), Signal(len(commit)), Signal(range(MANY + 1))
    m.d.sync += [after.eq(end), passed.eq(whole & stored), before.eq(commit), kept.eq(count)]
    moved = (commit - before)[: len(commit)]
    with m.If(after):
        m.d.comb += [Assert(moved == Mux(passed, kept - CRC_BYTES, 0)), Assert(front == commit)]
    with m.Else():
        m.d.comb += Assert(moved == 0)
    m.d.comb += [
        Assert(c.bad == (end & stored & ~whole)), Assert(c.overrun == (end & ~stored)),
        Cover(after & passed), Cover(c.bad & fits),
    ]

    # Why: registers against the definition.
    payload = Signal(16)
    m.d.comb += payload.eq(count - wire.HEADER.size - CRC_BYTES)
    length_known, version_known = count >= LENGTH_AT + 2, count >= 1
    m.d.comb += [
        Assert(full == ~stored), Assert(dut["long"] == (count > wire.MAX_FRAME)),
        Assert(dut["filled"] == (count >= wire.MAX_FRAME)), Assert(count <= MANY),
        Assert((count == MANY) | (dut["payload"] == payload)),
        Assert((count == MANY) | ~length_known | (dut["length"] == length)),
        Assert((count == MANY) | (count != LENGTH_AT + 1) | (dut["length"][:8] == length[:8])),
        Assert((count == MANY) | ~version_known | (dut["version"] == version)),
        Assert(~stored | ((front - commit)[: len(front)] == Mux(dut["filled"], wire.MAX_FRAME, count))),
    ]


def credits_suffice(m: Module, dut: Opened) -> None:
    """While the bytes inside stay within the announced credits, no frame ever finds the buffer full."""
    c = dut.component
    free(m, c.i.payload, c.i.valid, c.o.ready)
    inside, before = Signal.like(dut["front"]), Signal(len(dut["front"]))
    m.d.comb += inside.eq(dut["front"] - dut["ring.read"])
    m.d.sync += before.eq(inside)
    m.d.comb += [
        Assume(inside <= wire.RECEIVE_BUFFER), Assert(before <= wire.RECEIVE_BUFFER),
        Assert(dut["ring.room"]), Assert(~dut["full"]), Assert(~c.overrun),
        Cover(inside == 9), Cover(c.bad),
    ]


def framer(m: Module, dut: Opened) -> None:
    """Every byte is passed on, and after the last one its checksum, least significant byte first."""
    f = dut.component
    free(m, f.i.payload, f.i.valid, f.o.ready)
    data, valid, ready = dut["i__payload"], dut["i__valid"], dut["encoder.i__ready"]
    taken, given, left = Signal(), Signal(), Signal(range(CRC_BYTES + 1))
    m.d.comb += [taken.eq(f.i.valid & f.i.ready), given.eq(valid & ready)]
    finished = (left == 1) & given
    checksum(m, dut, f.i.p.data, taken, finished)
    with m.If(taken & f.i.p.last):
        m.d.sync += left.eq(CRC_BYTES)
    with m.Elif(given & (left != 0)):
        m.d.sync += left.eq(left - 1)
    word = dut["crc.crc"]
    place = (CRC_BYTES - left)[:2]
    m.d.comb += [
        Assert(left <= CRC_BYTES),
        Assert(dut.state("Check") == (left != 0)), Assert((left == 0) | (dut["index"] == place)),
        Assert((left != 0) | (dut["index"] == 0)), Assert(taken == (given & (left == 0))),
        Cover(finished),
    ]
    with m.If(valid):
        m.d.comb += Assert(data == Mux(
            left == 0, Cat(f.i.p.data, Const(0, 1)), Cat(word.word_select(place, 8), left == 1)))


PROOFS = (
    Proof("checker", Checker, lambda cls: cls(), checker, ("~long & ~payload[-1] & ", "~long & "),
          cover=24),
    Proof("credits", Checker, lambda cls: cls(), credits_suffice, (
        "RING = 1 << wire.RECEIVE_BUFFER.bit_length()", "RING = wire.RECEIVE_BUFFER + 17 >> 1"), cover=16),
    Proof("framer", Framer, lambda cls: cls(), framer, ("index == CRC_BYTES - 1", "index == CRC_BYTES - 2")),
)
