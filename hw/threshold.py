"""Thresholds: finished sums become levels, one threshold word per cycle and unit.

Levels are counts, #{t : X >= T[t]}, or found by a binary search, bit by bit.
"""

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import timing
from hw.arch.config import Config, Space
from hw.arch.isa import Conv, Values
from hw.combine import final_layout
from hw.layouts import access_layout, compare_layout, layout_of
from hw.memory import Ring
from hw.pipeline import below, delayed

LEVEL_BITS = 8
COUNT_BITS = 4


class Threshold(wiring.Component):
    """Compare the sums of one chain and pixel.

    Members
    -------
    final : sums in channel order, all channels between two `compare.load`
    search : thresholds are steps of a binary search; holds while a layer is compared
    compare, threshold : commands, and the threshold or bias of the channel taken
    addend : what is added to the sum at the head, in the cycle of `compare.advance`
    sum : the sum that is compared, from the cycle after `compare.take` until the next one
    levels : of the chain's channels, from `hw.arch.timing.LEVEL` cycles after `compare.done` until the next one
    head : the oldest sum loaded; `pop` moves to the next
    """

    def __init__(self, config: Config):
        self._channels = config.chain_channels
        number = signed(config.sum_bits)
        super().__init__({
            "final": In(final_layout(config)), "search": In(1), "compare": In(compare_layout(config)),
            "threshold": In(number), "addend": In(number), "sum": Out(number),
            "levels": Out(data.ArrayLayout(LEVEL_BITS, config.chain_channels)),
            "head": Out(number), "pop": In(1),
        })

    def elaborate(self, platform):
        m = Module()

        # Two rings take turns: one fills while the other is compared. No value is ever copied.
        filling = Signal()
        with m.If(self.compare.load):
            m.d.sync += filling.eq(~filling)
        heads = []
        for side in range(2):
            m.submodules[f"sums{side}"] = ring = Ring(len(self.head), self._channels)
            m.d.comb += [
                ring.step.eq(Mux(filling == side, self.final.valid, self.compare.advance | self.pop)),
                ring.i.eq(self.final.value),
            ]
            heads.append(ring.o)
        m.d.comb += self.head.eq(Mux(filling, heads[0], heads[1]))

        # Value, then bias.
        valued = Signal.like(self.head)
        with m.If(self.compare.advance):
            m.d.sync += valued.eq(self.head + self.addend)
        with m.If(self.compare.take):
            m.d.sync += self.sum.eq(valued + Mux(self.compare.bias, self.threshold, 0))

        # Compare. A search goes on with what is left of the sum: x, or ~x if `inverted`, so that the next step, whether
        # added or subtracted, is one addition and nothing else: with ~x, threshold + ~x = ~(x - threshold).
        reached, fresh, inverted = Signal(), Signal(), Signal()
        rest = Signal(signed(len(self.sum) + 1))
        operand = Mux(fresh, ~self.sum, Mux(rest[-1], rest, ~rest))
        m.d.comb += reached.eq(rest[-1] == inverted)
        m.d.sync += [
            rest.eq(self.threshold + operand), inverted.eq(fresh | reached),
            fresh.eq(self.compare.take | ~self.search),
        ]

        # Then count, or collect the bits.
        found = delayed(m, reached, 1, "found")
        compare, following, done = (delayed(m, value, timing.LEVEL - 1, name) for name, value in (
            ("compare", self.compare.compare), ("following", self.compare.next), ("done", self.compare.done)))
        level, counted = Signal(LEVEL_BITS), Signal(LEVEL_BITS)
        collected = Signal(LEVEL_BITS * self._channels)
        count = (level[:COUNT_BITS] + found)[:COUNT_BITS]
        m.d.comb += counted.eq(Mux(self.search, Cat(found, level)[:LEVEL_BITS], count))
        with m.If(compare):
            m.d.sync += level.eq(Mux(following, 0, counted))
        with m.Elif(self.compare.load):  # a fault may have ended the last frame amid a channel
            m.d.sync += level.eq(0)
        with m.If(following):
            m.d.sync += collected.eq(Cat(collected, counted)[LEVEL_BITS:])
        with m.If(done):
            m.d.sync += self.levels.eq(collected)
        return m


