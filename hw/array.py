"""The systolic array: columns of dot-product units, weights and commands travelling from column to column.

Row lanes carry output channels x M weight planes, column lanes carry output pixels x N activation planes. Column c
does in cycle t + c what column 0 does in cycle t: weights, commands and coefficients move one column per cycle and no
signal crosses the array. Sums of a pixel's N planes flow the same way, from combine unit to combine unit.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw import popcount
from hw.arch.config import Config
from hw.combine import Combine, final_layout
from hw.dot import Dot, Keep, kept
from hw.layouts import count_shape, drain_layout, step_layout
from hw.pipeline import delayed, replica


class Column(wiring.Component):
    """One column lane: `row_lanes` units, drained in chains into one combine unit each.

    Members
    -------
    weights, step, drain : what column 0 or the column to the left provides; `next_*` pass it on a cycle later
    activation, enable : this column's operand, in the cycle of `weights`; a word not enabled counts nothing. Weights
        and activations are `hw.popcount.skewed`.
    void : with a word, the pool position of its pass does not take part; only in the last plane lane of a pixel
    left, total : channel sums of the planes to the left, and including this one
    final : sums of complete channels, in the last plane lane of a pixel (`Combine`)

    A drain slot enters `drain` `hw.arch.timing.DRAIN` cycles after its pass's last word entered `weights`.
    """

    def __init__(self, config: Config, plane: int):
        self._config, self._plane = config, plane
        weights = data.ArrayLayout(config.word, config.row_lanes)
        totals = data.ArrayLayout(config.sum_bits, config.chains)
        finals = data.ArrayLayout(final_layout(config), config.chains)
        super().__init__({
            "weights": In(weights), "step": In(step_layout(config)), "drain": In(drain_layout(config)),
            "next_weights": Out(weights), "next_step": Out(step_layout(config)),
            "next_drain": Out(drain_layout(config)),
            "activation": In(config.word), "enable": In(1), "void": In(1),
            "left": In(totals), "total": Out(totals), "final": Out(finals),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.d.sync += [
            self.next_weights.eq(self.weights), self.next_step.eq(self.step), self.next_drain.eq(self.drain),
        ]

        # Operands go to the units a cycle later, activations from a register per chain: a column is long.
        # Commands reach the accumulators after the counts, the drain registers after the accumulators.
        early = delayed(m, self.step, popcount.LATENCY, "early")
        enable = delayed(m, self.enable, popcount.LATENCY, "enable")
        following = Mux(early.clear, Keep.NONE, Mux(early.shift, Mux(early.split, Keep.TWICE, Keep.SHIFTED), Keep.ALL))
        last = delayed(m, early.last, 1, "last")
        keep, load = Keep(delayed(m, following, 1, "keep")), delayed(m, last, 1, "load")

        # Bits that took part: what S = 2*matches - bits needs. Same recurrence as the units'.
        bits = config.accumulator_bits
        bit_count, total, held = Signal(count_shape(config)), Signal(bits), Signal(bits)
        m.d.sync += [bit_count.eq(Mux(enable, early.count, 0)), total.eq(kept(keep, total, config.N) + bit_count)]
        with m.If(load):
            m.d.sync += held.eq(total)

        # Whether the position takes part: the same again.
        void, void_total, void_held = delayed(m, self.void, popcount.LATENCY + 1, "void"), Signal(), Signal()
        m.d.sync += void_total.eq(((keep != Keep.NONE) & void_total) | void)
        with m.If(load):
            m.d.sync += void_held.eq(void_total)

        for chain in range(config.chains):
            keeps, loads = replica(m, platform, following, f"keep{chain}"), replica(m, platform, last, f"load{chain}")
            activation = replica(m, platform, self.activation, f"activation{chain}")
            m.submodules[f"combine{chain}"] = combine = Combine(config, self._plane)
            below = 0
            for lane in reversed(range(chain * config.chain, (chain + 1) * config.chain)):
                m.submodules[f"dot{lane}"] = dot = Dot(config)
                m.d.comb += [
                    dot.weight.eq(self.next_weights[lane]), dot.activation.eq(activation), dot.enable.eq(enable),
                    dot.split.eq(early.split), dot.keep.eq(keeps), dot.load.eq(loads), dot.below.eq(below),
                ]
                below = dot.value
            m.d.comb += [
                combine.matches.eq(below), combine.bits.eq(held), combine.void.eq(void_held),
                combine.drain.eq(self.drain),
                combine.coefficient.eq(self.drain.coefficients[chain][self._plane]),
                combine.left.eq(self.left[chain]), self.total[chain].eq(combine.total),
                self.final[chain].eq(combine.final),
            ]
        return m


class Array(wiring.Component):
    """`column_lanes` columns side by side.

    `weights`, `step` and `drain` are column 0's. `activations` and `enables` of pixel lane k, plane lane j belong to
    cycle t + k*N + j of the weights at t, and `voids` to its last plane lane's: the caller skews them. `finals[k]`
    follows with the same skew.
    """

    def __init__(self, config: Config):
        self._config = config
        plane_words = data.ArrayLayout(config.word, config.N)
        finals = data.ArrayLayout(final_layout(config), config.chains)
        super().__init__({
            "weights": In(data.ArrayLayout(config.word, config.row_lanes)), "step": In(step_layout(config)),
            "drain": In(drain_layout(config)),
            "activations": In(data.ArrayLayout(plane_words, config.pixel_lanes)),
            "enables": In(data.ArrayLayout(config.N, config.pixel_lanes)),
            "voids": In(data.ArrayLayout(1, config.pixel_lanes)),
            "finals": Out(data.ArrayLayout(finals, config.pixel_lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        weights = Cat(popcount.skewed(m, word, f"weights{lane}") for lane, word in enumerate(self.weights))
        step, drain, left = self.step, self.drain, None
        for index in range(config.column_lanes):
            pixel, plane = divmod(index, config.N)
            activation = popcount.skewed(m, self.activations[pixel][plane], f"activation{index}")
            m.submodules[f"column{index}"] = column = Column(config, plane)
            m.d.comb += [
                column.weights.as_value().eq(weights), column.step.eq(step), column.drain.eq(drain),
                column.activation.eq(activation), column.enable.eq(self.enables[pixel][plane]),
            ]
            if plane:
                m.d.comb += column.left.eq(left)
            if plane == config.N - 1:
                m.d.comb += column.void.eq(self.voids[pixel])
                m.d.comb += self.finals[pixel].eq(column.final)
            weights, step, drain, left = column.next_weights, column.next_step, column.next_drain, column.total
        return m
