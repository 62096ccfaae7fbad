"""Checked frames: CRC-32, length and version on the way in, CRC-32 and stuffing on the way out."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from hw.arch import wire

from .cobs import DECODED, PLAIN, Decoder, Encoder
from .ring import Ring
from .uart import RECEIVED

CRC_BYTES = wire.CRC.size
LENGTH_AT = 4  # offset of the length in the header
FIRST = (1 << 16) - wire.HEADER.size - CRC_BYTES  # minus the bytes around the payload
RING = 1 << wire.RECEIVE_BUFFER.bit_length()  # bytes, a power of two with room for the credits


def _sieve(shape) -> dict:
    """Ports of what lets whole frames pass."""
    return {
        "i": In(stream.Signature(shape, always_ready=True)), "o": Out(stream.Signature(8)),
        "bad": Out(1), "overrun": Out(1),
    }


class Checker(wiring.Component):
    """Store decoded frames and release those that are whole.

    A frame is released when its stuffing, checksum, version and length are right; otherwise its bytes are taken back
    and `bad` counts it. A frame that finds no room is dropped and `overrun` counts it.

    Members
    -------
    i : In(stream.Signature(DECODED, always_ready=True))
    o : Out(stream.Signature(8))         header and payload of whole frames, one after the other, without the CRC
    bad, overrun : Out(1)                high for one cycle per dropped frame
    """

    def __init__(self):
        super().__init__(_sieve(DECODED))

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.ring = ring = Ring(RING)
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(8).create()
        wiring.connect(m, ring.o, wiring.flipped(self.o))

        front = Signal.like(ring.address)  # next byte to store
        commit = Signal.like(ring.commit)
        payload = Signal(16, init=FIRST)  # bytes of payload so far, if the last four bytes were the CRC
        length = Signal(16)
        version = Signal(4)
        filled = Signal()  # largest size reached
        long = Signal()  # and exceeded
        full = Signal()  # no room
        byte, end, fits, whole = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            byte.eq(self.i.valid & ~self.i.p.end),
            end.eq(self.i.valid & self.i.p.end),
            ring.head.eq(front), ring.commit.eq(commit), ring.address.eq(front), ring.data.eq(self.i.p.data),
            crc.data.eq(self.i.p.data), crc.valid.eq(byte), crc.start.eq(end),
        ]

        with m.If(byte):
            with m.Switch(payload):
                with m.Case(FIRST):
                    m.d.sync += version.eq(self.i.p.data[4:])
                with m.Case(FIRST + LENGTH_AT):
                    m.d.sync += length[:8].eq(self.i.p.data)
                with m.Case(FIRST + LENGTH_AT + 1):
                    m.d.sync += length[8:].eq(self.i.p.data)
                with m.Case(wire.MAX_PAYLOAD - 1):
                    m.d.sync += filled.eq(1)
            m.d.sync += [payload.eq(payload + 1), long.eq(long | filled)]
            with m.If(~filled):
                m.d.comb += ring.write.eq(ring.room)
                m.d.sync += [front.eq(front + ring.room), full.eq(full | ~ring.room)]

        m.d.comb += [
            fits.eq(~long & ~payload[-1] & (payload == length)),  # not below zero: too short for a header
            whole.eq(self.i.p.good & crc.match_detected & (version == wire.VERSION) & fits),
            self.bad.eq(end & ~full & ~whole),
            self.overrun.eq(end & full),
        ]
        with m.If(end):
            m.d.sync += [payload.eq(FIRST), filled.eq(0), long.eq(0), full.eq(0), front.eq(commit)]
            with m.If(whole & ~full):
                m.d.sync += [commit.eq(front - CRC_BYTES), front.eq(front - CRC_BYTES)]
        return m


class Deframer(wiring.Component):
    """Line bytes to whole frames.

    Members
    -------
    i : In(stream.Signature(RECEIVED, always_ready=True))
    o, bad, overrun : as of `Checker`
    """

    def __init__(self):
        super().__init__(_sieve(RECEIVED))

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.decoder = decoder = Decoder()
        m.submodules.checker = checker = Checker()
        m.d.comb += [
            decoder.i.payload.eq(self.i.payload), decoder.i.valid.eq(self.i.valid),
            decoder.o.ready.eq(1),  # the checker drops what it cannot store
            self.bad.eq(checker.bad), self.overrun.eq(checker.overrun),
        ]
        m.d.sync += [checker.i.payload.eq(decoder.o.payload), checker.i.valid.eq(decoder.o.valid)]
        wiring.connect(m, checker.o, wiring.flipped(self.o))
        return m


class Framer(wiring.Component):
    """Header and payload to line bytes: append the CRC-32, stuff, delimit.

    Members
    -------
    i : In(stream.Signature(PLAIN))
    o : Out(stream.Signature(8))
    """

    i: In(stream.Signature(PLAIN))
    o: Out(stream.Signature(8))

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.encoder = encoder = Encoder()
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(8).create()
        wiring.connect(m, encoder.o, wiring.flipped(self.o))

        index = Signal(range(CRC_BYTES))
        with m.FSM():
            with m.State("Frame"):
                m.d.comb += [
                    encoder.i.p.data.eq(self.i.p.data), encoder.i.valid.eq(self.i.valid),
                    self.i.ready.eq(encoder.i.ready),
                    crc.data.eq(self.i.p.data), crc.valid.eq(self.i.valid & self.i.ready),
                ]
                with m.If(self.i.valid & self.i.ready & self.i.p.last):
                    m.next = "Check"
            with m.State("Check"):
                m.d.comb += [
                    encoder.i.p.data.eq(crc.crc.word_select(index, 8)), encoder.i.valid.eq(1),
                    encoder.i.p.last.eq(index == CRC_BYTES - 1),
                ]
                with m.If(encoder.i.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(encoder.i.p.last):
                        m.d.comb += crc.start.eq(1)
                        m.next = "Frame"
        return m