class Comparer(wiring.Component):
    """Issue the compare commands of pixel lane 0 with their thresholds, and where its values are.

    Members
    -------
    conv, values, begin : the layer, and its start
    finished : the last sum of a pixel group reaches pixel lane 0
    row_end : with it, the group is the last of its row group
    address, words : the threshold memories, all banks at one address
    compare : `load` with `finished`; one threshold word per cycle from `hw.arch.timing.COMPARE` cycles after `finished`
        on, one cycle later if they hold biases; `done` in the cycle after the last of them
    access : a channel's value, two cycles before `compare.advance`
    fault : a threshold or value outside its memory was asked for; the value is neither added nor kept

    `finished` must come at least `hw.arch.timing.compare_period` and the channels of a chain apart.
    """

    def __init__(self, config: Config):
        self._config = config
        memory = config.memories[Space.THRESHOLDS]
        super().__init__({
            "conv": In(layout_of(Conv)), "values": In(layout_of(Values)), "begin": In(1),
            "finished": In(1), "row_end": In(1),
            "address": Out(range(memory.depth)), "words": In(data.ArrayLayout(memory.bits, memory.banks)),
            "compare": Out(compare_layout(config)), "access": Out(access_layout(config)), "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, levels, values = self._config, self.conv.levels, self.values
        residual = Signal()
        count = Signal(LEVEL_BITS + 1)  # threshold words per channel, 0: sums are emitted
        # Constant without a value memory: all that serves residual connections is then optimised away.
        valued = values.keep | (values.add & (levels != 0)) if config.value_depth else C(0)
        m.d.sync += [residual.eq(valued), count.eq(levels + valued)]
        base = Signal(17)
        pointer = Signal(17)
        place = Signal(17)
        running = Signal()
        row_end = Signal()
        started = Signal()
        start = Signal()
        channel = Signal(range(config.chain_channels))
        word = Signal(LEVEL_BITS + 1)
        final = Signal()  # the word at hand is a channel's last
        single = Signal()
        before = Signal.like(count)
        last_word = Signal()
        last_channel = Signal()
        m.d.sync += [single.eq(count == 1), before.eq(count - 2)]
        m.d.comb += [
            last_word.eq(running & final), last_channel.eq(channel == config.chain_channels - 1),
            start.eq(Mux(residual, started, self.finished)),
        ]
        m.d.sync += started.eq(self.finished)

        # A row group's thresholds serve all its pixel groups.
        with m.If(running):
            m.d.sync += [pointer.eq(pointer + 1), word.eq(word + 1), final.eq(word == before)]
        with m.If(last_word):
            m.d.sync += [word.eq(0), final.eq(single), channel.eq(channel + 1)]
            with m.If(last_channel):
                m.d.sync += [running.eq(0), pointer.eq(base)]
                with m.If(row_end):
                    m.d.sync += [base.eq(pointer + 1), pointer.eq(pointer + 1)]
        with m.If(start):
            m.d.sync += [running.eq(count != 0), channel.eq(0), word.eq(0), final.eq(single)]
        with m.If(self.finished):
            m.d.sync += row_end.eq(self.row_end)

        # Values are one cycle ahead of the thresholds.
        ahead, inside = Signal(), below(place, config.value_depth)
        m.d.comb += [
            ahead.eq(Mux(start, count != 0, last_word & ~last_channel)),
            self.access.valid.eq(ahead & residual & inside), self.access.address.eq(place), self.address.eq(pointer),
            self.fault.eq((running & ~below(pointer, config.threshold_depth)) | (ahead & residual & ~inside)),
        ]
        m.d.sync += place.eq(place + (ahead & residual))
        with m.If(self.begin):
            m.d.sync += [base.eq(self.conv.thresholds), pointer.eq(self.conv.thresholds), place.eq(values.base)]
            m.d.sync += running.eq(0)
        self._command(m, running, last_word, last_word & last_channel, ahead, residual)
        return m

    def _command(self, m, running, last_word, last, ahead, residual):
        """Commands meet the thresholds behind the memory."""
        compare, finished = self.compare, self.finished
        first = Signal()
        second = Signal()
        bias = Signal()
        read = Signal(data.StructLayout({"compare": 1, "next": 1, "done": 1, "ended": 1}))
        m.d.sync += [first.eq(ahead), second.eq(first)]
        m.d.comb += [bias.eq(residual & first)]
        m.d.sync += [
            read.compare.eq(running & ~bias), read.next.eq(last_word & ~bias),
            read.ended.eq(last | (finished & ~residual & (self.conv.levels == 0))), read.done.eq(read.ended),
            compare.take.eq(compare.advance), compare.bias.eq(residual), compare.compare.eq(read.compare),
            compare.next.eq(read.next), compare.done.eq(read.done),
        ]
        m.d.comb += [compare.load.eq(finished), compare.advance.eq(Mux(residual, second, first))]
        for chain, word in enumerate(self.words):
            m.d.sync += compare.thresholds[chain].eq(word)
