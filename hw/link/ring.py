"""A byte queue whose writer may take back what it wrote: the store of both frame directions."""

from amaranth import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.queue import Buffer


class Ring(wiring.Component):
    """`depth` bytes of block RAM, written by address and read in order up to `commit`.

    The writer owns the bytes from `commit` on and may rewrite or abandon them; the reader streams the bytes before
    it. The writer stores only while `room`, which leaves two bytes unused: `depth - 2` bytes always fit. Memory and
    handshakes are registered on both sides.

    Parameters
    ----------
    depth : int
        Bytes, a power of two.

    Members
    -------
    write : In(1), address, data         store `data` at `address`
    head : In                            address of the next byte to store, at most one byte on from the cycle before
    commit : In                          address of the first byte that is not yet to be read; only moves forward, from
                                         the cycle after the bytes were stored on
    room : Out(1)                        `address` may be stored to, if it is `head` or was before
    o : Out(stream.Signature(8))         one byte per cycle, five cycles after it was committed at the earliest
    """

    def __init__(self, depth: int):
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"Ring depth must be a power of two of at least 4 bytes, not {depth}")
        self.depth = depth
        bits = ceil_log2(depth)
        super().__init__({
            "write": In(1), "address": In(bits), "data": In(8), "head": In(bits), "commit": In(bits),
            "room": Out(1, init=1), "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.store = store = memory.Memory(shape=8, depth=self.depth, init=[])
        m.submodules.buffer = buffer = Buffer(8)
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        write, port = store.write_port(), store.read_port()
        read = Signal(len(self.head))  # address of the next byte to fetch
        fetch, shift = Signal(), Signal()
        shown = Signal()  # the memory shows a byte, which goes to a register before any logic
        commit = Signal.like(read)
        m.d.sync += [
            write.en.eq(self.write), write.addr.eq(self.address), write.data.eq(self.data), commit.eq(self.commit),
        ]
        m.d.comb += [
            shift.eq(~buffer.i.valid | buffer.i.ready), fetch.eq((read != commit) & (~shown | shift)),
            port.en.eq(fetch), port.addr.eq(read),
        ]
        with m.If(shift):
            m.d.sync += [buffer.i.payload.eq(port.data), buffer.i.valid.eq(shown), shown.eq(0)]
        with m.If(fetch):
            m.d.sync += [read.eq(read + 1), shown.eq(1)]
        # Known a cycle late, so the next two addresses must be free.
        ahead = [(self.head + distance)[: len(read)] for distance in (1, 2)]
        m.d.sync += self.room.eq((ahead[0] != read) & (ahead[1] != read))
        return m
