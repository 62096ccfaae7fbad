"""Thresholds: finished sums become levels, level = #{t : O >= T[t]}, one threshold per cycle and unit."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config, Space
from hw.arch.isa import Conv
from hw.combine import final_layout
from hw.layouts import compare_layout, layout_of

LEVEL_BITS = 4


class Threshold(wiring.Component):
    """Compare the sums of one chain and pixel.

    Members
    -------
    final : sums in channel order, all channels between two `compare.load`
    compare, threshold : commands, and the threshold of the channel at the head
    levels : of the chain's channels, from the cycle after `compare.done` until the next one
    head : the oldest sum loaded; `pop` moves to the next
    """

    def __init__(self, config: Config):
        self._channels = config.chain_channels
        super().__init__({
            "final": In(final_layout(config)), "compare": In(compare_layout(config)),
            "threshold": In(signed(config.sum_bits)),
            "levels": Out(data.ArrayLayout(LEVEL_BITS, config.chain_channels)),
            "head": Out(signed(config.sum_bits)), "pop": In(1),
        })

    def elaborate(self, platform):
        m = Module()

        # Two shift registers take turns: one fills while the other is compared. No value is ever copied.
        filling = Signal()
        with m.If(self.compare.load):
            m.d.sync += filling.eq(~filling)
        heads = []
        for side in range(2):
            cells = [Signal.like(self.head, name=f"sum{side}_{n}") for n in range(self._channels)]
            with m.If(Mux(filling == side, self.final.valid, self.compare.next | self.pop)):
                m.d.sync += [later.eq(cell) for later, cell in zip(cells, [*cells[1:], self.final.value], strict=True)]
            heads.append(cells[0])
        m.d.comb += self.head.eq(Mux(filling, heads[0], heads[1]))

        level, counted = Signal(LEVEL_BITS), Signal(LEVEL_BITS)
        collected = Signal(LEVEL_BITS * self._channels)
        m.d.comb += counted.eq(level + (self.head >= self.threshold))
        with m.If(self.compare.compare):
            m.d.sync += level.eq(Mux(self.compare.next, 0, counted))
        with m.Elif(self.compare.load):  # a fault may have ended the last frame amid a channel
            m.d.sync += level.eq(0)
        with m.If(self.compare.next):
            m.d.sync += collected.eq(Cat(collected, counted)[LEVEL_BITS:])
        with m.If(self.compare.done):
            m.d.sync += self.levels.eq(collected)
        return m


class Comparer(wiring.Component):
    """Issue the compare commands of pixel lane 0 with their thresholds.

    Members
    -------
    conv, begin : the layer, and its start
    finished : the last sum of a pixel group reaches pixel lane 0
    row_end : with it, the group is the last of its row group
    address, words : the threshold memories, all banks at one address
    compare : `load` two cycles after `finished`, one `compare` per cycle from then on, `done` in the cycle after the
        last of them
    fault : a threshold outside the memory was asked for

    `finished` must come at least chain channels * levels cycles apart.
    """

    def __init__(self, config: Config):
        self._config = config
        memory = config.memories[Space.THRESHOLDS]
        super().__init__({
            "conv": In(layout_of(Conv)), "begin": In(1), "finished": In(1), "row_end": In(1),
            "address": Out(range(memory.depth)), "words": In(data.ArrayLayout(memory.bits, memory.banks)),
            "compare": Out(compare_layout(config)), "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, levels = self._config, self.conv.levels
        base = Signal(17)
        pointer = Signal(17)
        running = Signal()
        row_end = Signal()
        channel = Signal(range(config.chain_channels))
        level = Signal(LEVEL_BITS)
        read = Signal(data.StructLayout({"compare": 1, "next": 1, "done": 1}))
        done = Signal()

        started = Signal()
        m.d.sync += [started.eq(self.finished), done.eq(self.finished & (levels == 0))]
        with m.If(running):
            m.d.sync += [pointer.eq(pointer + 1), level.eq(level + 1)]
            with m.If(level == levels - 1):
                m.d.sync += [level.eq(0), channel.eq(channel + 1)]
                with m.If(channel == config.chain_channels - 1):
                    m.d.sync += [running.eq(0), done.eq(1), pointer.eq(base)]
                    with m.If(row_end):
                        m.d.sync += base.eq(pointer + 1)
        with m.If(self.finished):
            m.d.sync += [running.eq(levels != 0), row_end.eq(self.row_end), channel.eq(0), level.eq(0)]
            # A row group's thresholds serve all its pixel groups.
            with m.If(running):
                m.d.sync += pointer.eq(Mux(row_end, pointer + 1, base))
            with m.Else():
                m.d.sync += pointer.eq(base)
        with m.If(self.begin):
            m.d.sync += [base.eq(self.conv.thresholds), running.eq(0)]
        m.d.comb += [self.address.eq(pointer), self.fault.eq(running & (pointer >= config.threshold_depth))]

        m.d.sync += [
            read.compare.eq(running), read.next.eq(running & (level == levels - 1)),
            read.done.eq(done),
        ]
        m.d.sync += [
            self.compare.load.eq(started), self.compare.compare.eq(read.compare), self.compare.next.eq(read.next),
            self.compare.done.eq(read.done),
        ]
        for chain in range(config.chains):
            m.d.sync += self.compare.thresholds[chain].eq(self.words[chain])
        return m
