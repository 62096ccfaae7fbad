"""The quick part of the proofs, and what the prover's parts refuse."""

import random
import zlib

import pytest
from amaranth.hdl import Assert, Cover, Fragment, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.link.cobs import Decoder
from sim.formal.__main__ import PROOFS, check, main
from sim.formal.opened import Opened, mutant
from sim.formal.prover import Proof

QUICK = ("buffer", "decoder", "issuer")

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize("name", QUICK)
def test_quick_proofs_stand(name):
    assert check(PROOFS[name]) == []


class Counter(wiring.Component):
    """Counts to three and begins again."""

    step: In(1)
    count: Out(3)

    def elaborate(self, platform) -> Module:
        m = Module()
        with m.If(self.step):
            m.d.sync += self.count.eq(self.count + 1)
            with m.If(self.count == 3):
                m.d.sync += self.count.eq(0)
        return m


def test_a_proof_that_does_not_stand_is_reported():
    def contract(m, dut):
        m.d.comb += [dut.component.step.eq(1), Assert(dut["count"] < 3), Cover(dut["count"] == 4)]

    proof = Proof("counter", Counter, lambda cls: cls(), contract, ("a bug", "is not needed"))
    assert not proof.holds()
    assert not proof.reached()


def test_components_are_opened_by_name():
    decoder = Opened(Decoder())
    assert isinstance(decoder["spoilt"], Signal)
    assert len({id(decoder[name]) for name in ("delimiter", "code", "emits")}) == 3  # of one assignment
    Fragment.get(decoder, None)  # else Amaranth complains about a component that is not used
    with pytest.raises(KeyError, match="nothing is not among .* begun, "):
        decoder["nothing"]


def test_a_mutant_needs_its_place_once():
    assert mutant(Decoder, "left.eq(left - 1)", "left.eq(left - 2)") is not Decoder
    for text in ("no such text", "m = Module()"):
        with pytest.raises(ValueError, match=r"hw\.link\.cobs must contain .* once, not \d+ times"):
            mutant(Decoder, text, "")


def test_an_unknown_proof_is_one_sentence(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["nonsense"])
    assert capsys.readouterr().err.startswith("sim.formal: proof must be one of buffer, ")


def test_checksum_unit_is_zlib():
    """The unit is linear in state and byte: it is right if it is for every single bit, which long data visit all."""
    crc, rng = catalog.CRC32_ISO_HDLC(8).create(), random.Random(2)

    async def bench(ctx):
        for data in [bytes([1 << bit]) for bit in range(8)] + [rng.randbytes(300) for _ in range(3)]:
            ctx.set(crc.start, 1)
            await ctx.tick()
            ctx.set(crc.start, 0)
            ctx.set(crc.valid, 1)
            for position, byte in enumerate(data):
                ctx.set(crc.data, byte)
                await ctx.tick()
                assert ctx.get(crc.crc) == zlib.crc32(data[: position + 1])
            for byte in zlib.crc32(data).to_bytes(4, "little"):
                assert not ctx.get(crc.match_detected)
                ctx.set(crc.data, byte)
                await ctx.tick()
            assert ctx.get(crc.match_detected)
            ctx.set(crc.valid, 0)

    simulator = Simulator(crc)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
