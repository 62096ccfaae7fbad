"""The core: sequencer, feeder, array, thresholds, writer and their memories, behind the host's three streams."""

from types import SimpleNamespace

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import timing
from hw.arch.config import Config, Space
from hw.arch.isa import LOADABLE
from hw.array import Array
from hw.drain import Drain
from hw.feeder import Feeder
from hw.intake import Intake
from hw.interfaces import read_layout, status_layout, word_bits, write_layout
from hw.issuer import Issuer
from hw.layouts import compare_layout
from hw.memory import Banks
from hw.pipeline import delayed
from hw.sequencer import Sequencer
from hw.threshold import Comparer, Threshold
from hw.values import ValueLane
from hw.walk import TargetWalk
from hw.writer import Writer

PROBE = 4  # a request of the host to the word read


class Core(wiring.Component):
    """One accelerator without its link.

    Members
    -------
    i_write : words for the memories; taken every cycle, to be sent only while the core is idle and only to words that
        exist
    i_read, o_read : requests for words of the result, activation and value memories and their answers, in order, five
        cycles later; only while idle
    i_image : image bytes, taken while there is room in the line buffer
    start : run a frame
    reset : stop, forget the frame; memories keep their contents
    status : what `hw.arch.wire.Status` reports
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i_write": In(stream.Signature(write_layout(config))),
            "i_read": In(stream.Signature(read_layout())), "o_read": Out(stream.Signature(word_bits(config))),
            "i_image": In(stream.Signature(8)), "start": In(1), "reset": In(1), "status": Out(status_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        memories = {
            space: Banks(shape, config.channel_lanes if space == Space.ACTIVATIONS else None)
            for space, shape in config.memories.items() if space != Space.VALUES
        }
        for space, banks in memories.items():
            m.submodules[space.name.lower()] = banks

        # Control is reset by the host and flushed after a fault; data in the pipelines needs neither, nor any other
        # reset: what control does not name is never looked at. So the reset need not reach most of the flip-flops.
        # It is a register alone, without a gate on its way to the others.
        m.domains += ClockDomain("data", reset_less=True, local=True)
        m.d.comb += ClockSignal("data").eq(ClockSignal())
        sequencer = Sequencer(config)
        started = delayed(m, self.start, 1, "started")  # not before the host's last word is written
        restart = Signal(init=1)
        flush = Signal(init=1)
        m.d.sync += [restart.eq(self.reset), flush.eq(self.reset | sequencer.flush)]
        for domain, reset in (("program", restart), ("control", flush)):
            m.domains += ClockDomain(domain, local=True)
            m.d.comb += [ClockSignal(domain).eq(ClockSignal()), ResetSignal(domain).eq(reset)]
        m.submodules.sequencer = DomainRenamer("program")(sequencer)

        def control(name, component):
            m.submodules[name] = DomainRenamer("control")(component)
            return component

        units = SimpleNamespace(
            sequencer=sequencer, issuer=control("issuer", Issuer(config)), feeder=control("feeder", Feeder(config)),
            drain=control("drain", Drain(config)), comparer=control("comparer", Comparer(config)),
            writer=control("writer", Writer(config)), intake=control("intake", Intake(config)),
            target=control("target", TargetWalk(config)),
        )
        array = Array(config)
        m.submodules.array = DomainRenamer("data")(array)
        units.values = [ValueLane(config) for _ in range(config.pixel_lanes if config.value_depth else 0)]
        for k, lane in enumerate(units.values):
            m.submodules[f"values{k}"] = lane
        m.d.comb += [sequencer.start.eq(started), self.status.eq(sequencer.status)]
        taken = units.intake.i
        m.d.comb += [
            taken.payload.eq(self.i_image.payload), taken.valid.eq(self.i_image.valid & ~flush),
            self.i_image.ready.eq(taken.ready & ~flush),
        ]
        self._sequence(m, units)
        self._operands(m, units, array, memories)
        self._results(m, units, array)
        self._stores(m, units, memories)
        self._host(m, units, memories)
        return m

    def _sequence(self, m, u):
        """Instructions to the blocks that run them, and what they report back."""
        sequencer, issuer, feeder, writer = u.sequencer, u.issuer, u.feeder, u.writer
        m.d.comb += [
            feeder.source.eq(sequencer.source), feeder.walk.eq(sequencer.walk), feeder.begin.eq(sequencer.prepare),
            feeder.issue.eq(issuer.issue), sequencer.lanes_ready.eq(feeder.ready),
            issuer.source.eq(sequencer.source), issuer.walk.eq(sequencer.walk), issuer.conv.eq(sequencer.conv),
            issuer.begin.eq(sequencer.begin), issuer.period.eq(sequencer.period),
            sequencer.issuing.eq(issuer.active), sequencer.group.eq(issuer.group),
            u.drain.conv.eq(sequencer.conv), u.drain.begin.eq(sequencer.prepare), u.drain.step.eq(feeder.step),
            u.comparer.conv.eq(sequencer.conv), u.comparer.values.eq(sequencer.values),
            u.comparer.begin.eq(sequencer.prepare),
            writer.conv.eq(sequencer.conv), writer.values.eq(sequencer.values),
            writer.walk.eq(sequencer.walk), writer.code.eq(sequencer.code),
            writer.begin.eq(sequencer.prepare), writer.restart.eq(u.sequencer.start),
            writer.done.eq(delayed(m, u.comparer.compare.done, timing.LEVEL - 1, "done")),
            sequencer.group_done.eq(writer.group_done),
            u.intake.pack.eq(sequencer.pack), u.intake.target.eq(sequencer.target),
            u.intake.pack_begin.eq(sequencer.pack_begin),
            u.intake.load.eq(sequencer.load), u.intake.load_begin.eq(sequencer.load_begin),
            sequencer.intake_busy.eq(u.intake.busy), sequencer.intake_fault.eq(u.intake.fault),
            u.target.target.eq(sequencer.target), u.target.begin.eq(writer.walk_begin),
            u.target.step.eq(writer.walk_step),
        ]
        m.d.sync += sequencer.unit_fault.eq(
            Cat(unit.fault for unit in (issuer, feeder, u.drain, u.comparer, writer)).any())

    def _operands(self, m, u, array, memories):
        """Memories to feeder and drain control, and on to the array."""
        taps, weights = memories[Space.TAPS], memories[Space.WEIGHTS]
        coefficients = memories[Space.COEFFICIENTS]
        m.d.comb += [
            taps.read_address[0].eq(u.feeder.tap_address), u.feeder.tap.eq(taps.read_data[0]),
            u.feeder.weight_words.eq(weights.read_data), u.feeder.read_data.eq(memories[Space.ACTIVATIONS].read_data),
            u.drain.words.eq(coefficients.read_data),
            array.weights.eq(u.feeder.weights), array.step.eq(u.feeder.step), array.drain.eq(u.drain.drain),
            array.activations.eq(u.feeder.activations), array.enables.eq(u.feeder.enables),
            array.voids.eq(u.feeder.voids),
        ]
        m.d.comb += [address.eq(u.feeder.weight_address) for address in weights.read_address]
        m.d.comb += [address.eq(u.drain.address) for address in coefficients.read_address]

    def _results(self, m, u, array):
        """Finished sums through the threshold units to the writer; commands follow the lanes' skew."""
        config, comparer, writer, drain = self._config, u.comparer, u.writer, u.drain.drain
        finished = drain.valid & drain.last & drain.place.final_pass & drain.place.final_position
        ended = delayed(m, Cat(finished, drain.place.row_end), timing.COMBINE + config.N - 1, "ended")
        m.d.comb += [comparer.finished.eq(ended[0]), comparer.row_end.eq(ended[1])]

        split = len(comparer.compare.as_value())
        command = Cat(comparer.compare, comparer.access)
        pop_lane, pop_chain = (delayed(m, signal, 1, "popped") for signal in (writer.pop_lane, writer.pop_chain))
        heads = [Signal(config.sum_bits, name=f"head{k}") for k in range(config.pixel_lanes)]
        search = delayed(m, u.sequencer.conv.search, 1, "search")
        for k in range(config.pixel_lanes):
            compare, sums = data.View(compare_layout(config), command[:split]), []
            for chain in range(config.chains):
                threshold = Threshold(config)
                m.submodules[f"threshold{k}_{chain}"] = DomainRenamer("data")(threshold)
                low = chain * config.chain_channels
                m.d.comb += [
                    threshold.final.eq(array.finals[k][chain]), threshold.compare.eq(compare),
                    threshold.search.eq(search),
                    threshold.threshold.eq(compare.thresholds[chain]),
                ]
                chosen = writer.pop & (writer.pop_lane == k) & (writer.pop_chain == chain)
                m.d.sync += threshold.pop.eq(chosen)
                m.d.comb += [
                    writer.levels[k][low + c].eq(threshold.levels[c]) for c in range(config.chain_channels)]
                sums.append(threshold.head)
                if u.values:
                    m.d.comb += [
                        threshold.addend.eq(u.values[k].addends[chain]), u.values[k].sums[chain].eq(threshold.sum)]
            if u.values:
                m.d.comb += [u.values[k].values.eq(u.sequencer.values), u.values[k].access.eq(command[split:])]
            # Two steps from all units to one sum: their multiplexers are far apart.
            m.d.sync += heads[k].eq(Choice(sums)[pop_chain])
            if k < config.pixel_lanes - 1:
                command = delayed(m, command, config.N, f"command{k}")
        m.d.sync += writer.head.eq(Choice(heads)[delayed(m, pop_lane, 1, "pop_lane")])

    def _stores(self, m, u, memories):
        """Writes of the blocks and of the host, who only writes while the core is idle; the intake comes last."""
        config, loads = self._config, u.intake.loading
        host = Signal(write_layout(config))
        written = Signal()
        either = Signal(write_layout(config))
        m.d.data += host.eq(self.i_write.payload)
        m.d.sync += written.eq(self.i_write.valid)
        m.d.comb += [self.i_write.ready.eq(1), either.eq(Mux(loads, u.intake.loaded, host))]
        for space, banks in memories.items():
            word, valid = host, written
            if space in LOADABLE:
                word, valid = either, written | loads
            m.d.comb += [
                banks.write_bank.eq(word.bank), banks.write_address.eq(word.address), banks.write_data.eq(word.data),
                banks.write_enable.eq((valid & (word.space == space)).replicate(len(banks.write_enable))),
            ]
        activations, results = memories[Space.ACTIVATIONS], memories[Space.RESULTS]
        m.d.comb += u.intake.blocked.eq(u.writer.stores_next | self.i_write.valid)
        for source, goes in ((u.writer.store, u.writer.storing), (u.intake.store, u.intake.storing)):
            with m.If(goes):
                m.d.comb += [
                    activations.write_bank.eq(source.bank), activations.write_address.eq(source.address),
                    activations.write_data.eq(source.data), activations.write_enable.eq(source.enable),
                ]
        with m.If(u.writer.result_enable):
            m.d.comb += [
                results.write_bank.eq(0), results.write_address.eq(u.writer.result_address),
                results.write_data.eq(u.writer.result), results.write_enable.eq(1),
            ]
        m.d.comb += [
            u.writer.bank.eq(u.target.bank), u.writer.address.eq(u.target.address),
            u.writer.channel_words.eq(u.sequencer.target.channel_words),
        ]
        m.d.comb += memories[Space.THRESHOLDS].read_address.eq(
            Cat(u.comparer.address for _ in range(config.chains)))
        m.d.comb += u.comparer.words.eq(memories[Space.THRESHOLDS].read_data)
        m.d.comb += memories[Space.PROGRAM].read_address[0].eq(u.sequencer.address)
        m.d.comb += u.sequencer.word.eq(memories[Space.PROGRAM].read_data[0])

    def _host(self, m, u, memories):
        """Reads of the host: the feeder reads the activation memory for it while the core is idle."""
        request, write, feeder = self.i_read.payload, self.i_write.payload, u.feeder
        activations, results = memories[Space.ACTIVATIONS], memories[Space.RESULTS]
        for address, feeder_address in zip(activations.read_address, feeder.read_address, strict=True):
            m.d.comb += address.eq(feeder_address)
        taken, space, bank = Signal(), Signal.like(request.space), Signal.like(request.bank)
        under_way = [taken, *(Signal(name=f"under_way{n}") for n in range(PROBE))]
        m.d.comb += [
            self.i_read.ready.eq(~Cat(under_way[1:]).any() & ~self.o_read.valid),
            taken.eq(self.i_read.valid & self.i_read.ready),
            feeder.probe.eq(~self.status.busy), feeder.probe_address.eq(request.address),
        ]
        m.d.sync += [later.eq(earlier) for earlier, later in zip(under_way, under_way[1:], strict=False)]
        with m.If(taken):
            m.d.sync += [space.eq(request.space), bank.eq(request.bank), results.read_address[0].eq(request.address)]
            m.d.sync += [lane.probe.eq(request.address) for lane in u.values]
        word = Signal(len(self.o_read.payload))
        with m.Switch(space):
            with m.Case(Space.RESULTS):
                m.d.sync += word.eq(results.read_data[0])
            if u.values:
                with m.Case(Space.VALUES):
                    m.d.sync += word.eq(Choice([lane.word for lane in u.values])[bank])
            with m.Default():
                m.d.sync += word.eq(Choice(feeder.probed)[bank])
        for k, lane in enumerate(u.values):
            m.d.comb += [
                lane.idle.eq(~self.status.busy), lane.host.address.eq(write.address), lane.host.data.eq(write.data),
                lane.host.enable.eq(self.i_write.valid & (write.space == Space.VALUES) & (write.bank == k)),
            ]
        with m.If(under_way[-1]):
            m.d.sync += [self.o_read.valid.eq(1), self.o_read.payload.eq(word)]
        with m.If(self.o_read.valid & self.o_read.ready):
            m.d.sync += self.o_read.valid.eq(0)
