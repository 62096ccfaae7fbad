"""The loader: bytes of the line buffer become words of the memories that programs read."""

from amaranth.hdl import Array, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config
from hw.arch.isa import LOADABLE, Load
from hw.interfaces import write_layout
from hw.layouts import layout_of
from hw.packer import level_shape
from hw.rounds import Rounds


class Loader(wiring.Component):
    """Execute `Load`, one byte per cycle.

    Members
    -------
    load, begin : the instruction, which holds, and its start; `finished` in the last cycle, when all is stored
    level : bytes in the line buffer
    retire, byte : take the oldest byte; it comes a cycle later
    store, storing : a word for a memory; whether there is one
    stores_next : `storing` in the next cycle
    fault : a word outside a memory was asked for; the loader stops before the first byte

    All memories are looked at twice: first whether their words exist, then to write them.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "load": In(layout_of(Load)), "begin": In(1), "finished": Out(1), "level": In(level_shape(config)),
            "retire": Out(1), "byte": In(8), "store": Out(write_layout(config)), "storing": Out(1),
            "stores_next": Out(1), "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        memories = [self._config.memories[space] for space in LOADABLE]
        number, writes = Signal(range(len(LOADABLE))), Signal()  # which memory, in which round
        first, words, end, depth = Signal(16), Signal(16), Signal(17), Signal(17)
        size, banks, start, going = Signal(range(64)), Signal(9), Signal(), Signal()
        some, taking = Signal(), Signal()
        m.d.sync += some.eq((self.level > 1) | ((self.level == 1) & ~taking))
        m.d.comb += [taking.eq(going & some), self.retire.eq(taking)]
        finished = self._write(m, first, words, banks, size, start, taking, number)

        def advance():
            m.d.sync += number.eq(number + 1)
            m.next = "Look"
            with m.If(number == len(LOADABLE) - 1):
                m.d.sync += [number.eq(0), writes.eq(1)]
                with m.If(writes):
                    m.next = "Last"

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [number.eq(0), writes.eq(0)]
                with m.If(self.begin):
                    m.next = "Look"
            with m.State("Look"):
                for register, values in (
                    (first, [self.load[space.name.lower()] for space in LOADABLE]),
                    (words, [self.load[f"{space.name.lower().removesuffix('s')}_words"] for space in LOADABLE]),
                    (depth, [Const(memory.depth) for memory in memories]),
                    (banks, [Const(memory.banks) for memory in memories]),
                    (size, [Const(memory.bytes_per_word) for memory in memories]),
                ):
                    m.d.sync += register.eq(Array(values)[number])
                m.next = "Add"
            with m.State("Add"):
                m.d.sync += end.eq(first + words)
                m.next = "Check"
            with m.State("Check"):
                m.d.comb += start.eq(1)
                advance()
                with m.If(writes & (words != 0)):
                    m.d.sync += number.eq(number)
                    m.next = "Write"
                with m.If(end > depth):
                    m.next = "Fault"
            with m.State("Write"):
                m.d.comb += going.eq(1)
                with m.If(finished):
                    advance()
            with m.State("Last"):  # byte on its way
                m.next = "Store"
            with m.State("Store"):
                m.next = "Finish"
            with m.State("Finish"):
                m.d.comb += self.finished.eq(1)
                m.next = "Idle"
            with m.State("Fault"):
                m.d.comb += self.fault.eq(1)
        return m

    def _write(self, m, first, words, banks, size, start, taking, number):
        """Gather bytes to words and store them; whether the byte at hand is a memory's last."""
        store, counts, ends = self.store, {"bytes": size, "banks": banks, "words": words}, Const(1)
        loops = {}
        for name, count in counts.items():
            m.submodules[name] = loop = Rounds(len(count))
            m.d.comb += [loop.count.eq(count), loop.begin.eq(start), loop.step.eq(taking & ends)]
            ends, loops[name] = ends & loop.last, loop
        word_ends, last = taking & loops["bytes"].last, taking & ends

        index, bank, address = Signal(range(64)), Signal(8), Signal(16)
        with m.If(taking):
            m.d.sync += index.eq(index + 1)
        with m.If(word_ends):
            m.d.sync += [index.eq(0), bank.eq(bank + 1)]
            with m.If(loops["banks"].last):
                m.d.sync += [bank.eq(0), address.eq(address + 1)]
        with m.If(start):
            m.d.sync += [index.eq(0), bank.eq(0), address.eq(first)]

        # A cycle later the byte is there, another one later the word.
        taken, whole, place = Signal(), self.stores_next, Signal.like(index)
        data = Signal(8 * max(self._config.memories[space].bytes_per_word for space in LOADABLE))
        m.d.sync += [taken.eq(taking), whole.eq(word_ends), place.eq(index), self.storing.eq(whole)]
        behind = Signal(write_layout(self._config))
        m.d.sync += [
            behind.bank.eq(bank), behind.address.eq(address),
            behind.space.eq(Array(Const(int(space), 4) for space in LOADABLE)[number]),
            store.bank.eq(behind.bank), store.address.eq(behind.address), store.space.eq(behind.space),
        ]
        with m.If(taken):
            m.d.sync += data.word_select(place, 8).eq(self.byte)
        m.d.comb += store.data.eq(data)
        return last
