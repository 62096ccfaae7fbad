"""First in, first out queues of typed words; the only place that touches `amaranth.lib.fifo`."""

from amaranth import Module, ResetInserter, Shape, Value
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
