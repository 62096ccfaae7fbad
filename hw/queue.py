"""First in, first out queues of typed words; the only place that touches `amaranth.lib.fifo`."""

from amaranth import Module, ResetInserter, Shape, Signal, Value
from amaranth.hdl import ShapeLike
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out


class Queue(wiring.Component):
    """A queue of `depth` words of `shape` whose storage infers block RAM.

    Parameters
    ----------
    shape : ShapeLike
        What the queue carries; both ends have it, so that a mismatch is found when connecting.
    depth : int
        Words, at least 2.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))     a word appears two cycles after it was written at the earliest
    level : Out(range(depth + 1))        words inside
    flush : In(1)                        forget every word; a word offered in the same cycle is lost
    """

    def __init__(self, shape: ShapeLike, depth: int):
        if depth < 2:
            raise ValueError(f"Queue depth must be at least 2 words, not {depth}")
        self.depth = depth
        self._width = Shape.cast(shape).width
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
            "flush": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        queue = fifo.SyncFIFOBuffered(width=self._width, depth=self.depth)
        m.submodules.queue = ResetInserter(self.flush)(queue)
        m.d.comb += [
            queue.w_data.eq(Value.cast(self.i.payload)),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            Value.cast(self.o.payload).eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.level.eq(queue.level),
        ]
        return m


class Buffer(wiring.Component):
    """Two words of registers that cut a stream: nothing passes from one side to the other within a cycle.

    Parameters
    ----------
    shape : ShapeLike

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))     one cycle later; a word per cycle
    """

    def __init__(self, shape: ShapeLike):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform) -> Module:
        m = Module()
        offered, shown = Value.cast(self.i.payload), Value.cast(self.o.payload)
        spare = Signal()
        kept = Signal.like(offered)  # the word that came when the output was refused
        m.d.comb += self.i.ready.eq(~spare)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [self.o.valid.eq(self.i.valid | spare), spare.eq(0), shown.eq(offered)]
            with m.If(spare):
                m.d.sync += shown.eq(kept)
        with m.Elif(self.i.valid & ~spare):
            m.d.sync += [spare.eq(1), kept.eq(offered)]
        return m
