"""Loop counters: the end of a loop is a register, so that nested loops end in one level of logic."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Rounds(wiring.Component):
    """Count the rounds of a loop that starts anew when it has ended.

    Members
    -------
    count : rounds, at least one; holds from the cycle before `begin` on
    begin : start; `step`, which it precedes, ends a round
    first, last : the round at hand is the first, the last
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__({
            "count": In(width), "begin": In(1), "step": In(1), "first": Out(1), "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        left = Signal(self._width)  # rounds after this one
        most = Signal(self._width)
        single = Signal()
        m.d.sync += [most.eq(self.count - 1), single.eq(self.count == 1)]
        with m.If(self.step):
            m.d.sync += [
                left.eq(Mux(self.last, most, left - 1)), self.last.eq(Mux(self.last, single, left == 1)),
                self.first.eq(self.last),
            ]
        with m.If(self.begin):
            m.d.sync += [left.eq(most), self.last.eq(single), self.first.eq(1)]
        return m


def countdown(m, start, cycles, name):
    """A register that is low for `cycles` cycles after `start`, and high before."""
    left = Signal.like(Value.cast(cycles), name=f"{name}_left")
    due = Signal(init=1, name=f"{name}_due")
    with m.If(start):
        m.d.sync += [left.eq(cycles), due.eq(cycles == 0)]
    with m.Elif(~due):
        m.d.sync += [left.eq(left - 1), due.eq(left == 1)]
    return due
