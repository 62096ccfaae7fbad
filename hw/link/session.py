"""Who may speak next: session and sequence numbers of requests, and what became of the last ones."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arch import wire


class Session(wiring.Component):
    """Judge a request's session and sequence, and remember which of the last WINDOW requests were refused as busy.

    The verdicts are registers, a cycle behind the inputs. Before the first `open` every request is stale.

    Members
    -------
    session : In(16), sequence : In(8)   of the request
    open : In(1)                         adopt both: the request is a HELLO
    advance : In(1)                      the request had its turn: expect the next one
    note : In(1), busy : In(1)           remember `busy` for this sequence number
    stale : Out(1)                       of another session
    fresh : Out(1)                       its turn
    repeated : Out(1)                    executed before, in this session and within WINDOW; neither: ahead of its turn
    expected : Out(8)                    sequence number whose turn it is
    was_busy : Out(1)                    `busy` as noted for this sequence number
    """

    session: In(16)
    sequence: In(8)
    open: In(1)
    advance: In(1)
    note: In(1)
    busy: In(1)
    stale: Out(1)
    fresh: Out(1)
    repeated: Out(1)
    expected: Out(8)
    was_busy: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        known = Signal()
        current = Signal(16)
        executed = Signal(range(wire.WINDOW + 1))  # requests behind `expected` that can be repeats
        behind = Signal(8)
        refused = Signal(wire.WINDOW)
        index = self.sequence[: (wire.WINDOW - 1).bit_length()]
        m.d.comb += [
            behind.eq(self.expected - self.sequence),
        ]
        m.d.sync += [
            self.stale.eq(~known | (self.session != current)),
            self.fresh.eq(behind == 0),
            self.repeated.eq((behind != 0) & (behind <= executed)),
            self.was_busy.eq(refused.bit_select(index, 1)),
        ]
        with m.If(self.open):
            m.d.sync += [known.eq(1), current.eq(self.session), self.expected.eq(self.sequence + 1), executed.eq(1)]
        with m.Elif(self.advance):
            m.d.sync += self.expected.eq(self.expected + 1)
            with m.If(executed != wire.WINDOW):
                m.d.sync += executed.eq(executed + 1)
        with m.If(self.note):
            m.d.sync += refused.bit_select(index, 1).eq(self.busy)
        return m
