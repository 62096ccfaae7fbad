"""The packer: image bytes become words of bit planes, one word per window position and plane."""

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arch.config import IMAGE_PLANES, Config
from hw.arch.isa import Pack
from hw.layouts import layout_of
from hw.writer import store_layout


class Windows(wiring.Component):
    """Eight shift registers, one per bit of a pixel byte, that hold the current window of `length` bytes.

    `push` enters `byte` at bit length - 1 of each register and moves the others down; a register's bits from length
    on are zero. `planes[b]` is bit b of every byte, oldest byte in bit 0.
    """

    def __init__(self, config: Config):
        self._word = config.word
        super().__init__({
            "length": In(range(config.word + 1)), "push": In(1), "byte": In(8),
            "planes": Out(data.ArrayLayout(config.word, IMAGE_PLANES)),
        })

    def elaborate(self, platform):
        m = Module()
        top, below = Signal(self._word), Signal(self._word)
        m.d.sync += [top.eq((1 << self.length) >> 1), below.eq(top - 1)]
        with m.If(self.push):
            for b in range(IMAGE_PLANES):
                entered = Mux(self.byte[b], top, 0)
                m.d.sync += self.planes[b].eq(((self.planes[b] >> 1) & below) | entered)
        return m


class Raster(wiring.Component):
    """Position in an image that is read pixel by pixel, and where windows of stride `stride` end.

    `begin` goes to the first pixel, `step` to the next. `row_used`: windows end in this row; `emits`: one ends here;
    `last`: the last pixel of the image.
    """

    def __init__(self):
        super().__init__({
            "pack": In(layout_of(Pack)), "begin": In(1), "step": In(1),
            "row_end": Out(1), "row_used": Out(1), "emits": Out(1), "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        pack = self.pack
        row, column, to_row, to_column = Signal(12), Signal(12), Signal(4), Signal(4)
        m.d.comb += [
            self.row_end.eq(column == pack.columns - 1), self.last.eq(self.row_end & (row == pack.rows - 1)),
            self.row_used.eq(to_row == 0), self.emits.eq(self.row_used & (to_column == 0)),
        ]
        with m.If(self.step):
            m.d.sync += [column.eq(column + 1), to_column.eq(Mux(to_column == 0, pack.stride, to_column) - 1)]
            with m.If(self.row_end):
                m.d.sync += [
                    column.eq(0), to_column.eq(pack.window_columns - 1),
                    row.eq(row + 1), to_row.eq(Mux(to_row == 0, pack.stride, to_row) - 1),
                ]
        with m.If(self.begin):
            m.d.sync += [
                row.eq(0), column.eq(0), to_row.eq(pack.window_rows - 1), to_column.eq(pack.window_columns - 1)]
        return m


class Packer(wiring.Component):
    """Execute `Pack`.

    Members
    -------
    pack, begin : the instruction, and its start; `finished` when the whole image is stored
    i : image bytes, row by row, pixel by pixel
    walk_step : command to the `TargetWalk`; its bank and address follow two cycles later
    bank, address, channel_words : where the pixel is written
    store : to the activation memory
    fault : a window or line buffer larger than the configuration's, or a word outside the activation memory

    A pixel takes `channels` cycles to receive, in rows where windows end window_rows*channels + 1 more to enter the
    window, where one ends one per plane group to write, and one to move on (`hw.arch.timing.pack_cycles`).
    """

    def __init__(self, config: Config):
        self._config = config
        self._groups = -(-IMAGE_PLANES // config.N)
        super().__init__({
            "pack": In(layout_of(Pack)), "begin": In(1), "finished": Out(1), "i": In(stream.Signature(8)),
            "walk_step": Out(1), "bank": In(exact_log2(config.pixel_lanes)), "address": In(18),
            "channel_words": In(8), "store": Out(store_layout(config)), "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, pack = self._config, self.pack
        m.submodules.raster = raster = Raster()
        m.submodules.windows = windows = Windows(config)
        m.submodules.lines = lines = Memory(shape=8, depth=config.image_depth, init=[])
        write, read = lines.write_port(), lines.read_port()

        # Bytes of the rows in the buffer lie side by side: byte b of ring row r is at b*window_rows + r.
        pixel, here = Signal(17), Signal(17)  # window_rows * the pixel's first byte, and the byte at hand
        ring, line = Signal(4), Signal(4)  # ring row that is written, and read
        channel, count, group, offset = Signal(5), Signal(4), Signal(4), Signal(12)
        window, stored, pushed = Signal(range(15 * 15 * 31 + 1)), Signal(17), Signal()
        last_channel, outside, emitting = Signal(), Signal(), Signal()
        m.d.sync += [window.eq(pack.window_rows * pack.window_columns * pack.channels), pushed.eq(0)]
        m.d.comb += [
            raster.pack.eq(pack), raster.begin.eq(self.begin),
            windows.length.eq(window), windows.byte.eq(read.data), windows.push.eq(pushed),
            last_channel.eq(channel == pack.channels - 1), stored.eq(here + ring),
            write.addr.eq(stored), write.data.eq(self.i.payload), read.addr.eq(here + line),
        ]

        def following(row):
            return Mux(row == pack.window_rows - 1, 0, row + 1)

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [value.eq(0) for value in (pixel, here, ring, channel, group)]
                with m.If(self.begin):
                    m.next = "Check"
            with m.State("Check"):
                m.next = "Receive"
                with m.If(window > config.word):
                    m.d.comb += outside.eq(1)
                    m.next = "Idle"
            with m.State("Receive"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.comb += [write.en.eq(stored < config.image_depth), outside.eq(~write.en)]
                    m.d.sync += [here.eq(here + pack.window_rows), channel.eq(channel + 1)]
                    with m.If(last_channel):
                        m.d.sync += channel.eq(0)
                        with m.If(raster.row_used):
                            m.d.sync += [here.eq(pixel), line.eq(following(ring)), count.eq(0)]
                            m.next = "Push"
                        with m.Else():
                            m.next = "Next"
            with m.State("Push"):
                m.d.sync += [pushed.eq(1), here.eq(here + pack.window_rows), channel.eq(channel + 1)]
                with m.If(last_channel):
                    m.d.sync += [channel.eq(0), line.eq(following(line)), count.eq(count + 1)]
                    with m.If(count == pack.window_rows - 1):
                        m.next = "Settle"
                    with m.Else():
                        m.d.sync += here.eq(pixel)
            with m.State("Settle"):  # the last byte is read and enters the window
                m.next = "Next"
                with m.If(raster.emits):
                    m.next = "Emit"
            with m.State("Emit"):
                m.d.comb += emitting.eq(1)
                m.d.sync += [group.eq(group + 1), offset.eq(offset + self.channel_words)]
                with m.If(group == self._groups - 1):
                    m.d.sync += [group.eq(0), offset.eq(0)]
                    m.d.comb += self.walk_step.eq(1)
                    m.next = "Next"
            with m.State("Next"):  # `here` is past the pixel's bytes, or past the row's
                m.d.comb += raster.step.eq(1)
                m.d.sync += pixel.eq(here)
                m.next = "Receive"
                with m.If(raster.row_end):
                    m.d.sync += [pixel.eq(0), here.eq(0), ring.eq(following(ring))]
                with m.If(raster.last):
                    m.d.comb += self.finished.eq(1)
                    m.next = "Idle"
        self._store(m, windows.planes, group, offset, emitting, outside)
        return m

    def _store(self, m, planes, group, offset, emitting, outside):
        """Register the word of plane group `group`; planes in front of the image's eight are zero."""
        config, store = self._config, self.store
        count = self._groups * config.N
        address = Signal(19)
        inside = address < config.activation_depth
        m.d.comb += [address.eq(self.address + offset), self.fault.eq(outside | (emitting & ~inside))]
        m.d.sync += [
            store.bank.eq(self.bank), store.address.eq(address),
            store.enable.eq((emitting & inside).replicate(len(store.enable))),
        ]
        for j in range(config.N):
            bits = [count - 1 - plane for plane in range(j, count, config.N)]
            words = Array(planes[bit] if bit < IMAGE_PLANES else Const(0, config.word) for bit in bits)
            m.d.sync += store.data[j * config.word : (j + 1) * config.word].eq(words[group])
