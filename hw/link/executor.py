"""Executes requests one by one: `hw.arch.wire` in hardware."""

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import wire
from hw.arch.config import Config
from hw.arch.wire import Error, Type
from hw.interfaces import read_layout, status_layout, word_bits, write_layout

from .access import LENGTH_BITS, TARGET, Access
from .cobs import PLAIN
from .replies import FIXED_BYTES, LINK_STATUS, Words
from .session import Session

HEADER = data.StructLayout({"type": 4, "version": 4, "sequence": 8, "session": 16, "length": 16})
HEADER_BYTES = wire.HEADER.size
WORD_BYTES = 4  # of fixed replies
READ_BYTES = wire.Address.FORMAT.size + 2  # address and count


class _Registers:
    """Registers and sub-blocks that the states share."""

    def __init__(self, m: Module, config: Config):
        m.submodules.session = self.session = Session()
        m.submodules.access = self.access = Access(config)
        m.submodules.words = self.words = Words(config)
        size = max(WORD_BYTES, -(-word_bits(config) // 8))
        self.header, self.target = Signal(HEADER), Signal(TARGET)
        self.data = Signal(8 * size)  # the word on its way in or out
        self.index = Signal(range(max(size, HEADER_BYTES)))  # byte of header, target or data
        self.last = Signal.like(self.index)  # highest index of the target or the word
        self.offset = Signal(4)  # words since the start of the reply's payload
        self.left = Signal(LENGTH_BITS)  # request payload bytes not yet taken
        self.none_left = Signal()  # `left` is zero
        self.fits = Signal()  # the request's length is one of its type
        self.again = Signal()  # a repeated request: answer without effect
        self.silent = Signal()  # not to be answered
        self.crowded = Signal()  # the image queue has no room for the payload
        self.error = Signal(4)
        self.type = Signal(4)  # of the reply
        self.body = Signal(LENGTH_BITS)  # reply payload bytes not yet sent


class Executor(wiring.Component):
    """Take requests, act on the core, send replies.

    WRITE, IMAGE, RUN and RESET take effect once: a repeated request gets the answer of the first, BUSY included.
    READ is performed again. A request is executed whole before the next is looked at; nothing it may contain makes
    the executor wait for anything but its own bytes, the core's answers and the line. All bytes of a request are taken
    before the last byte of its reply leaves, so that an answered request occupies no buffer.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream.Signature(8))          header and payload of checked frames
    o : Out(stream.Signature(PLAIN))     header and payload of replies
    o_write, o_read, i_read, o_image, start, reset, status      see `hw.link.endpoint`
    link : In(LINK_STATUS)               counters to report; `image_free` is the room behind `o_image`
    epoch : In(32)
    stale : Out(1)                       high for one cycle per frame of another session
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(8)), "o": Out(stream.Signature(PLAIN)),
            "o_write": Out(stream.Signature(write_layout(config))), "o_read": Out(stream.Signature(read_layout())),
            "i_read": In(stream.Signature(word_bits(config))), "o_image": Out(stream.Signature(8)),
            "start": Out(1), "reset": Out(1), "status": In(status_layout()),
            "link": In(LINK_STATUS), "epoch": In(32), "stale": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        r = _Registers(m, self._config)
        place = {"space": r.target.space, "bank": r.target.bank, "address": r.target.address}
        m.d.comb += [
            r.session.session.eq(r.header.session), r.session.sequence.eq(r.header.sequence),
            r.access.target.eq(r.target), r.access.reads.eq(r.header.type == Type.READ), r.access.payload.eq(r.left),
            r.words.type.eq(r.type), r.words.index.eq(r.offset), r.words.core.eq(self.status),
            r.words.link.eq(self.link), r.words.epoch.eq(self.epoch),
            r.words.refusal.eq(Cat(r.error, C(0, 4), r.header.type, C(0, 4),
                                   Mux(r.error == Error.SEQUENCE, r.session.expected, 0))),
            self.o_write.p.data.eq(r.data), self.o_image.payload.eq(self.i.payload),
            *(self.o_write.p[name].eq(value) for name, value in place.items()),
            *(self.o_read.p[name].eq(value) for name, value in place.items()),
        ]
        m.d.sync += r.crowded.eq(self.link.image_free < r.header.length)
        with m.FSM():
            self._receive(m, r)
            self._decide(m, r)
            self._perform(m, r)
            self._reply(m, r)
            self._send(m, r)
        return m

    def _refuse(self, m: Module, r: _Registers, error: Error) -> None:
        m.d.sync += [r.error.eq(error), r.type.eq(Type.ERROR)]
        m.next = "Drain"

    def _take(self, m: Module, r: _Registers, target, last) -> None:
        """Take the next byte into byte `index` of `target`; `index` returns to 0 after `last`."""
        m.d.comb += self.i.ready.eq(1)
        with m.If(self.i.valid):
            m.d.sync += [
                target.word_select(r.index, 8).eq(self.i.payload),
                r.index.eq(Mux(r.index == last, 0, r.index + 1)),
            ]
            self._count(m, r)

    def _count(self, m: Module, r: _Registers, taken=1) -> None:
        """A byte of the request's payload was taken."""
        m.d.sync += [r.left.eq(r.left - taken), r.none_left.eq(r.left == taken)]

    def _give(self, m: Module, r: _Registers, source, end, final):
        """Send byte `index` of `source`; whether it goes and is the last, by `end`. `final`: the frame ends there."""
        m.d.comb += [
            self.o.valid.eq(1), self.o.p.data.eq(source.word_select(r.index, 8)), self.o.p.last.eq(end & final)]
        with m.If(self.o.ready):
            m.d.sync += r.index.eq(Mux(end, 0, r.index + 1))
        return self.o.ready & end

    def _receive(self, m: Module, r: _Registers) -> None:
        """Header, session and sequence, length, address."""
        with m.State("Header"):
            self._take(m, r, r.header.as_value(), HEADER_BYTES - 1)
            with m.If(self.i.valid & (r.index == HEADER_BYTES - 1)):
                m.next = "Look"
        with m.State("Look"):  # the session's verdict comes a cycle later
            length, empty = r.header.length, r.header.length == 0
            m.d.sync += [r.left.eq(length), r.none_left.eq(empty), r.type.eq(r.header.type), r.fits.eq(1)]
            with m.Switch(r.header.type):
                with m.Case(Type.WRITE):
                    m.d.sync += r.fits.eq(length >= wire.Address.FORMAT.size)
                with m.Case(Type.READ):
                    m.d.sync += r.fits.eq(length == READ_BYTES)
                with m.Case(Type.HELLO, Type.RUN, Type.STATUS, Type.RESET):
                    m.d.sync += r.fits.eq(empty)
            m.next = "Judge"
        with m.State("Judge"):
            m.d.sync += [r.again.eq(r.session.repeated), r.silent.eq(0)]
            m.d.sync += r.last.eq(Mux(r.header.type == Type.READ, READ_BYTES, wire.Address.FORMAT.size) - 1)
            with m.If(r.header.type == Type.HELLO):
                m.d.comb += r.session.open.eq(r.fits)
                m.d.sync += r.again.eq(0)
                self._decide_if_fits(m, r)
            with m.Elif(r.session.stale):
                m.d.comb += self.stale.eq(1)
                m.d.sync += r.silent.eq(1)
                m.next = "Drain"
            with m.Elif(~r.session.fresh & ~r.session.repeated):
                self._refuse(m, r, Error.SEQUENCE)
            with m.Else():
                m.d.comb += r.session.advance.eq(r.session.fresh)
                with m.Switch(r.header.type):
                    with m.Case(Type.WRITE, Type.READ):
                        self._decide_if_fits(m, r, "Address")
                    with m.Case(Type.RUN, Type.STATUS, Type.RESET, Type.IMAGE, Type.PING):
                        self._decide_if_fits(m, r)
                    with m.Default():
                        self._refuse(m, r, Error.TYPE)
        with m.State("Address"):
            self._take(m, r, r.target.as_value(), r.last)
            with m.If(self.i.valid & (r.index == r.last)):
                m.next = "Start"
        with m.State("Start"):
            m.d.comb += r.access.start.eq(1)
            m.next = "Check"
        with m.State("Check"):
            with m.If(r.access.done):
                m.next = "Decide"
                with m.If(r.access.error != 0):
                    self._refuse(m, r, r.access.error)

    def _decide_if_fits(self, m: Module, r: _Registers, state: str = "Decide") -> None:
        m.next = state
        with m.If(~r.fits):
            self._refuse(m, r, Error.LENGTH)

    def _decide(self, m: Module, r: _Registers) -> None:
        """Whether the request can be done now and still has to be."""
        with m.State("Decide"):
            kind, blocked, busy = r.header.type, Signal(), Signal()
            with m.Switch(kind):
                with m.Case(Type.WRITE, Type.READ, Type.RUN):
                    m.d.comb += blocked.eq(self.status.busy)
                with m.Case(Type.IMAGE):
                    m.d.comb += blocked.eq(r.crowded)
            m.d.comb += [
                busy.eq(Mux(r.again & (kind != Type.READ), r.session.was_busy, blocked)),
                r.session.note.eq(~r.again), r.session.busy.eq(blocked),
            ]
            m.d.sync += [r.data.eq(0), r.last.eq(r.access.size - 1)]
            m.next = "Drain"
            with m.If(busy):
                self._refuse(m, r, Error.BUSY)
            with m.Elif(kind == Type.PING):
                m.next = "Reply"  # which echoes the payload
            with m.Elif(~r.again):
                with m.Switch(kind):
                    with m.Case(Type.WRITE):
                        m.next = "Word"
                    with m.Case(Type.IMAGE):
                        m.next = "Image"
                    with m.Case(Type.RUN):
                        m.d.comb += self.start.eq(1)
                    with m.Case(Type.RESET):
                        m.d.comb += self.reset.eq(1)

    def _perform(self, m: Module, r: _Registers) -> None:
        """Words to the memories, bytes to the image queue."""
        with m.State("Word"):
            self._take(m, r, r.data, r.last)
            with m.If(self.i.valid & (r.index == r.last)):
                m.next = "Store"
        with m.State("Store"):
            m.d.comb += self.o_write.valid.eq(1)
            with m.If(self.o_write.ready):
                m.d.sync += r.target.address.eq(r.target.address + 1)
                m.next = "Word"
                with m.If(r.none_left):
                    m.next = "Reply"
        with m.State("Image"):
            with m.If(r.none_left):
                m.next = "Reply"
            with m.Else():
                m.d.comb += [self.o_image.valid.eq(self.i.valid), self.i.ready.eq(self.o_image.ready)]
                self._count(m, r, self.i.valid & self.i.ready)

    def _reply(self, m: Module, r: _Registers) -> None:
        """The rest of the request, then size and header of the reply."""
        with m.State("Drain"):
            with m.If(r.none_left):
                m.next = "Reply"
                with m.If(r.silent):
                    m.next = "Header"
            with m.Else():
                m.d.comb += self.i.ready.eq(1)
                self._count(m, r, self.i.valid)
        with m.State("Reply"):
            m.d.sync += [r.offset.eq(0), r.body.eq(0)]
            with m.If(r.type != Type.READ):
                m.d.sync += r.last.eq(WORD_BYTES - 1)
            with m.Switch(r.type):
                for kind, size in FIXED_BYTES.items():
                    with m.Case(kind):
                        m.d.sync += r.body.eq(size)
                with m.Case(Type.READ):
                    m.d.sync += r.body.eq(r.access.bytes)
                with m.Case(Type.PING):
                    m.d.sync += r.body.eq(r.left)
            m.next = "Head"
        with m.State("Head"):
            head = Cat(r.type, C(wire.VERSION, 4), r.header.sequence, r.header.session, r.body)
            with m.If(self._give(m, r, head, r.index == HEADER_BYTES - 1, r.body == 0)):
                self._next_part(m, r, r.body == 0)

    def _next_part(self, m: Module, r: _Registers, finished) -> None:
        with m.If(finished):
            m.next = "Header"
        with m.Elif(r.type == Type.PING):
            m.next = "Echo"
        with m.Elif(r.type == Type.READ):
            m.next = "Fetch"
        with m.Else():
            m.next = "Choose"

    def _send(self, m: Module, r: _Registers) -> None:
        """Payload of the reply."""
        with m.State("Choose"):  # `words` follow a cycle later
            m.next = "Load"
        with m.State("Load"):
            m.d.sync += r.data.eq(r.words.word)
            m.next = "Body"
        with m.State("Fetch"):
            m.d.comb += self.o_read.valid.eq(1)
            with m.If(self.o_read.ready):
                m.d.sync += r.target.address.eq(r.target.address + 1)
                m.next = "Await"
        with m.State("Await"):
            m.d.comb += self.i_read.ready.eq(1)
            with m.If(self.i_read.valid):
                m.d.sync += r.data.eq(self.i_read.payload)
                m.next = "Body"
        with m.State("Body"):
            final = r.body == 1
            with m.If(self.o.ready):
                m.d.sync += r.body.eq(r.body - 1)
            with m.If(self._give(m, r, r.data, final | (r.index == r.last), final)):
                m.d.sync += r.offset.eq(r.offset + 1)
                self._next_part(m, r, final)
        with m.State("Echo"):
            m.d.comb += [
                self.o.valid.eq(self.i.valid), self.o.p.data.eq(self.i.payload), self.o.p.last.eq(r.body == 1),
                self.i.ready.eq(self.o.ready),
            ]
            with m.If(self.i.valid & self.o.ready):
                m.d.sync += r.body.eq(r.body - 1)
                self._count(m, r)
                with m.If(r.body == 1):
                    m.next = "Header"
