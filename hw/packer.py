"""The packer: bytes of the line buffer become words of bit planes, one word per window and plane group."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arch import timing
from hw.arch.config import IMAGE_PLANES, Config
from hw.arch.isa import Pack
from hw.layouts import layout_of
from hw.pipeline import below
from hw.writer import store_layout


def level_shape(config: Config):
    """Bytes in the line buffer; fewer than none when a row is retired that has not arrived."""
    return signed(exact_log2(config.image_depth) + 2)


CHOICE = 4  # words of which one LUT6 per bit chooses


class Windows(wiring.Component):
    """Eight shift registers, one per plane of the image, and a copy of them that is read while they go on.

    Members
    -------
    split : a word holds two planes, their upper halves
    push, byte : `byte` enters at the top of every register, its most significant bit plane 0's; the others move down
    clear, mark : forget the mask; a one enters the mask, as a byte enters the registers
    full : the mask has no room for another one
    take : copy the registers
    words[n] : plane group * N + n of the copy, without the bits outside the mask, two cycles after `group`; planes are
        preceded by zero planes to a multiple of N. With `split` its upper half, and below it that of the next group's
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "split": In(1), "push": In(1), "byte": In(IMAGE_PLANES), "clear": In(1), "mark": In(1), "full": Out(1),
            "take": In(1),
            "group": In(range(max(2, timing.plane_groups(config)))),
            "words": Out(data.ArrayLayout(config.word, config.N)),
        })

    def elaborate(self, platform):
        m = Module()
        n, word, half = self._config.N, self._config.word, self._config.word // 2
        count = timing.plane_groups(self._config) * n
        planes = [Signal(word, name=f"plane{p}") for p in range(IMAGE_PLANES)]
        copies = [Signal(word, name=f"copy{p}") for p in range(IMAGE_PLANES)]
        mask = Signal(word)
        m.d.comb += self.full.eq(mask[0])
        with m.If(self.push):
            m.d.sync += [plane.eq(Cat(plane[1:], bit)) for plane, bit in zip(planes, reversed(self.byte), strict=True)]
        with m.If(self.mark):
            m.d.sync += [mask.eq(Cat(mask[1:], 1)), mask[half - 1].eq(mask[half] | self.split)]
        with m.If(self.clear):
            m.d.sync += mask.eq(0)
        with m.If(self.take):
            m.d.sync += [copy.eq(plane) for copy, plane in zip(copies, planes, strict=True)]
        padded = [Const(0, word)] * (count - IMAGE_PLANES) + copies
        late = Signal.like(self.group)
        m.d.sync += late.eq(self.group)
        for lane in range(n):
            # One of four, a LUT per bit, then one of these, in another LUT with the mask.
            mine, chosen = padded[lane::n], []
            for start in range(0, len(mine), CHOICE):
                chosen.append(Signal(word, name=f"chosen{lane}_{start}"))
                m.d.sync += chosen[-1].eq(Array(mine[start : start + CHOICE])[self.group[: exact_log2(CHOICE)]])
            whole = Array(chosen)[late[exact_log2(CHOICE) :]]
            m.d.sync += self.words[lane].eq(whole & mask)
            if self._config.splits:
                below = Signal(half, name=f"below{lane}")
                m.d.sync += below.eq(Array(plane[half:] for plane in mine[1::2])[self.group[1:]])
                m.d.sync += self.words[lane][:half].eq(Mux(self.split, below, whole[:half]) & mask[:half])
        return m


