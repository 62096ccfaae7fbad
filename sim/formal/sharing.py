"""Contract of what writes the memories: writer, host and intake share ports, and no word of theirs is lost."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import data

from hw.arch.config import Space
from hw.core import Core
from hw.writer import store_layout

from .control import CONFIG
from .opened import Opened
from .prover import Proof
from .stepping import later
from .storage import free


def ports(m: Module, dut: Opened) -> None:
    """A store of writer or host is made at once; the intake's is made when neither has one, and waits until then."""
    core, activations = dut.component, CONFIG.memories[Space.ACTIVATIONS]
    free(m, core.i_write.payload, core.i_write.valid, core.i_read.payload, core.i_read.valid, core.o_read.ready,
         core.i_image.payload, core.i_image.valid, core.start, core.reset)

    # The host's words come a cycle later; it writes only while the core is idle.
    host, written = later(m, core.i_write.payload, 1), later(m, core.i_write.valid, 1)
    writes = dut["writer.storing"]
    m.d.comb += Assume(~(written & writes))

    # The intake stands still when somebody else stores, which is known a cycle ahead.
    going, stores = dut["intake.going"], dut["intake.packer.storing"] | dut["intake.loader.storing"]
    flush = dut["flush"]
    flushed = later(m, flush, 1)
    m.d.comb += [
        Assert(going == ~(stores & later(m, dut["writer.stores_next"] | core.i_write.valid, 1))),
        Assert(writes == (later(m, dut["writer.stores_next"], 1) & ~flushed)), Assert(~flushed | ~stores),
    ]

    # Who stores in the activation memory, and what becomes of it a cycle later.
    writer, intake = (data.View(store_layout(CONFIG), dut[name]) for name in ("writer.store", "intake.packer.store"))
    hosts = written & (host.space == Space.ACTIVATIONS)
    everywhere = writer.enable
    for bank in range(activations.banks):
        enable, expected = dut[f"activations.enable{bank}"], Signal.like(everywhere, name=f"expected{bank}")
        m.d.sync += expected.eq(Mux(
            writes, Mux(writer.bank == bank, writer.enable, 0), Mux(
                written, (hosts & (host.bank[: len(writer.bank)] == bank)).replicate(len(everywhere)),
                Mux(intake.bank == bank, intake.enable, 0))))
        m.d.comb += [Assert(enable == expected), Cover(enable.any())]

    # What waits does not change. That something does takes a program, which the benches run.
    loading = dut["intake.loader.storing"]
    waits = ~going & ~flush
    offered = Cat(intake, loading, dut["intake.loader.store"])
    m.d.comb += Assert(~later(m, waits, 1) | (offered == later(m, offered, 1)))


PROOFS = (
    Proof("sharing", Core, lambda cls: cls(CONFIG), ports, (
        "u.intake.blocked.eq(u.writer.stores_next | self.i_write.valid)", "u.intake.blocked.eq(u.writer.stores_next)"),
          cover=4),
)
