"""Asynchronous serial line, 8 data bits, no parity, one stop bit, at any baud rate up to an eighth of the clock.

Both directions divide the clock by a phase accumulator, so the rate need not divide the clock and is met to within
clock / 2^(PHASE_BITS + 1), 3 Hz at 100 MHz. The receiver filters the line by majority and tolerates 3 % of rate
mismatch.
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hw.queue import Buffer

OVERSAMPLING = 8  # clock cycles per bit, at least
PHASE_BITS = 24
BITS = 10  # start, data, stop
SAMPLES = 5  # of which the majority counts
FIRST = 3  # ticks from noticing a start bit to judging it

RECEIVED = data.StructLayout({"data": 8, "error": 1})


def phase_step(clock_hz: int, baud: int) -> int:
    """Phase per clock cycle, in 2^-PHASE_BITS of a bit; `ValueError` for a rate that the receiver cannot sample."""
    if not 0 < baud * OVERSAMPLING <= clock_hz:
        raise ValueError(f"baud must be in 1..{clock_hz // OVERSAMPLING} at a clock of {clock_hz} Hz, not {baud}")
    return max(1, round(baud * (1 << PHASE_BITS) / clock_hz))


class Receiver(wiring.Component):
    """Bytes from the line.

    The line is sampled eight times per bit and the majority of the last five samples counts, so a pulse of less than a
    quarter of a bit, counted in whole clock cycles, is ignored. So is a start bit that does not last. A byte whose stop
    bit is low is delivered with `error` set, and a break is one such byte: the receiver then waits until it ends.
    Bytes are not held: the consumer takes each at once.

    Members
    -------
    rx : In(1)                                                    line, asynchronous, idle high
    o : Out(stream.Signature(RECEIVED, always_ready=True))        valid for one cycle per byte
    """

    rx: In(1, init=1)
    o: Out(stream.Signature(RECEIVED, always_ready=True))

    def __init__(self, clock_hz: int, baud: int):
        self._step = phase_step(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        rx = Signal(init=1)
        m.submodules += FFSynchronizer(self.rx, rx, init=1)

        # Eight ticks per bit, whatever the line does.
        phase = Signal(PHASE_BITS)
        following = Signal(PHASE_BITS)
        tick = Signal()
        m.d.comb += following.eq(phase + self._step)
        m.d.sync += [phase.eq(following), tick.eq(following[-3:] != phase[-3:])]

        samples = Signal(SAMPLES, init=-1)
        level = Signal(init=1)
        ones = sum((samples[n] for n in range(1, SAMPLES)), samples[0])
        with m.If(tick):
            m.d.sync += samples.eq(Cat(rx, samples))
        m.d.comb += level.eq(ones > SAMPLES // 2)

        # `level` falls two to three ticks after the line, so FIRST ticks later the five samples lie around the middle
        # of the start bit. The stop bit is judged as early as it can be: a sender 3 % fast begins the next one soon.
        wait = Signal(range(OVERSAMPLING))
        left = Signal(range(BITS + 1))
        shift = Signal(8)
        m.d.sync += self.o.valid.eq(0)
        with m.If(tick):
            m.d.sync += wait.eq(wait - 1)
            with m.FSM():
                with m.State("Idle"):
                    m.d.sync += [wait.eq(FIRST - 1), left.eq(BITS)]
                    with m.If(~level):
                        m.next = "Bits"
                with m.State("Bits"):
                    with m.If(wait == 0):
                        m.d.sync += [left.eq(left - 1), shift.eq(Cat(shift[1:], level))]
                        with m.If((left == BITS) & level):
                            m.next = "Idle"  # not a start bit
                        with m.Elif(left == 1):
                            m.d.sync += [self.o.valid.eq(1), self.o.p.data.eq(shift), self.o.p.error.eq(~level)]
                            m.next = "Idle"
                            with m.If(~level):
                                m.next = "Break"
                with m.State("Break"):
                    with m.If(level):
                        m.next = "Idle"
        return m


class Transmitter(wiring.Component):
    """Bytes to the line, back to back without a gap.

    Members
    -------
    i : In(stream.Signature(8))
    tx : Out(1)                      line, registered, idle high
    """

    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, clock_hz: int, baud: int):
        self._step = phase_step(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        phase = Signal(PHASE_BITS)
        tick = Signal()
        shift = Signal(BITS, init=-1)
        left = Signal(range(BITS + 1))
        m.d.comb += [self.i.ready.eq((left == 0) | (tick & (left == 1))), self.tx.eq(shift[0])]
        # A tick is known a cycle ahead, so the accumulator counts a byte from the cycle that takes it. It runs on
        # between adjacent bytes, so that fractions of a cycle are not lost.
        m.d.sync += tick.eq(0)
        with m.If(self.i.valid | ~self.i.ready):
            m.d.sync += Cat(phase, tick).eq(phase + self._step)
        with m.If(tick):
            m.d.sync += [shift.eq(Cat(shift[1:], 1)), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [shift.eq(Cat(0, self.i.payload, 1)), left.eq(BITS)]
        return m


class Uart(wiring.Component):
    """Both directions of a serial line.

    Parameters
    ----------
    clock_hz : int
    baud : int
        At most clock_hz / OVERSAMPLING; otherwise `ValueError`.

    Members
    -------
    rx : In(1), tx : Out(1)              the line
    i : In(stream.Signature(8))          bytes to send
    o : Out(stream.Signature(RECEIVED, always_ready=True))
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)
    i: In(stream.Signature(8))
    o: Out(stream.Signature(RECEIVED, always_ready=True))

    def __init__(self, clock_hz: int, baud: int):
        self._rates = clock_hz, baud
        phase_step(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.receiver = receiver = Receiver(*self._rates)
        m.submodules.transmitter = transmitter = Transmitter(*self._rates)
        m.submodules.outgoing = outgoing = Buffer(8)  # the end of a bit is an addition's carry
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        wiring.connect(m, wiring.flipped(self.i), outgoing.i)
        wiring.connect(m, outgoing.o, transmitter.i)
        wiring.connect(m, receiver.o, wiring.flipped(self.o))
        return m
