"""Contracts of the stuffing: `Decoder` and `Encoder` against the definition of COBS by positions."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Cover, Module, Mux, Signal

from hw.link.cobs import BLOCK, Decoder, Encoder

from .opened import Opened
from .prover import Proof
from .storage import free

FULL = BLOCK + 1  # code of a block that stands for no zero


def decoder(m: Module, dut: Opened) -> None:
    """Against positions in the frame: where the byte is, and where the next code byte will be."""
    d = dut.component
    byte, line_error = d.i.p.data, d.i.p.error
    free(m, d.i.payload, d.i.valid, d.o.ready)
    here, next_code = Signal(9), Signal(9)
    implied, begun, spoilt = Signal(), Signal(), Signal()
    delimiter, is_code = Signal(), Signal()
    m.d.comb += [delimiter.eq(byte == 0), is_code.eq(here == next_code)]
    with m.If(d.i.valid & d.i.ready):
        with m.If(delimiter):
            m.d.sync += [here.eq(0), next_code.eq(0), implied.eq(0), begun.eq(line_error), spoilt.eq(line_error)]
        with m.Else():
            m.d.sync += [here.eq(here + 1), begun.eq(1), spoilt.eq(spoilt | line_error)]
            with m.If(is_code):
                m.d.sync += [next_code.eq(here + byte), implied.eq(byte != FULL)]
    emits = Mux(delimiter, begun, ~is_code | implied)
    m.d.comb += [
        Assert(d.o.valid == (d.i.valid & emits)), Assert(~d.i.valid | (d.i.ready == (~emits | d.o.ready))),
        Assert(dut["left"] == (next_code - here)[:9]), Assert(dut["left"] <= BLOCK),
        Assert(dut["zero"] == implied), Assert(dut["begun"] == begun), Assert(dut["spoilt"] == spoilt),
        Cover(d.o.valid & d.o.p.end & d.o.p.good & (here == 5)), Cover(d.o.valid & d.o.p.end & ~d.o.p.good),
    ]
    with m.If(d.o.valid):
        m.d.comb += [
            Assert(d.o.p.end == delimiter),
            Assert(delimiter | (d.o.p.data == Mux(is_code, 0, byte))),
            Assert(~delimiter | (d.o.p.good == (is_code & ~spoilt & ~line_error))),
        ]


def encoder(m: Module, dut: Opened) -> None:
    """What is written where: codes that reach to the next code, data in order, zeros around frames only."""
    e = dut.component
    front, slot, code = dut["front"], dut["slot"], dut["code"]
    write, address, data, room = dut["write"], dut["address"], dut["data"], dut["ring.room"]
    states = {name: dut.state(name) for name in ("Open", "Data", "Full", "Close", "End")}
    outside = states["Open"] | states["End"]
    free(m, e.i.payload, e.i.valid, e.o.ready)
    taken, span = Signal(), Signal(len(front))
    m.d.comb += [
        taken.eq(e.i.valid & e.i.ready), span.eq(front - slot),
        Assert(dut.legal()),
        # The code of the open block, when it is written, is the distance to the next one.
        Assert(Mux(outside, span == 1, span == code)),
        Assert(outside | Mux(states["Data"], code <= BLOCK, code <= FULL)), Assert(outside | (code != 0)),
        Assert(~states["Full"] | (code == FULL)),
        Assert(~write | room), Assert(~e.i.ready | states["Data"]), Assert(dut["commit"] == slot),
        Cover(states["Data"] & (slot == 6)), Cover(states["Open"] & (slot != 0)),
    ]
    with m.If(write):
        m.d.comb += Assert(Mux(address == slot, data == Mux(outside, 0, code), (address == front) & taken))
        m.d.comb += Assert((data == 0) == outside)
    with m.If(taken):  # a byte is stored as it is, or it is the zero that the closed block stands for
        m.d.comb += Assert(write)
        m.d.comb += Assert(Mux(e.i.p.data == 0, (address == slot) & (code != FULL), data == e.i.p.data))

    # The place of a block ends with its code, and nothing is passed on before every byte of it was written.
    place, written = AnyConst(len(front)), Signal()
    offset = Signal(len(front))
    moves, moved = Signal(len(front)), Signal(len(front))
    closed = Signal()
    m.d.comb += offset.eq(place - slot)
    with m.If(write & (address == place)):
        m.d.sync += written.eq(1)
    with m.Elif(write & (address == slot) & (front == place)):
        m.d.sync += written.eq(0)
    with m.If(offset < span):
        m.d.comb += Assert(written == (offset != 0))
    m.d.sync += [moves.eq(slot), moved.eq(front), closed.eq(write & (address == slot))]
    with m.If(closed):
        m.d.comb += Assert((slot == moved) & (front == (moved + 1)[: len(front)]))
    with m.Else():
        m.d.comb += Assert(slot == moves)

    # After the last byte: its block's code, then the delimiter, then the next frame's.
    after = Signal(2)
    with m.If(taken & e.i.p.last):
        m.d.sync += after.eq(1)
    with m.Elif(write & (after != 0)):
        m.d.sync += after.eq(Mux(after == 2, 0, after + 1))
    m.d.comb += [Assert((after == 1) == states["Close"]), Assert((after == 2) == states["End"]), Assert(after != 3)]


PROOFS = (
    Proof("decoder", Decoder, lambda cls: cls(), decoder, ("zero.eq(self.i.p.data != BLOCK + 1)", "zero.eq(1)")),
    Proof("encoder", Encoder, lambda cls: cls(), encoder, (
        "with m.If(code == BLOCK):", "with m.If(code == BLOCK + 1):"), cover=20),
)
