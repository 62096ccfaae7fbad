"""Consistent Overhead Byte Stuffing, streaming: frames without zero bytes, so that a zero can delimit them."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .ring import Ring
from .uart import RECEIVED

BLOCK = 254  # data bytes that one code byte covers at most
RING = 512  # bytes; more than two blocks, so that sending never waits for encoding

DECODED = data.StructLayout({"data": 8, "end": 1, "good": 1})
PLAIN = data.StructLayout({"data": 8, "last": 1})


class Decoder(wiring.Component):
    """Undo the stuffing of every frame between zero bytes; empty frames vanish.

    One output per input byte at most, so the decoder never delays its input longer than its consumer does.

    Members
    -------
    i : In(stream.Signature(RECEIVED))   line bytes; `error` spoils the frame
    o : Out(stream.Signature(DECODED))   a data byte, or with `end` the end of a frame, `good` if it was well formed
    """

    i: In(stream.Signature(RECEIVED))
    o: Out(stream.Signature(DECODED))

    def elaborate(self, platform) -> Module:
        m = Module()
        left = Signal(8)  # data bytes of the block still to come
        zero = Signal()  # the block stood for a zero after it, unless the frame ends here
        begun = Signal()
        spoilt = Signal()
        delimiter, code, emits = Signal(), Signal(), Signal()
        m.d.comb += [
            delimiter.eq(self.i.p.data == 0),
            code.eq(left == 0),
            emits.eq(delimiter & begun | ~delimiter & (~code | zero)),
            self.o.p.end.eq(delimiter),
            self.o.p.good.eq(code & ~spoilt & ~self.i.p.error),
            self.o.p.data.eq(self.i.p.data & (~code).replicate(8)),
            self.o.valid.eq(self.i.valid & emits),
            self.i.ready.eq(~emits | self.o.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(delimiter):
                # A zero with a broken stop bit may be a damaged byte of the next frame, which is then spoilt too.
                m.d.sync += [left.eq(0), zero.eq(0), begun.eq(self.i.p.error), spoilt.eq(self.i.p.error)]
            with m.Else():
                m.d.sync += [begun.eq(1), spoilt.eq(spoilt | self.i.p.error)]
                with m.If(code):
                    m.d.sync += [left.eq(self.i.p.data - 1), zero.eq(self.i.p.data != BLOCK + 1)]
                with m.Else():
                    m.d.sync += left.eq(left - 1)
        return m


class Encoder(wiring.Component):
    """Stuff frames and put a zero byte before and after each.

    A block is read out only when its code is known: latency is up to BLOCK + 2 input bytes, after which the output
    runs on while the next block fills.

    Members
    -------
    i : In(stream.Signature(PLAIN))      frames of at least one byte
    o : Out(stream.Signature(8))
    """

    i: In(stream.Signature(PLAIN))
    o: Out(stream.Signature(8))

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.ring = ring = Ring(RING)
        front = Signal.like(ring.address, init=1)  # next byte to store
        slot = Signal.like(ring.address)  # where the code of the open block goes
        code = Signal(8, init=1)  # one more than the bytes in the block
        room = ring.room
        m.d.comb += [ring.commit.eq(slot), ring.head.eq(front)]
        wiring.connect(m, ring.o, wiring.flipped(self.o))

        def store(address, byte):
            m.d.comb += [ring.write.eq(1), ring.address.eq(address), ring.data.eq(byte)]

        def open_block():
            m.d.sync += [slot.eq(front), front.eq(front + 1), code.eq(1)]

        with m.FSM():
            with m.State("Open"):  # the leading zero goes where the last frame's slot was left
                with m.If(room & self.i.valid):
                    store(slot, 0)
                    open_block()
                    m.next = "Data"
            with m.State("Data"):
                m.d.comb += self.i.ready.eq(room)
                with m.If(self.i.valid & room):
                    with m.If(self.i.p.data == 0):
                        store(slot, code)
                        open_block()
                    with m.Else():
                        store(front, self.i.p.data)
                        m.d.sync += [front.eq(front + 1), code.eq(code + 1)]
                        with m.If(code == BLOCK):
                            m.next = "Full"
                    with m.If(self.i.p.last):
                        m.next = "Close"
            with m.State("Full"):  # a full block stands for no zero
                with m.If(room):
                    store(slot, code)
                    open_block()
                    m.next = "Data"
            with m.State("Close"):
                with m.If(room):
                    store(slot, code)
                    open_block()
                    m.next = "End"
            with m.State("End"):
                with m.If(room):
                    store(slot, 0)
                    open_block()
                    m.next = "Open"
        return m
