"""Range checks of WRITE and READ requests, done before the first word moves."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import wire
from hw.arch.config import Config
from hw.interfaces import ADDRESS_BITS, BANK_BITS

TARGET = data.StructLayout({"space": 8, "bank": BANK_BITS, "address": ADDRESS_BITS, "count": 16})

LENGTH_BITS = 11  # holds every payload length and the sum that first exceeds it


class Access(wiring.Component):
    """Check one access to a memory and count its words.

    Division by the word's byte count is by repeated addition: `done` comes after at most two cycles per byte of the
    payload, which a serial line does not notice.

    Parameters
    ----------
    config : Config

    Members
    -------
    target : In(TARGET)                  where; `count` words for a READ. Steady from `start` to `done`; then only its
                                         address may change
    reads : In(1)                        READ, else WRITE
    payload : In(11)                     bytes of words that a WRITE carries
    start : In(1)                        begin
    done : Out(1)                        the check is over; the outputs below hold until `start`
    error : Out(4)                       wire.Error, or 0
    size : Out(10)                       bytes per word
    bytes : Out(11)                      bytes of all words
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "target": In(TARGET), "reads": In(1), "payload": In(LENGTH_BITS), "start": In(1),
            "done": Out(1), "error": Out(4), "size": Out(LENGTH_BITS), "bytes": Out(LENGTH_BITS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        limits = {"allowed": Signal(), "banks": Signal(BANK_BITS + 1), "depth": Signal(ADDRESS_BITS + 1)}
        m.d.sync += limits["allowed"].eq(0)
        with m.Switch(self.target.space):
            for space, memory in self._config.memories.items():
                with m.Case(space):
                    m.d.sync += [
                        limits["allowed"].eq(~self.reads | (space in wire.READABLE)),
                        limits["banks"].eq(memory.banks), limits["depth"].eq(memory.depth),
                        self.size.eq(memory.bytes_per_word),
                    ]

        words, most = Signal(LENGTH_BITS), Signal(LENGTH_BITS)
        over, complete = Signal(), Signal()  # of the words and bytes a cycle ago
        end = Signal(ADDRESS_BITS + 1)  # address behind the last word
        m.d.sync += [
            most.eq(Mux(self.reads, wire.MAX_PAYLOAD, self.payload)), over.eq(self.bytes > most),
            complete.eq(Mux(self.reads, words == self.target.count, self.bytes == self.payload)),
            end.eq(self.target.address + words),
        ]
        with m.FSM():
            with m.State("Idle"):
                with m.If(self.start):
                    m.d.sync += [self.done.eq(0), self.error.eq(0), words.eq(0), self.bytes.eq(0)]
                    m.next = "Place"
            with m.State("Place"):
                m.next = "Finish"
                with m.If(~limits["allowed"]):
                    m.d.sync += self.error.eq(wire.Error.SPACE)
                with m.Elif(self.target.bank >= limits["banks"]):
                    m.d.sync += self.error.eq(wire.Error.BANK)
                with m.Else():
                    m.d.sync += [words.eq(1), self.bytes.eq(self.size)]  # no access is empty
                    m.next = "Compare"
            with m.State("Compare"):
                m.next = "Count"
            with m.State("Count"):
                m.next = "Range"
                with m.If(over):
                    m.d.sync += self.error.eq(wire.Error.LENGTH)
                    m.next = "Finish"
                with m.Elif(~complete):
                    m.d.sync += [words.eq(words + 1), self.bytes.eq(self.bytes + self.size)]
                    m.next = "Compare"
            with m.State("Range"):
                m.next = "Finish"
                with m.If(end > limits["depth"]):
                    m.d.sync += self.error.eq(wire.Error.ADDRESS)
            with m.State("Finish"):
                m.d.sync += self.done.eq(1)
                m.next = "Idle"
        return m
