"""The writer: levels become bit planes in the activation memory, or sums become words of the result memory."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arch import timing
from hw.arch.config import Config, Space
from hw.arch.isa import Conv, Values, Walk
from hw.layouts import code_layout, layout_of
from hw.pipeline import below, delayed
from hw.rounds import Rounds
from hw.threshold import COUNT_BITS, LEVEL_BITS

LEVELS = 1 << COUNT_BITS
CODE_PLANES = 8
HEAD = 3  # a sum asked for to the sum


def store_layout(config: Config) -> data.StructLayout:
    """A write to the activation memory; `enable` has a bit per plane and slice of a word."""
    return data.StructLayout({
        "bank": range(max(2, config.pixel_lanes)), "address": 18, "data": config.N * config.word,
        "enable": config.N * config.slices,
    })


class Encoder(wiring.Component):
    """Planes of `channel_lanes` levels: `bits[j]` holds plane group*N + j of every channel.

    The first `upper` planes are those of the levels' upper halves. `mask` has a one for each channel lane in use; the
    others give zeros. Two cycles, one group per cycle.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "code": In(code_layout()), "group": In(4), "upper": In(COUNT_BITS),
            "levels": In(data.ArrayLayout(LEVEL_BITS, config.channel_lanes)), "mask": In(config.channel_lanes),
            "bits": Out(data.ArrayLayout(config.channel_lanes, config.N)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        mask = Signal.like(self.mask)
        m.d.sync += mask.eq(self.mask)
        table = Cat(self.code[0], self.code[1])
        for j in range(config.N):
            # First the plane of this group from every level's byte, then every channel's level from that column.
            column = Signal(LEVELS, name=f"column{j}")
            for level in range(LEVELS):
                byte = table[level * CODE_PLANES : (level + 1) * CODE_PLANES]
                planes = [byte[p] for p in range(j, CODE_PLANES, config.N)] or [0]
                m.d.sync += column[level].eq(Array([*planes, 0])[self.group])
            halves = [Signal(COUNT_BITS, name=f"half{j}_{c}") for c in range(config.channel_lanes)]
            upper = self.upper > self.group * config.N + j
            for half, level in zip(halves, self.levels, strict=True):
                m.d.sync += half.eq(Mux(upper, level[COUNT_BITS:], level[:COUNT_BITS]))
            bits = Cat(column.bit_select(half, 1) for half in halves)
            m.d.sync += self.bits[j].eq(bits & mask)
        return m


class Writer(wiring.Component):
    """Take the pixel groups in order, lane after lane, out of the threshold units.

    Members
    -------
    conv, values, walk, code, begin : the layer, and its start
    done : levels (or sums, or nothing) of a group are ready in pixel lane 0, in lane k k*N cycles later
    levels[k], head, pop : pixel lane k's levels; the sum at the head of `pop_lane`, `pop_chain`, `HEAD` cycles later;
        take it
    walk_step, walk_begin : commands to the `TargetWalk`; its bank and address follow two cycles later
    bank, address : from the `TargetWalk`
    store, storing : to the activation memory; whether there is a word, or would be if its address were inside
    stores_next : `storing` in the next cycle
    result, result_address, result_enable : to the result memory
    group_done : everything of a group is written
    fault : a write outside a memory was asked for; it is not done

    A pixel takes `hw.arch.timing.write_steps`, the first one `write_wait` more; a group ends with its last pixel.
    """

    def __init__(self, config: Config):
        self._config = config
        lane_levels = data.ArrayLayout(LEVEL_BITS, config.channel_lanes)
        super().__init__({
            "conv": In(layout_of(Conv)), "values": In(layout_of(Values)), "walk": In(layout_of(Walk)),
            "code": In(code_layout()), "begin": In(1), "restart": In(1),
            "done": In(1), "levels": In(data.ArrayLayout(lane_levels, config.pixel_lanes)),
            "head": In(config.sum_bits), "pop": Out(1), "pop_lane": Out(range(max(2, config.pixel_lanes))),
            "pop_chain": Out(range(max(2, config.chains))),
            "walk_step": Out(1), "walk_begin": Out(1), "channel_words": In(8),
            "bank": In(exact_log2(config.pixel_lanes)), "address": In(18),
            "store": Out(store_layout(config)), "storing": Out(1), "stores_next": Out(1),
            "result": Out(config.sum_bits), "result_address": Out(range(config.memories[Space.RESULTS].depth)),
            "result_enable": Out(1), "group_done": Out(1), "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, conv = self._config, self.conv
        emit, silent, steps = Signal(), Signal(), Signal(range(max(16, config.channel_lanes + 1)))
        none = conv.levels == 0
        m.d.sync += [
            emit.eq(none & ~self.values.keep),
            silent.eq(none & self.values.keep),  # values only: nothing to do but to say when they are kept
            steps.eq(Mux(none & ~self.values.keep, config.channel_lanes, conv.target_groups)),
        ]
        kept = delayed(m, self.done & silent, timing.lane_skew(config), "kept")

        # Step through lanes and plane groups (or channels), a little later if that would overtake the lanes.
        ready, active = self._wait(m, self.done & ~silent, steps), Signal()
        lane, step = Signal(range(max(2, config.pixel_lanes))), Signal(range(max(16, config.channel_lanes)))
        offset, begin, last_lane = Signal(12), delayed(m, self.begin, 2, "begin"), Signal()
        m.submodules.steps = in_pixel = Rounds(len(steps))
        m.submodules.pixels = pixels = Rounds(len(self.walk.pixels))
        m.d.comb += [
            in_pixel.count.eq(steps), in_pixel.begin.eq(begin), in_pixel.step.eq(active),
            pixels.count.eq(self.walk.pixels), pixels.begin.eq(begin), pixels.step.eq(active & in_pixel.last),
            last_lane.eq((lane == config.pixel_lanes - 1) | pixels.last),
        ]
        with m.If(active):
            m.d.sync += [step.eq(step + 1), offset.eq(offset + self.channel_words)]
            with m.If(in_pixel.last):
                m.d.sync += [step.eq(0), offset.eq(0), lane.eq(lane + 1)]
                with m.If(last_lane):
                    m.d.sync += [lane.eq(0), active.eq(0)]
        with m.If(ready):
            m.d.sync += active.eq(1)

        # Row groups: the slice of the word, the word, and the channel lanes in use.
        group_end, row_end = Signal(), Signal()
        part, word, rows = Signal(range(max(2, config.slices))), Signal(8), Signal(12)
        m.d.comb += [
            group_end.eq(active & in_pixel.last & last_lane), row_end.eq(group_end & pixels.last),
        ]
        m.d.sync += [self.walk_step.eq(active & in_pixel.last), self.walk_begin.eq(self.begin | row_end)]
        with m.If(row_end):
            m.d.sync += [rows.eq(rows + 1), part.eq(part + 1)]
            with m.If(part == config.slices - 1):
                m.d.sync += [part.eq(0), word.eq(word + 1)]
        with m.If(self.begin):
            m.d.sync += [rows.eq(0), part.eq(0), word.eq(0)]
        self._encode(m, *(delayed(m, value, 1, "written") for value in (
            active & ~emit, lane, step, (offset + word)[: len(offset)], part, rows == conv.row_groups - 1)))
        self._emit(m, active & emit, lane, step)
        ended = [group_end | kept, *(Signal(name=f"ended{n}") for n in range(timing.STORE - 1)), self.group_done]
        m.d.sync += [later.eq(earlier) for earlier, later in zip(ended, ended[1:], strict=False)]
        return m

    def _wait(self, m, done, steps):
        """`done`, `hw.arch.timing.write_wait` cycles later."""
        waits = [timing.write_wait(self._config, n) for n in range(max(16, self._config.channel_lanes + 1))]
        if not waits[1]:
            return done
        wait, waiting, count = Signal(range(waits[0] + 1)), Signal(), Signal(range(waits[0] + 1))
        m.d.comb += wait.eq(Array(waits)[steps])
        m.d.sync += count.eq(count - waiting)
        with m.If(waiting & (count == 0)):
            m.d.sync += waiting.eq(0)
        with m.If(done & (wait != 0)):
            m.d.sync += [waiting.eq(1), count.eq(wait - 1)]
        return Mux(wait == 0, done, waiting & (count == 0))

    def _encode(self, m, valid, lane, step, offset, part, last_row):
        """Two cycles of encoding while the address follows; then the store."""
        config = self._config
        m.submodules.encoder = encoder = Encoder(config)
        two = self.conv.search & (self.conv.levels > COUNT_BITS)
        m.d.sync += encoder.upper.eq(Mux(two, self.conv.levels - COUNT_BITS, 0))
        in_use = Signal(config.channel_lanes)
        m.d.sync += in_use.eq(Array([(1 << n) - 1 for n in range(config.channel_lanes + 1)])[self.conv.last_channels])
        levels = Array(self.levels[k] for k in range(config.pixel_lanes))[lane]
        m.d.comb += [
            encoder.code.eq(self.code), encoder.group.eq(step), encoder.levels.eq(levels),
            encoder.mask.eq(Mux(last_row, in_use, (1 << config.channel_lanes) - 1)),
        ]
        valid1, valid2 = Signal(), Signal()
        inner, part1, part2 = Signal(12), Signal.like(part), Signal.like(part)
        address = Signal(19)
        m.d.sync += [
            valid1.eq(valid), inner.eq(offset), part1.eq(part),
            valid2.eq(valid1), part2.eq(part1), address.eq(self.address + inner), self.store.bank.eq(self.bank),
        ]
        inside = below(address, config.activation_depth)
        m.d.comb += [
            self.store.address.eq(address), self.storing.eq(valid2), self.stores_next.eq(valid1),
            self.fault.eq(valid2 & ~inside),
        ]
        for j in range(config.N):
            for n in range(config.slices):
                low = j * config.word + n * config.channel_lanes
                m.d.comb += [
                    self.store.data[low : low + config.channel_lanes].eq(Mux(part2 == n, encoder.bits[j], 0)),
                    # The first slice clears the rest of its word: bits of channels that do not exist stay zero.
                    self.store.enable[j * config.slices + n].eq(valid2 & inside & ((part2 == n) | (part2 == 0))),
                ]

    def _emit(self, m, valid, lane, step):
        """One sum per cycle; results go to consecutive words from `restart` on."""
        config = self._config
        m.d.comb += [
            self.pop.eq(valid), self.pop_lane.eq(lane),
            self.pop_chain.eq(Array(c // config.chain_channels for c in range(config.channel_lanes))[step]),
        ]
        count, enable = Signal(17), delayed(m, valid, HEAD + 1, "emitting")
        m.d.sync += self.result.eq(self.head)
        inside = below(count, config.result_depth)
        m.d.comb += [self.result_address.eq(count), self.result_enable.eq(enable & inside)]
        with m.If(enable):
            m.d.sync += count.eq(count + 1)
            with m.If(~inside):
                m.d.comb += self.fault.eq(1)
        with m.If(self.restart):
            m.d.sync += count.eq(0)
