"""The on-chip memories: banks of block RAM with one write and one read port each, and rings of a few values."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.arch.config import Memory as Shape
from hw.pipeline import replica
from hw.target import has_lut6

NEAR = 8  # banks that share the registers of what is written


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
        # Words to write come from far away and go to many banks: they stop at a register in between, one for a few.
        for bank in range(self._shape.banks):
            if bank % NEAR == 0:
                address = replica(m, platform, self.write_address, f"address{bank}")
                word = replica(m, platform, self.write_data, f"word{bank}")
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


class Ring(wiring.Component):
    """A recirculating memory of `depth` signed values of `width` bits: `o` is what entered `depth` steps ago.

    `step` has the value `i` enter; `o` is a register. Before `depth` steps `o` means nothing. Where LUTs of six inputs
    make memories, all but the oldest value lie in one, for flip-flops are what fills such a part; elsewhere it is a
    shift register.
    """

    def __init__(self, width: int, depth: int):
        self._depth = depth
        super().__init__({"step": In(1), "i": In(signed(width)), "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        younger = self._memory if has_lut6(platform) else self._registers
        oldest = younger(m, self._depth - 1) if self._depth > 1 else self.i
        with m.If(self.step):
            m.d.sync += self.o.eq(oldest)
        return m

    def _memory(self, m, depth):
        """`i` as it was `depth` steps ago, read where it is then written."""
        m.submodules.values = values = Memory(
            shape=self.i.shape(), depth=depth, init=[], attrs={"ram_style": "distributed"})
        place = Signal(range(depth))
        write, read = values.write_port(), values.read_port(domain="comb")
        m.d.comb += [write.addr.eq(place), write.data.eq(self.i), write.en.eq(self.step), read.addr.eq(place)]
        with m.If(self.step):
            m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1))
        return read.data

    def _registers(self, m, depth):
        cells = [Signal.like(self.i, name=f"cell{n}") for n in range(depth)]
        with m.If(self.step):
            m.d.sync += [cell.eq(source) for cell, source in zip(cells, [self.i, *cells[:-1]], strict=True)]
        return cells[-1]
