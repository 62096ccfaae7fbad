"""The intake: takes the image stream while the rest of the core is at work."""

from amaranth.hdl import EnableInserter, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config
from hw.arch.isa import Load, Pack, Target
from hw.interfaces import write_layout
from hw.layouts import layout_of
from hw.loader import Loader
from hw.packer import Packer, level_shape
from hw.walk import TargetWalk
from hw.writer import store_layout


class Intake(wiring.Component):
    """A line buffer, which takes bytes whenever it has room, and packer and loader, which empty it.

    Members
    -------
    i : the image stream
    pack, target, pack_begin : the instruction and its set-up, copied a cycle after `pack_begin`, which must not come
        while `busy`, that is from two cycles after it on
    load, load_begin : likewise
    busy : until all is stored; for ever after a fault
    fault : an access outside a memory; it is not made
    store, storing : to the activation memory; whether there is a word, or would be if its address were inside
    loaded, loading : a word for another memory, and whether there is one
    blocked : no word is stored or loaded in the next cycle
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(8)), "pack": In(layout_of(Pack)), "target": In(layout_of(Target)),
            "pack_begin": In(1), "load": In(layout_of(Load)), "load_begin": In(1), "busy": Out(1), "fault": Out(1),
            "store": Out(store_layout(config)), "storing": Out(1),
            "loaded": Out(write_layout(config)), "loading": Out(1), "blocked": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        pack, target, load = Signal.like(self.pack), Signal.like(self.target), Signal.like(self.load)
        starting, started, loads, going = Signal(), Signal(), Signal(), Signal(init=1)
        m.submodules.packer = packer = EnableInserter(going)(Packer(config))
        m.submodules.loader = loader = EnableInserter(going)(Loader(config))
        m.submodules.walk = walk = EnableInserter(going)(TargetWalk(config))
        m.submodules.lines = lines = Memory(shape=8, depth=config.image_depth, init=[])
        write, read = lines.write_port(), lines.read_port()

        # While the next word has to wait, everything before it does; but the buffer fills. A register, for
        # it goes to all of them.
        coming = Mux(going, packer.stores_next | loader.stores_next, packer.storing | loader.storing)
        m.d.sync += going.eq(~(coming & self.blocked))
        m.d.sync += [starting.eq(0), started.eq(starting), loads.eq(0)]  # while no store can wait
        packs, brings = Signal(), Signal()  # copies of the beginnings, which go to every bit of the instructions
        m.d.sync += [packs.eq(self.pack_begin), brings.eq(self.load_begin)]
        with m.If(packs):
            m.d.sync += [pack.eq(self.pack), target.eq(self.target), starting.eq(1), self.busy.eq(1)]
        with m.If(brings):
            m.d.sync += [load.eq(self.load), loads.eq(1), self.busy.eq(1)]
        with m.If((packer.finished | loader.finished) & going):
            m.d.sync += self.busy.eq(0)

        level = Signal(level_shape(config))
        oldest, newest = Signal.like(write.addr), Signal.like(write.addr)
        retired = Mux(going, packer.retire | loader.retire, 0)
        m.d.comb += [
            self.i.ready.eq(level != config.image_depth), write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(newest), write.data.eq(self.i.payload),
            read.addr.eq(oldest + packer.offset), read.en.eq(going),
        ]
        m.d.sync += self.fault.eq(packer.fault | loader.fault)
        m.d.sync += [
            newest.eq(newest + write.en), oldest.eq(oldest + retired), level.eq(level + write.en - retired),
        ]
        m.d.comb += [
            packer.pack.eq(pack), packer.begin.eq(starting), packer.level.eq(level), packer.byte.eq(read.data),
            packer.bank.eq(walk.bank), packer.address.eq(walk.address), packer.channel_words.eq(target.channel_words),
            walk.target.eq(target), walk.begin.eq(started), walk.step.eq(packer.walk_step),
            self.store.eq(packer.store), self.storing.eq(packer.storing & going),
            self.store.enable.eq(Mux(going, packer.store.enable, 0)),
            loader.load.eq(load), loader.begin.eq(loads), loader.level.eq(level), loader.byte.eq(read.data),
            self.loaded.eq(loader.store), self.loading.eq(loader.storing & going),
        ]
        return m
