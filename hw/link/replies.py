"""The 32-bit words of HELLO, STATUS, IMAGE and ERROR replies, and the epoch."""

from amaranth import Array, C, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import wire
from hw.arch.config import Config
from hw.arch.wire import Hello, Refusal, Status, Type
from hw.interfaces import status_layout

EPOCH_TAPS = 0xA3000000  # maximal-length 32-bit Galois register

LINK_STATUS = data.StructLayout({"image_free": 16, "bad_frames": 16, "stale_frames": 16, "line_errors": 16})

# Bytes of payload by reply type, for the types whose length is fixed and not zero.
FIXED_BYTES = {
    Type.HELLO: Hello.FORMAT.size, Type.STATUS: Status.FORMAT.size, Type.IMAGE: 2, Type.ERROR: Refusal.FORMAT.size,
}


class Epoch(wiring.Component):
    """A number, never zero, that differs after every reset.

    A shift register runs from power-up on, through resets; its state when the host's first byte arrives is the epoch.

    Members
    -------
    catch : In(1)                        a byte arrived
    epoch : Out(32)                      steady after the first `catch`
    """

    catch: In(1)
    epoch: Out(32)

    def elaborate(self, platform) -> Module:
        m = Module()
        running, caught = Signal(32, init=1, reset_less=True), Signal()
        m.d.sync += running.eq(running[1:] ^ (running[0].replicate(32) & EPOCH_TAPS))
        with m.If(self.catch & ~caught):
            m.d.sync += [self.epoch.eq(running), caught.eq(1)]
        return m


class Words(wiring.Component):
    """Word `index` of the fixed part of a reply's payload, little-endian as in `hw.arch.wire`.

    Parameters
    ----------
    config : Config

    Members
    -------
    type : In(4)                         of the reply
    index : In(4)
    core : In(status_layout())
    link : In(LINK_STATUS)
    epoch : In(32)
    refusal : In(32)
    word : Out(32)                       a cycle after `index`
    """

    def __init__(self, config: Config):
        self._digest = config.digest
        super().__init__({
            "type": In(4), "index": In(4), "core": In(status_layout()), "link": In(LINK_STATUS), "epoch": In(32),
            "refusal": In(32), "word": Out(32),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        identity = wire.DESIGN_ID + self._digest
        hello = [C(int.from_bytes(identity[i : i + 4], "little"), 32) for i in range(0, len(identity), 4)]
        hello += [self.epoch, C(wire.MAX_PAYLOAD | wire.IMAGE_FIFO << 16, 32), C(wire.RECEIVE_BUFFER, 32)]
        status = [
            Cat(self.core.busy, C(0, 7), self.core.fault, self.core.fault_address), self.core.cycles, self.core.frames,
            Cat(self.link.image_free, self.link.bad_frames), Cat(self.link.stale_frames, self.link.line_errors),
            self.core.waited,
        ]
        with m.Switch(self.type):
            with m.Case(Type.HELLO):
                m.d.sync += self.word.eq(Array(hello)[self.index])
            with m.Case(Type.STATUS):
                m.d.sync += self.word.eq(Array(status)[self.index])
            with m.Case(Type.IMAGE):
                m.d.sync += self.word.eq(self.link.image_free)
            with m.Default():
                m.d.sync += self.word.eq(self.refusal)
        return m
