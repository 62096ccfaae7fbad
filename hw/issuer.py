"""The issuer: the loops of a layer, one word per cycle.

    for row group, pixel group, pool position, weight pass, activation pass, tap, channel word

It keeps the distances that the drain, the thresholds and the writer need (`hw.arch.timing`), so nothing behind it
ever has to wait.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config
from hw.arch.isa import Conv, Source, Walk
from hw.layouts import issue_layout, layout_of


class Issuer(wiring.Component):
    """Issue the words of one layer.

    Members
    -------
    source, walk, conv : the layer; they hold while `active`
    begin : start; the first word is issued in the next cycle
    period : least cycles between the ends of two pixel groups
    issue : a cycle late; `group` with its last word of a pixel group; `active` until the layer is issued
    fault : a tap or weight outside its memory was asked for; it is not issued
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "source": In(layout_of(Source)), "walk": In(layout_of(Walk)), "conv": In(layout_of(Conv)),
            "begin": In(1), "period": In(16), "issue": Out(issue_layout(config)), "group": Out(1), "active": Out(1),
            "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, source, walk, conv = self._config, self.source, self.walk, self.conv
        word, tap, j, i = Signal(8), Signal(10), Signal(4), Signal(4)
        position, pixel, row = Signal(8), Signal(21), Signal(12)
        go = Signal()

        # Ends of the loops, innermost first.
        ends = [Signal(name=f"end_{name}") for name in ("word", "tap", "j", "i", "position", "pixels", "rows")]
        row_end = pixel + config.pixel_lanes >= walk.pixels
        inner = 1
        for end, at_end in zip(ends, (
            word == source.channel_words - 1, tap == walk.taps - 1, j == conv.activation_passes - 1,
            i == conv.weight_passes - 1, position == walk.positions - 1, row_end, row == conv.row_groups - 1,
        ), strict=True):
            m.d.comb += end.eq(inner & at_end)
            inner = end
        end_word, end_tap, end_j, end_i, end_position, end_pixels, end_rows = ends
        last = Mux(conv.fused, end_j, end_tap)

        counters = (
            (word, end_word), (tap, end_tap), (j, end_j), (i, end_i), (position, end_position), (pixel, end_pixels),
            (row, end_rows))
        advance = 1
        for counter, end in counters:
            step = config.pixel_lanes if counter is pixel else 1
            with m.If(go & advance):
                m.d.sync += counter.eq(Mux(end, 0, counter + step))
            advance = end
        with m.If(self.begin):
            m.d.sync += [self.active.eq(1), *(counter.eq(0) for counter, _ in counters)]
        with m.Elif(go & end_rows):
            m.d.sync += self.active.eq(0)

        # Distances between the ends of passes and of pixel groups.
        pass_wait, group_wait = Signal(range(config.chain + 1)), Signal.like(self.period)
        m.d.comb += go.eq(self.active & ~(last & (pass_wait != 0)) & ~(end_position & (group_wait != 0)))
        m.d.sync += [pass_wait.eq(pass_wait - (pass_wait != 0)), group_wait.eq(group_wait - (group_wait != 0))]
        with m.If(go & last):
            m.d.sync += pass_wait.eq(config.chain - 1)
        with m.If(self.begin | (go & end_position)):
            m.d.sync += group_wait.eq(self.period - 1)

        taps, offset, weight = self._pointers(m, go, ends)
        first_word, place, issue = (word == 0) & (tap == 0), self.issue.place, self.issue
        inside = (taps < config.tap_depth) & (weight < config.weight_depth)
        m.d.comb += self.fault.eq(go & ~inside)
        m.d.sync += [
            issue.valid.eq(go & inside), issue.tap.eq(taps), issue.inner.eq(offset), issue.weight.eq(weight),
            issue.count.eq(Mux(end_word, source.tail_bits, config.word)),
            issue.swap.eq(first_word & (j == 0) & (i == 0) & (position == 0)),
            issue.clear.eq(first_word & ((j == 0) | ~conv.fused)), issue.shift.eq(first_word & (j != 0) & conv.fused),
            issue.last.eq(last), place.first_pass.eq((i == 0) & ((j == 0) | conv.fused)),
            place.final_pass.eq(end_i), place.first_position.eq(position == 0),
            place.final_position.eq(position == walk.positions - 1), place.row_end.eq(row_end),
            self.group.eq(go & end_position),
        ]
        return m

    def _pointers(self, m, go, ends):
        """Tap address, word offset inside a pixel and weight address of the word at hand."""
        source, walk, conv = self.source, self.walk, self.conv
        end_word, end_tap, end_j, end_i, end_position, end_pixels, _ = ends
        tap, tap_first = Signal(13), Signal(13)
        offset, offset_first = Signal(12), Signal(12)
        weight, weight_tap, weight_pass, weight_row = (
            Signal(17, name=f"weight{name}") for name in ("", "_tap", "_pass", "_row"))
        left = Signal.like(walk.repeat)  # taps that still share the weights
        with m.If(go):
            m.d.sync += [offset.eq(offset + 1), weight.eq(weight + 1)]
            with m.If(end_word):
                m.d.sync += [tap.eq(tap + 1), offset.eq(offset_first), left.eq(left - 1)]
                with m.If(left == 0):
                    m.d.sync += [weight_tap.eq(weight + 1), left.eq(walk.repeat - 1)]
                with m.Else():
                    m.d.sync += weight.eq(weight_tap)
            with m.If(end_tap):  # the next activation pass takes the same weights and taps
                following = offset_first + source.channel_words
                m.d.sync += [
                    tap.eq(tap_first), offset.eq(following), offset_first.eq(following), left.eq(walk.repeat - 1),
                    *(pointer.eq(weight_pass) for pointer in (weight, weight_tap)),
                ]
            with m.If(end_j):
                m.d.sync += [offset.eq(0), offset_first.eq(0)]
                m.d.sync += [pointer.eq(weight + 1) for pointer in (weight, weight_tap, weight_pass)]
            with m.If(end_i):  # the next position takes the row group's weights again
                m.d.sync += [tap.eq(tap + 1), tap_first.eq(tap + 1)]
                m.d.sync += [pointer.eq(weight_row) for pointer in (weight, weight_tap, weight_pass)]
            with m.If(end_position):
                m.d.sync += [tap.eq(walk.tap_base), tap_first.eq(walk.tap_base)]
            with m.If(end_pixels):
                m.d.sync += [pointer.eq(weight + 1) for pointer in (weight, weight_tap, weight_pass, weight_row)]
        with m.If(self.begin):
            m.d.sync += [
                tap.eq(walk.tap_base), tap_first.eq(walk.tap_base), offset.eq(0), offset_first.eq(0),
                left.eq(walk.repeat - 1),
                *(pointer.eq(conv.weights) for pointer in (weight, weight_tap, weight_pass, weight_row)),
            ]
        return tap, offset, weight
