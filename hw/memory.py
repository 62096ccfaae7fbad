"""The on-chip memories: banks of synchronous block RAM with one write and one read port each."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.arch.config import Memory as Shape


class Banks(wiring.Component):
    """`shape.banks` memories, written one at a time or in parts, read together or apart.

    Members
    -------
    write_bank, write_address, write_data, write_enable : store `write_data` in one bank, only those parts of
        `granularity` bits whose enable bit is set
    read_address[b], read_data[b] : bank b's word, one cycle later

    A write is registered: the word is there two cycles later. Reading an address in the cycle before that returns
    either word.
    """

    def __init__(self, shape: Shape, granularity: int | None = None):
        self._shape = shape
        self._granularity = granularity or shape.bits
        super().__init__({
            "write_bank": In(range(max(2, shape.banks))), "write_address": In(range(shape.depth)),
            "write_data": In(shape.bits), "write_enable": In(shape.bits // self._granularity),
            "read_address": In(data.ArrayLayout(range(shape.depth), shape.banks)),
            "read_data": Out(data.ArrayLayout(shape.bits, shape.banks)),
        })

    def elaborate(self, platform):
        m = Module()
        # Words to write come from far away and go to many banks: they stop at a register in between.
        address, word = Signal.like(self.write_address), Signal.like(self.write_data)
        m.d.sync += [address.eq(self.write_address), word.eq(self.write_data)]
        for bank in range(self._shape.banks):
            m.submodules[f"bank{bank}"] = memory = Memory(shape=self._shape.bits, depth=self._shape.depth, init=[])
            write = memory.write_port(granularity=self._granularity)
            read = memory.read_port()
            enable = Signal.like(self.write_enable, name=f"enable{bank}")
            m.d.sync += enable.eq(Mux(self.write_bank == bank, self.write_enable, 0))
            m.d.comb += [
                write.addr.eq(address), write.data.eq(word), write.en.eq(enable),
                read.addr.eq(self.read_address[bank]), self.read_data[bank].eq(read.data),
            ]
        return m
