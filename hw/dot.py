"""The dot-product unit: XNOR, popcount, accumulate, and the register it drains through."""

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config
from hw.popcount import MatchCount


class Keep(enum.Enum, shape=2):
    """What an accumulator keeps when the next count is added."""

    NONE = 0
    ALL = 1
    SHIFTED = 2  # weighed for the next plane group, N planes on
    TWICE = 3  # weighed for the next two plane groups


def kept(keep, value: Value, shift: int) -> Value:
    """What `keep` leaves of `value`, in its width; plane groups are `shift` bits apart."""
    return Array([0, value, *((value << n * shift)[: len(value)] for n in (1, 2))])[keep.as_value()]


class Dot(wiring.Component):
    """Count matching bits of weight and activation words and accumulate the counts.

    `weight` and `activation`, `hw.popcount.skewed`, belong to one cycle, `enable` and `split` come three later, `keep`
    four, `load` five: the column delays them once for all its units. accumulator = what `keep` says + (count if
    enable), where matches in upper halves count 2^N times if `split`. `load` copies the accumulator to `value`; else
    `value` follows `below`, so that units stacked by `below` form a shift chain. Neither provides nor respects
    back-pressure.

    `value` follows the operands by `hw.arch.timing.COUNT` cycles. Sums wrap modulo 2^accumulator_bits.
    """

    def __init__(self, config: Config):
        self._config = config
        bits = config.accumulator_bits
        super().__init__({
            "weight": In(config.word), "activation": In(config.word), "enable": In(1), "split": In(1),
            "keep": In(Keep), "load": In(1), "below": In(bits), "value": Out(bits),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config

        # Count. Without `Config.splits` there is nothing to split.
        m.submodules.count = count = MatchCount(config.word, config.N if config.splits else 0)
        m.d.comb += [
            count.a.eq(self.weight), count.b.eq(self.activation), count.enable.eq(self.enable),
            count.split.eq(self.split & config.splits),
        ]

        # Accumulate.
        accumulator = Signal(config.accumulator_bits)
        m.d.sync += accumulator.eq(count.o + kept(self.keep, accumulator, config.N))

        # Drain.
        m.d.sync += self.value.eq(Mux(self.load, accumulator, self.below))
        return m
