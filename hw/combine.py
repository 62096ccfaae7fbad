"""The combine unit: counts become signed dot products, are weighed by alpha*beta and summed over all planes."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import timing
from hw.arch.config import Config
from hw.layouts import drain_layout, slot_layout
from hw.memory import Ring
from hw.multiply import Multiplier
from hw.pipeline import delayed


def final_layout(config: Config) -> data.StructLayout:
    """A finished channel sum, maximum over the pool window taken."""
    return data.StructLayout({"valid": 1, "value": signed(config.sum_bits)})


class Maximum(wiring.Component):
    """A ring of values, like `Ring`, that keeps the larger of its oldest and `i`, or `i` alone when `first`.

    `o` is what the last step kept. The comparison is registered: the entry of the last step stays undecided, as two
    candidates, until the next one.
    """

    def __init__(self, width: int, depth: int):
        self._depth = depth
        super().__init__({"step": In(1), "first": In(1), "i": In(signed(width)), "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        new, old, keep = Signal.like(self.i), Signal.like(self.i), Signal()
        oldest = self.o
        if self._depth > 1:
            m.submodules.others = others = Ring(len(self.i), self._depth - 1)
            m.d.comb += [others.step.eq(self.step), others.i.eq(self.o)]
            oldest = others.o
        with m.If(self.step):
            m.d.sync += [new.eq(self.i), old.eq(oldest), keep.eq(~self.first & (oldest > self.i))]
        m.d.comb += self.o.eq(Mux(keep, old, new))
        return m


class Combine(wiring.Component):
    """Streaming multiply-accumulate of one chain and plane lane.

    Per drain slot: S = 2*matches - bits (ABC-Net eq. 12: one binary convolution), then S*coefficient is summed over
    the M slots of a channel, the plane lanes to the left, and the passes; the maximum over pool positions is `final`.

    Members
    -------
    matches, bits, void : the slot's count, the bits that took part, and whether its pool position does not, in the
        cycle of `drain`
    drain, coefficient : the slot and this unit's coefficient
    left : total of the plane lane to the left, one cycle ahead of `total`
    total : sum of a channel over this and the plane lanes to the left, `hw.arch.timing.COMBINE` - 2 cycles after its
        last slot
    final : complete sums, `hw.arch.timing.COMBINE` cycles after the channel's last slot; only in plane lane N - 1

    Takes a slot every cycle; no back-pressure. Sums wrap modulo 2^sum_bits: the compiler excludes overflow.
    """

    def __init__(self, config: Config, plane: int):
        self._config, self._plane = config, plane
        super().__init__({
            "matches": In(config.accumulator_bits), "bits": In(config.accumulator_bits), "void": In(1),
            "drain": In(drain_layout(config)), "coefficient": In(signed(config.coefficient_bits)),
            "left": In(signed(config.sum_bits)), "total": Out(signed(config.sum_bits)),
            "final": Out(final_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        stages = [Signal(slot_layout(), name=f"stage{n}") for n in range(6)]
        m.d.sync += [stages[0][name].eq(self.drain[name]) for name in slot_layout().members]
        m.d.sync += [later.eq(earlier) for earlier, later in zip(stages, stages[1:], strict=False)]

        # Subtract.
        s, coefficient = Signal(signed(config.accumulator_bits + 1)), Signal.like(self.coefficient)
        m.d.sync += [s.eq((self.matches << 1) - self.bits), coefficient.eq(self.coefficient)]

        # Multiply.
        m.submodules.multiplier = multiplier = Multiplier(len(s), len(coefficient))
        m.d.comb += [multiplier.a.eq(s), multiplier.b.eq(coefficient)]

        # Sum over the channel's weight planes, then over the plane lanes.
        run = Signal(signed(config.sum_bits))
        m.d.sync += run.eq(Mux(stages[2].first_plane, 0, run) + multiplier.o)
        m.d.sync += self.total.eq(run + (self.left if self._plane else 0))
        if self._plane < config.N - 1:
            return m

        # Sum over passes, then the maximum over pool positions.
        # The rings' enables are registers: they go to every bit of every channel.
        channel, complete = Signal(), Signal()
        m.d.sync += [
            channel.eq(stages[3].valid & stages[3].last_plane), complete.eq(channel & stages[4].place.final_pass),
        ]
        m.submodules.sums = sums = Ring(config.sum_bits, config.chain_channels)
        m.submodules.best = best = Maximum(config.sum_bits, config.chain_channels)
        m.d.comb += [
            sums.step.eq(channel),
            sums.i.eq(self.total + Mux(stages[4].place.first_pass, 0, sums.o)),
        ]
        void = delayed(m, self.void, timing.COMBINE - 2, "void")
        m.d.sync += best.i.eq(Mux(void, -1 << config.sum_bits - 1, sums.i))
        m.d.comb += [
            best.step.eq(complete), best.first.eq(stages[5].place.first_position), self.final.value.eq(best.o),
        ]
        m.d.sync += self.final.valid.eq(best.step & stages[5].place.final_position)
        return m
