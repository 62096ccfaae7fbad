"""The issuer: the loops of a layer, one word per cycle.

    for row group, pixel group, pool position, weight pass, activation pass, tap, channel word

It keeps the distances that the drain, the thresholds and the writer need (`hw.arch.timing`), so nothing behind it
ever has to wait.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arch import timing
from hw.arch.config import Config
from hw.arch.isa import Conv, Source, Walk
from hw.layouts import issue_layout, layout_of
from hw.pipeline import below
from hw.rounds import Rounds, countdown


class Issuer(wiring.Component):
    """Issue the words of one layer.

    Members
    -------
    source, walk, conv : the layer; they hold from two cycles before `begin` on and while `active`
    begin : start; the first word is issued in the next cycle
    period : least cycles between the ends of two pixel groups, settled in the cycle before `begin`; the first one may
        end `hw.arch.timing.least_period` cycles after `begin`
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
        groups = Signal(20)
        go = Signal()
        m.d.sync += groups.eq((walk.pixels + (config.pixel_lanes - 1)) >> exact_log2(config.pixel_lanes))

        # The loops, innermost first; `ends[n]` ends loop n and all inside it.
        loops, ends, inner = [], [], 1
        for name, count in (
            ("words", source.channel_words), ("taps", walk.taps), ("activation_passes", conv.activation_passes),
            ("weight_passes", conv.weight_passes), ("positions", walk.positions), ("groups", groups),
            ("rows", conv.row_groups),
        ):
            m.submodules[name] = loop = Rounds(len(count))
            m.d.comb += [loop.count.eq(count), loop.begin.eq(self.begin), loop.step.eq(go & inner)]
            loops.append(loop)
            inner = Signal(name=f"end_{name}")
            m.d.comb += inner.eq(Cat(each.last for each in loops).all())
            ends.append(inner)
        words, taps, js, weight_passes, positions, pixels, _ = loops
        end_word, end_tap, end_j, end_i, end_position, _, end_rows = ends
        last = Mux(conv.fused, end_j, end_tap)
        with m.If(self.begin):
            m.d.sync += self.active.eq(1)
        with m.Elif(go & end_rows):
            m.d.sync += self.active.eq(0)

        # Distances between the ends of passes and of pixel groups.
        pass_due = countdown(m, go & last, Const(config.chain - 1), "pass")
        rest = Signal.like(self.period)
        m.d.sync += rest.eq(self.period - 1)
        least = Const(timing.least_period(config) - 1, len(rest))
        group_due = countdown(m, self.begin | (go & end_position), Mux(self.begin, least, rest), "group")
        m.d.comb += go.eq(self.active & (~last | pass_due) & (~end_position | group_due))

        tap, offset, weight = self._pointers(m, go, ends)
        count = Signal.like(self.issue.count)  # in a pixel's last word
        m.d.sync += count.eq(source.tail_bits + Mux(conv.split & config.splits, source.tail_bits << config.N, 0))
        first_word, place, issue = words.first & taps.first, self.issue.place, self.issue
        inside = below(tap, config.tap_depth) & below(weight, config.weight_depth)
        m.d.comb += self.fault.eq(go & ~inside)
        m.d.sync += [
            issue.valid.eq(go & inside), issue.tap.eq(tap), issue.inner.eq(offset), issue.weight.eq(weight),
            issue.count.eq(Mux(end_word, count, config.word)), issue.split.eq(conv.split),
            issue.swap.eq(first_word & js.first & weight_passes.first & positions.first),
            issue.clear.eq(first_word & (js.first | ~conv.fused)), issue.shift.eq(first_word & ~js.first & conv.fused),
            issue.last.eq(last), place.first_pass.eq(weight_passes.first & (js.first | conv.fused)),
            place.final_pass.eq(end_i), place.first_position.eq(positions.first),
            place.final_position.eq(positions.last), place.row_end.eq(pixels.last), self.group.eq(go & end_position),
        ]
        return m

    def _pointers(self, m, go, ends):
        """Tap address, word offset inside a pixel and weight address of the word at hand."""
        source, walk, conv = self.source, self.walk, self.conv
        end_word, end_tap, end_j, end_i, end_position, end_pixels, _ = ends
        tap, tap_first = (Signal(13, name=name) for name in ("tap", "tap_first"))
        offset, offset_first = (Signal(12, name=name) for name in ("offset", "offset_first"))
        weight, weight_tap, weight_pass, weight_row = (
            Signal(17, name=f"weight{name}") for name in ("", "_tap", "_pass", "_row"))
        m.submodules.sharing = sharing = Rounds(len(walk.repeat))  # taps that share their weights
        m.d.comb += [
            sharing.count.eq(walk.repeat), sharing.begin.eq(self.begin | (go & end_tap)),
            sharing.step.eq(go & end_word),
        ]
        with m.If(go):
            m.d.sync += [offset.eq(offset + 1), weight.eq(weight + 1)]
            with m.If(end_word):
                m.d.sync += [tap.eq(tap + 1), offset.eq(offset_first)]
                with m.If(sharing.last):
                    m.d.sync += weight_tap.eq(weight + 1)
                with m.Else():
                    m.d.sync += weight.eq(weight_tap)
            with m.If(end_tap):  # the next activation pass takes the same weights and taps
                following = offset_first + source.channel_words
                m.d.sync += [
                    tap.eq(tap_first), offset.eq(following), offset_first.eq(following),
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
                *(pointer.eq(conv.weights) for pointer in (weight, weight_tap, weight_pass, weight_row)),
            ]
        return tap, offset, weight