class Raster(wiring.Component):
    """The loops over an image: output row, column, channel, window row.

    Members
    -------
    pack, begin : the image, and go to its first row
    step : to the next byte of the window's column, or with `skip` to the next row of the image
    mark : to the next byte of a first window, before any `step`
    last_byte : the byte at hand is the last one at its place in the rows; `completes` : and the last one of a window
    ends : the step is the image's last
    used : windows begin in this row
    """

    def __init__(self):
        super().__init__({
            "pack": In(layout_of(Pack)), "begin": In(1), "step": In(1), "skip": In(1), "mark": In(1),
            "last_byte": Out(1), "completes": Out(1), "ends": Out(1), "used": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        pack = self.pack
        line, channel = Signal(4), Signal(5)
        column, rows = Signal(12), Signal(12)  # columns before this one, rows from this one on
        enough = Signal()  # rows for a window
        to_column, to_row = Signal(4), Signal(4)  # until a window ends, or begins
        column_end, row_end = Signal(), Signal()
        last_line, last_channel, last_column = Signal(4), Signal(5), Signal(12)
        m.d.sync += [
            last_line.eq(pack.window_rows - 1), last_channel.eq(pack.channels - 1), last_column.eq(pack.columns - 1)]
        m.d.comb += [
            self.last_byte.eq(line == last_line),
            column_end.eq(self.last_byte & (channel == last_channel)),
            self.completes.eq(column_end & (to_column == 0)),
            row_end.eq(self.skip | (self.step & column_end & (column == last_column))),
            self.used.eq((to_row == 0) & enough), self.ends.eq(row_end & (rows == 1)),
        ]
        with m.If(self.step | self.mark):
            m.d.sync += line.eq(line + 1)
            with m.If(self.last_byte):
                m.d.sync += [line.eq(0), channel.eq(channel + 1)]
            with m.If(column_end):
                m.d.sync += [channel.eq(0), to_column.eq(Mux(to_column == 0, pack.column_stride, to_column) - 1)]
        with m.If(self.step & column_end):
            m.d.sync += column.eq(column + 1)
        with m.If(row_end):
            m.d.sync += [
                column.eq(0), rows.eq(rows - 1), enough.eq(rows > pack.window_rows),
                to_row.eq(Mux(to_row == 0, pack.row_stride, to_row) - 1),
            ]
        with m.If(row_end | (self.mark & self.completes)):
            m.d.sync += to_column.eq(pack.window_columns - 1)
        with m.If(self.begin):
            m.d.sync += [
                line.eq(0), channel.eq(0), column.eq(0), rows.eq(pack.rows), to_row.eq(0),
                enough.eq(pack.rows >= pack.window_rows),
                to_column.eq(pack.window_columns - 1),
            ]
        return m


class Packer(wiring.Component):
    """Execute `Pack` on the bytes of the line buffer.

    Members
    -------
    pack, begin : the instruction, which holds, and its start; `finished` in the last cycle, when all is stored
    level : bytes in the line buffer, less those that were retired ahead of their arrival
    offset, byte : a byte's distance from the oldest in the line buffer, and the byte, one cycle later
    retire : take so many bytes out of the line buffer
    walk_step : command to the `TargetWalk`; its bank and address follow two cycles later
    bank, address, channel_words : where the window is written
    store, storing : to the activation memory; whether there is a word, or would be if its address were inside
    stores_next : `storing` in the next cycle
    fault : a window larger than a word, rows larger than the line buffer, or a word outside the activation memory;
        the packer stops

    A byte of a row is read once per row of the window: the buffer holds all but the newest row of the window whole.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "pack": In(layout_of(Pack)), "begin": In(1), "finished": Out(1), "level": In(level_shape(config)),
            "offset": Out(range(config.image_depth)), "byte": In(8),
            "retire": Out(range(config.image_depth)), "walk_step": Out(1),
            "bank": In(range(config.pixel_lanes)), "address": In(18), "channel_words": In(8),
            "store": Out(store_layout(config)), "storing": Out(1), "stores_next": Out(1), "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, pack, depth = self._config, self.pack, self._config.image_depth
        m.submodules.raster = raster = Raster()
        m.submodules.windows = windows = Windows(config)
        row_bytes, offset, channel = Signal(17), Signal(range(2 * depth)), Signal(5)
        words = timing.plane_groups(config)
        pace = Signal(range(max(2, words)))  # until the copy of the windows is free
        reading, completing = Signal(), Signal()
        pushed, completed, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            raster.pack.eq(pack), windows.byte.eq(self.byte), windows.push.eq(pushed), windows.take.eq(taken),
            windows.clear.eq(self.begin), windows.mark.eq(raster.mark), self.offset.eq(offset[: len(self.offset)]),
            completing.eq(reading & raster.completes), raster.step.eq(reading), windows.split.eq(pack.split),
        ]
        m.d.sync += [pushed.eq(reading), completed.eq(completing), taken.eq(completed)]
        m.d.sync += pace.eq(Mux(completing, Mux(pack.split, words // 2, words) - 1, pace - (pace != 0)))
        with m.If(raster.step | raster.mark):
            m.d.sync += offset.eq(Mux(raster.last_byte, 0, offset + row_bytes[: len(offset)]))

        outside, at_work = Signal(), Signal()  # words on their way to be stored
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += raster.begin.eq(1)
                m.d.sync += [row_bytes.eq(0), offset.eq(0), channel.eq(pack.channels)]
                with m.If(self.begin):
                    m.next = "Row"
            with m.State("Row"):  # bytes of a row, without a multiplier
                m.d.comb += raster.begin.eq(1)
                m.d.sync += [row_bytes.eq(row_bytes + pack.columns), channel.eq(channel - 1)]
                with m.If(channel == 1):
                    m.next = "Mark"
            with m.State("Mark"):  # the window's bytes, for the mask
                m.d.comb += raster.mark.eq(1)
                with m.If(raster.completes):
                    m.next = "Run"
                with m.If(windows.full | (row_bytes >= depth) | (offset >= depth)):
                    m.next = "Fault"
            with m.State("Run"):
                with m.If(raster.used):
                    m.d.comb += [
                        reading.eq((self.level > offset) & ~(raster.completes & (pace != 0))),
                        self.retire.eq(reading & raster.last_byte),
                    ]
                with m.Elif(self.level >= 0):
                    m.d.comb += [raster.skip.eq(1), self.retire.eq(row_bytes)]
                with m.If(raster.ends):
                    m.next = "Finish"
                with m.If(outside):
                    m.next = "Fault"
            with m.State("Finish"):
                with m.If((self.level >= 0) & ~(pushed | taken | at_work)):
                    m.d.comb += self.finished.eq(1)
                    m.next = "Idle"
                with m.If(outside):
                    m.next = "Fault"
            with m.State("Fault"):
                m.d.comb += self.fault.eq(1)
        self._store(m, windows, taken, at_work, outside)
        return m

    def _store(self, m, windows, taken, at_work, outside):
        """Emit the plane groups of the copy; their address is known a cycle later, their word two."""
        config, store = self._config, self.store
        active = Signal()
        valid, storing = self.stores_next, self.storing
        inner, inner1, address = Signal(12), Signal(12), Signal(19)
        groups = timing.plane_groups(config)
        last = windows.group == Mux(self.pack.split, groups - 2, groups - 1)
        with m.If(active):
            m.d.sync += [
                windows.group.eq(windows.group + Mux(self.pack.split, 2, 1)), inner.eq(inner + self.channel_words),
            ]
            with m.If(last):
                m.d.sync += [windows.group.eq(0), inner.eq(0), active.eq(0)]
                m.d.comb += self.walk_step.eq(1)
        with m.If(taken):
            m.d.sync += active.eq(1)
        m.d.sync += [
            valid.eq(active), inner1.eq(inner), storing.eq(valid), address.eq(self.address + inner1),
            store.bank.eq(self.bank),
        ]
        inside = below(address, config.activation_depth)
        m.d.comb += [
            at_work.eq(active | valid | storing), outside.eq(storing & ~inside),
            store.address.eq(address), store.data.eq(windows.words),
            store.enable.eq((storing & inside).replicate(len(store.enable))),
        ]
