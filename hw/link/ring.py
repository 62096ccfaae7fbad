"""A byte queue whose writer may take back what it wrote: the store of both frame directions."""

from amaranth import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


class Ring(wiring.Component):
    """`depth` bytes of block RAM, written by address and read in order up to `commit`.

    The writer owns the bytes from `commit` on and may rewrite or abandon them; the reader streams the bytes before
    it. `depth - 1` bytes fit: the writer must keep its address from running into `read`.

    Parameters
    ----------
    depth : int
        Bytes, a power of two.

    Members
    -------
    write : In(1), address, data         store `data` at `address`
    commit : In                          address of the first byte that is not yet to be read; only moves forward
    read : Out                           address of the first byte that was not taken yet
    o : Out(stream.Signature(8))         one byte per cycle, the cycle after it was committed at the earliest
    """

    def __init__(self, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"Ring depth must be a power of two of at least 2 bytes, not {depth}")
        self.depth = depth
        bits = ceil_log2(depth)
        super().__init__({
            "write": In(1), "address": In(bits), "data": In(8), "commit": In(bits),
            "read": Out(bits), "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.store = store = memory.Memory(shape=8, depth=self.depth, init=[])
        write, read = store.write_port(), store.read_port()
        following = Signal.like(self.read)
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.address), write.data.eq(self.data),
            following.eq(Mux(self.o.valid & self.o.ready, self.read + 1, self.read)),
            read.en.eq(1), read.addr.eq(following), self.o.payload.eq(read.data),
        ]
        # The memory answers one cycle later, so the address runs one cycle ahead of `read`.
        m.d.sync += [self.read.eq(following), self.o.valid.eq(following != self.commit)]
        return m
