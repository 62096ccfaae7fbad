"""The dot-product unit: XNOR, popcount, accumulate, and the register it drains through."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config
from hw.popcount import MatchCount


class Dot(wiring.Component):
    """Count matching bits of weight and activation words and accumulate the counts.

    `weight` and `activation` belong to one cycle, `enable` comes two later, `clear` and `shift` three, `load` four:
    the column delays them once for all its units. accumulator = (0 if clear, accumulator << N if shift, else
    accumulator) + (count if enable). `load` copies the accumulator to `value`; else `value` follows `below`, so that
    units stacked by `below` form a shift chain. Neither provides nor respects back-pressure.

    `value` follows the operands by `hw.arch.timing.DRAIN` cycles. Sums wrap modulo 2^accumulator_bits.
    """

    def __init__(self, config: Config):
        self._config = config
        bits = config.accumulator_bits
        super().__init__({
            "weight": In(config.word), "activation": In(config.word), "enable": In(1),
            "clear": In(1), "shift": In(1), "load": In(1), "below": In(bits), "value": Out(bits),
        })

    def elaborate(self, platform):
        m = Module()
        bits = self._config.accumulator_bits

        # Count.
        m.submodules.count = count = MatchCount(self._config.word)
        m.d.comb += [count.a.eq(self.weight), count.b.eq(self.activation), count.enable.eq(self.enable)]

        # Accumulate; shifting by N weighs the next plane group.
        accumulator = Signal(bits)
        shifted = Cat(Signal(self._config.N), accumulator)[:bits]
        kept = Mux(self.shift, shifted, accumulator)
        m.d.sync += accumulator.eq(count.o + Mux(self.clear, 0, kept))

        # Drain.
        m.d.sync += self.value.eq(Mux(self.load, accumulator, self.below))
        return m
