"""The device's end of the link: bytes on one side, the core's memories and controls on the other."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import wire
from hw.arch.config import Config
from hw.interfaces import read_layout, status_layout, word_bits, write_layout
from hw.queue import Buffer, Queue

from .cobs import PLAIN
from .executor import Executor
from .frames import Deframer, Framer
from .replies import LINK_STATUS, Epoch
from .uart import RECEIVED


class Endpoint(wiring.Component):
    """Answer the host's requests.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream.Signature(RECEIVED, always_ready=True))    bytes from the line
    o : Out(stream.Signature(8))                             bytes to the line
    o_write : Out(stream.Signature(write_layout(config)))    words to store; only while the core is not busy
    o_read : Out(stream.Signature(read_layout()))            words to fetch; only while the core is not busy
    i_read : In(stream.Signature(word_bits(config)))         one word per request, in order, at any latency
    o_image : Out(stream.Signature(8))                       image bytes, buffered here
    start, reset : Out(1)                                    high for one cycle; `reset` stops the core
    status : In(status_layout())
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(RECEIVED, always_ready=True)), "o": Out(stream.Signature(8)),
            "o_write": Out(stream.Signature(write_layout(config))), "o_read": Out(stream.Signature(read_layout())),
            "i_read": In(stream.Signature(word_bits(config))), "o_image": Out(stream.Signature(8)),
            "start": Out(1), "reset": Out(1), "status": In(status_layout()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.deframer = deframer = Deframer()
        m.submodules.executor = executor = Executor(self._config)
        m.submodules.framer = framer = Framer()
        m.submodules.image = image = Queue(8, wire.IMAGE_FIFO)
        m.submodules.epoch = epoch = Epoch()

        # Bytes in, requests, replies, bytes out.
        m.d.sync += [deframer.i.payload.eq(self.i.payload), deframer.i.valid.eq(self.i.valid)]
        wiring.connect(m, deframer.o, executor.i)
        m.submodules.replies = replies = Buffer(PLAIN)  # cuts the way from memory to memory
        wiring.connect(m, executor.o, replies.i)
        wiring.connect(m, replies.o, framer.i)
        wiring.connect(m, framer.o, wiring.flipped(self.o))

        # The core.
        wiring.connect(m, executor.o_write, wiring.flipped(self.o_write))
        wiring.connect(m, executor.o_read, wiring.flipped(self.o_read))
        wiring.connect(m, wiring.flipped(self.i_read), executor.i_read)
        wiring.connect(m, executor.o_image, image.i)
        wiring.connect(m, image.o, wiring.flipped(self.o_image))
        m.d.comb += [
            image.flush.eq(executor.reset), self.start.eq(executor.start), self.reset.eq(executor.reset),
            executor.status.eq(self.status),
        ]

        # What the link counts.
        link = Signal(LINK_STATUS)
        free = Signal.like(link.image_free)
        m.d.sync += free.eq(wire.IMAGE_FIFO - image.level)
        line_error = self.i.valid & self.i.p.error
        m.d.comb += [
            epoch.catch.eq(self.i.valid), executor.epoch.eq(epoch.epoch), executor.link.eq(link),
            link.image_free.eq(free),
            link.bad_frames.eq(_count(m, deframer.bad)), link.stale_frames.eq(_count(m, executor.stale)),
            link.line_errors.eq(_count(m, line_error | deframer.overrun)),
        ]
        return m


def _count(m: Module, event) -> Signal:
    """A 16-bit counter of cycles with `event`, one cycle late, that stays at its highest value."""
    counter, happened = Signal(16), Signal()
    m.d.sync += [happened.eq(event), counter.eq(Mux(counter.all(), counter, counter + happened))]
    return counter
