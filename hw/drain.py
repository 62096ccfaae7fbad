"""The drain control: one token per value that leaves the chains, with the coefficients that weigh it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import timing
from hw.arch.config import Config, Space
from hw.arch.isa import Conv
from hw.layouts import drain_layout, layout_of, pass_layout, slot_layout, step_layout
from hw.pipeline import below, delayed

READ = 3  # a pass's last word to its first slot with coefficients: address, read, register


class Drain(wiring.Component):
    """Read `chain` coefficient words per pass and issue the drain slots of column 0.

    Members
    -------
    conv, begin : the layer, and its start
    step : column 0's commands; a pass's last word starts its slots, `hw.arch.timing.DRAIN` cycles later
    address, words : the coefficient memories, all banks at one address
    drain : for column 0
    fault : a coefficient outside the memory was asked for

    Passes must end at least `chain` cycles apart.
    """

    def __init__(self, config: Config):
        self._config = config
        memory = config.memories[Space.COEFFICIENTS]
        super().__init__({
            "conv": In(layout_of(Conv)), "begin": In(1), "step": In(step_layout(config)),
            "address": Out(range(memory.depth)), "words": In(data.ArrayLayout(memory.bits, memory.banks)),
            "drain": Out(drain_layout(config)), "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        step = delayed(m, self.step, timing.DRAIN - READ, "step")
        place = step.place
        base = Signal(17)
        following = Signal(17)
        pointer = Signal(17)
        slot = Signal(range(config.chain))
        plane = Signal(range(config.M))
        valid = Signal()
        here = Signal(pass_layout())

        # One address per slot; `following` is where the next pass begins.
        with m.If(valid):
            m.d.sync += [pointer.eq(pointer + 1), slot.eq(slot + 1), plane.eq(plane + 1)]
            with m.If(plane == config.M - 1):
                m.d.sync += plane.eq(0)
            with m.If(slot == config.chain - 1):
                m.d.sync += valid.eq(0)
        with m.If(step.last):
            m.d.sync += [
                valid.eq(1), slot.eq(0), plane.eq(0), here.eq(place), pointer.eq(following),
                following.eq(following + config.chain),
            ]
            with m.If(place.final_pass):
                m.d.sync += following.eq(base)
                with m.If(place.final_position & place.row_end):
                    m.d.sync += [
                        base.eq(base + self.conv.coefficient_stride), following.eq(base + self.conv.coefficient_stride)]
        with m.If(self.begin):
            m.d.sync += [base.eq(self.conv.coefficients), following.eq(self.conv.coefficients)]
        m.d.comb += [self.address.eq(pointer), self.fault.eq(valid & ~below(pointer, config.coefficient_depth))]

        # The slot waits for its coefficients.
        read = Signal(slot_layout())
        m.d.sync += [
            read.valid.eq(valid), read.first_plane.eq(plane == 0), read.last_plane.eq(plane == config.M - 1),
            read.last.eq(slot == config.chain - 1), read.place.eq(here),
        ]
        m.d.sync += [self.drain[name].eq(read[name]) for name in slot_layout().members]
        for chain in range(config.chains):
            m.d.sync += self.drain.coefficients[chain].eq(self.words[chain])
        return m
