"""The feeder: turns issued words into operands, one word for every lane every cycle.

All pixel lanes of a word sit `rotate` banks from their own bank (`sw.compiler.layout` argues why), so one rotation of
the addresses and one of the data replace a crossbar, and lanes never meet in a bank.
"""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arch import timing
from hw.arch.config import Config, Space
from hw.arch.isa import Padding, Source, Tap, Walk
from hw.layouts import issue_layout, layout_of, step_layout
from hw.pipeline import below, delayed
from hw.walk import LaneWalk, lane_layout


def rotated(values, amount):
    """`values[(k + amount) mod len(values)]` for every k; the length is a power of two."""
    lanes = len(values)
    return [Array(values[(k + turn) % lanes] for turn in range(lanes))[amount] for k in range(lanes)]


class LaneAddresses(wiring.Component):
    """Where each pixel lane reads, and whether its tap lies inside the image.

    Members
    -------
    lanes, source, tap, inner : the lanes' origins, the tensor, and the word asked for
    wrapped : inner + source.pixel_words, for lanes whose tap lies in the next row of banks
    rotate : banks that bank b is ahead of the lane it serves, two cycles later
    inside[k], void[k], addresses[k] : lane k's, two cycles later
    """

    def __init__(self, config: Config):
        self._config = config
        lanes = config.pixel_lanes
        super().__init__({
            "lanes": In(data.ArrayLayout(lane_layout(), lanes)), "source": In(layout_of(Source)),
            "tap": In(layout_of(Tap)), "inner": In(12), "wrapped": In(13),
            "rotate": Out(exact_log2(lanes)), "inside": Out(data.ArrayLayout(1, lanes)),
            "void": Out(data.ArrayLayout(1, lanes)), "addresses": Out(data.ArrayLayout(signed(20), lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, source, tap = self._config.pixel_lanes, self.source, self.tap
        near, far = Signal(signed(19), reset_less=True), Signal(signed(19), reset_less=True)
        anchor = delayed(m, tap.anchor, 1, "anchor", reset_less=True)
        m.d.sync += [near.eq(tap.offset + self.inner), far.eq(tap.offset + self.wrapped)]
        m.d.comb += self.rotate.eq(delayed(m, tap.rotate, 2, "rotate", reset_less=True))
        for k in range(lanes):
            lane = self.lanes[k]
            row, column = (Signal(signed(15), name=f"{name}{k}", reset_less=True) for name in ("row", "column"))
            valid, address, wraps = (delayed(m, value, 1, f"{name}{k}", reset_less=True) for name, value in (
                ("valid", lane.valid), ("address", lane.address), ("wraps", tap.rotate + k >= lanes)))
            m.d.sync += [row.eq(lane.row + tap.dy), column.eq(lane.column + tap.dx)]
            inside = valid & (row >= 0) & (row < source.rows) & (column >= 0) & (column < source.columns)
            for output, value in (
                (self.inside[k], inside), (self.void[k], anchor & ~inside),
                (self.addresses[k], (address + Mux(wraps, far, near))[:20].as_signed()),
            ):
                m.d.comb += output.eq(delayed(m, value, 1, f"output{k}", reset_less=True))
        return m


class Feeder(wiring.Component):
    """Operands for the array.

    Members
    -------
    issue : one word per cycle, no back-pressure
    begin : start of a layer; `source` and `walk` hold during the layer, `ready` once the first pixels are prepared
    tap_address, tap : the tap memory
    weight_address, weight_words : the weight memories, all banks at one address
    read_address, read_data : the activation memory
    probe, probe_address : read this address of all banks instead; `probed` has the words three cycles later
    weights, step : for column 0, `hw.arch.timing.FEED` cycles after `issue`
    activations, enables, voids : for all columns or pixel lanes, skewed as the array wants them
    fault : a word outside the activation memory was asked for; it is not read
    """

    def __init__(self, config: Config):
        self._config = config
        activations = config.memories[Space.ACTIVATIONS]
        plane_words = data.ArrayLayout(config.word, config.N)
        super().__init__({
            "issue": In(issue_layout(config)), "begin": In(1), "ready": Out(1),
            "source": In(layout_of(Source)), "walk": In(layout_of(Walk)),
            "tap_address": Out(range(config.tap_depth)), "tap": In(layout_of(Tap)),
            "weight_address": Out(range(config.weight_depth)),
            "weight_words": In(data.ArrayLayout(config.word, config.row_lanes)),
            "read_address": Out(data.ArrayLayout(range(activations.depth), config.pixel_lanes)),
            "read_data": In(data.ArrayLayout(activations.bits, config.pixel_lanes)),
            "probe": In(1), "probe_address": In(range(activations.depth)),
            "probed": Out(data.ArrayLayout(activations.bits, config.pixel_lanes)),
            "weights": Out(data.ArrayLayout(config.word, config.row_lanes)), "step": Out(step_layout(config)),
            "activations": Out(data.ArrayLayout(plane_words, config.pixel_lanes)),
            "enables": Out(data.ArrayLayout(config.N, config.pixel_lanes)),
            "voids": Out(data.ArrayLayout(1, config.pixel_lanes)),
            "fault": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, lanes = self._config, self._config.pixel_lanes
        issue, valid = [self.issue], [self.issue.valid]
        for n in range(1, timing.FEED):
            issue.append(Signal.like(self.issue, name=f"issue{n}", reset_less=True))
            valid.append(Signal(name=f"valid{n}"))
            m.d.sync += issue[n].eq(issue[n - 1])
            m.d.sync += valid[n].eq(valid[n - 1])

        # 0, 1: fetch the tap; the first word of a pixel group takes over the prepared lanes.
        m.submodules.walk = walk = LaneWalk(config)
        here = Signal(data.ArrayLayout(lane_layout(), lanes), reset_less=True)
        m.d.comb += [
            walk.source.eq(self.source), walk.walk.eq(self.walk), walk.begin.eq(self.begin), self.ready.eq(walk.full),
            walk.take.eq(valid[1] & issue[1].swap),
            self.tap_address.eq(self.issue.tap),
        ]
        with m.If(walk.take):
            m.d.sync += here.eq(walk.lanes)
        tap, wrapped = delayed(m, self.tap, 1, "tap", reset_less=True), Signal(13, reset_less=True)
        m.d.sync += wrapped.eq(issue[1].inner + self.source.pixel_words)

        # 2, 3: lane addresses.
        m.submodules.addresses = addresses = LaneAddresses(config)
        m.d.comb += [
            addresses.lanes.eq(here), addresses.source.eq(self.source), addresses.tap.eq(tap),
            addresses.inner.eq(issue[2].inner), addresses.wrapped.eq(wrapped),
        ]

        # 4: lanes to banks.
        missed = Signal(lanes)
        m.d.sync += self.fault.eq(missed.any())
        to_banks = rotated([addresses.addresses[k] for k in range(lanes)], (-addresses.rotate)[: len(addresses.rotate)])
        for k in range(lanes):
            address = addresses.addresses[k]
            outside = ~below(address.as_unsigned(), config.activation_depth)  # or negative
            m.d.comb += missed[k].eq(valid[4] & addresses.inside[k] & outside)
            bank_address = Mux(self.probe, self.probe_address, to_banks[k][: len(self.probe_address)])
            m.d.comb += self.read_address[k].eq(delayed(m, bank_address, 1, f"read{k}", reset_less=True))

        # 5: read. 6: away from the memory. 7: banks to lanes; taps outside the image read zero, and count only with
        # Padding.LOW.
        rotate6 = delayed(m, addresses.rotate, 3, "rotate", reset_less=True)
        inside6 = delayed(m, addresses.inside, 3, "inside", reset_less=True)
        m.d.comb += self.weight_address.eq(issue[6].weight)
        m.d.comb += [
            self.weights.eq(delayed(m, self.weight_words, 1, "weights", reset_less=True)),
            self.probed.eq(delayed(m, self.read_data, 1, "probed", reset_less=True)),
        ]
        words = rotated([self.probed[b] for b in range(lanes)], rotate6)
        void6 = delayed(m, addresses.void, 3, "void", reset_less=True)
        low = self.source.padding == Padding.LOW
        for k in range(lanes):
            word = Signal(config.N * config.word, name=f"word{k}", reset_less=True)
            enable, void = Signal(name=f"enable{k}"), Signal(name=f"void{k}")
            m.d.sync += [
                word.eq(Mux(inside6[k], words[k], 0)), enable.eq(valid[7] & (inside6[k] | low)),
                void.eq(valid[7] & void6[k]),
            ]
            m.d.comb += self.voids[k].eq(delayed(m, void, (k + 1) * config.N - 1, f"void{k}"))
            for j in range(config.N):
                plane = word[j * config.word : (j + 1) * config.word]
                m.d.comb += [
                    self.activations[k][j].eq(delayed(m, plane, k * config.N + j, f"word{k}_{j}", reset_less=True)),
                    self.enables[k][j].eq(delayed(m, enable, k * config.N + j, f"enable{k}_{j}")),
                ]
        for name in ("clear", "shift", "last"):
            m.d.sync += self.step[name].eq(valid[7] & issue[7][name])
        m.d.sync += [self.step[name].eq(issue[7][name]) for name in ("count", "split", "place")]
        return m
