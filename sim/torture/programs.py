"""Hostile programs on the core's RTL in fast simulation: none leaves a memory or hangs the machine.

Good programs are mutated field by field, bit by bit and word by word, tap descriptors too. Every program must end,
fault or at least go on working; the instruction where it stops and the fault must be what the field ranges in
`hw.arch.isa` allow; and between them a good program gives the right integers.
"""

import functools
import tempfile
from pathlib import Path

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Space
from hw.arch.isa import LOADABLE, OPCODE_WIDTH, OPCODES, Conv, End, Fault, Load, Pack, ceilings
from hw.arch.packed import fields_of, used_bits
from hw.core import Core
from hw.interfaces import word_bits
from sim.figures import Figure
from sim.native import figures, harness
from sim.torture import network
from sw.compiler import Program, compile
from sw.emulator import Machine

COUNT, QUICK_COUNT = 1_000_000, 3_000
PROGRAM = Path(__file__).with_name("programs.cpp")
SIDE = 4
# As small as the programs allow, so that weights are loaded; depths that may be are no powers of two: an address
# outside fits its bits.
CONFIG = network.CONFIG.replace(
    N=1, row_lanes=4, column_lanes=2, weight_depth=11, activation_depth=69, tap_depth=11, coefficient_depth=21,
    threshold_depth=27, program_depth=37, value_depth=13, result_depth=7, image_depth=32,
)
RUNS = (Conv, Pack, Load)  # what may fault after it was decoded


class Watched(wiring.Component):
    """A core whose host says little, and whose blocks are looked at.

    Members
    -------
    write, space, bank, address, data : a word for a memory
    image_valid, image, image_taken : image bytes
    start, reset, busy, fault, fault_address : as of the core
    read, result : a word of the result memory at `address` is asked for; it comes when `result_valid`
    outside : a block writes outside its memory or asks for a word outside it
    alive : something goes on: an instruction is fetched, a word issued, a byte taken, a group written
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "write": In(1), "space": In(4), "bank": In(8), "address": In(16), "data": In(word_bits(config)),
            "image_valid": In(1), "image": In(8), "image_taken": Out(1), "start": In(1), "reset": In(1),
            "busy": Out(1), "fault": Out(8), "fault_address": Out(16),
            "read": In(1), "result_valid": Out(1), "result": Out(word_bits(config)),
            "outside": Out(1), "alive": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = _Opened(self._config)
        m.d.comb += [
            core.i_write.valid.eq(self.write), core.i_read.valid.eq(self.read), core.o_read.ready.eq(1),
            core.i_read.p.space.eq(Space.RESULTS), core.i_read.p.bank.eq(0), core.i_read.p.address.eq(self.address),
            core.i_image.valid.eq(self.image_valid), core.i_image.payload.eq(self.image),
            self.image_taken.eq(core.i_image.valid & core.i_image.ready),
            core.start.eq(self.start), core.reset.eq(self.reset), self.busy.eq(core.status.busy),
            self.fault.eq(core.status.fault), self.fault_address.eq(core.status.fault_address),
            self.result_valid.eq(core.o_read.valid), self.result.eq(core.o_read.payload),
            self.outside.eq(core.outside), self.alive.eq(core.alive | self.image_taken),
        ]
        m.d.comb += [core.i_write.p[name].eq(getattr(self, name)) for name in ("space", "bank", "address", "data")]
        return m


class _Opened(Core):
    """A core that tells of its blocks."""

    def __init__(self, config):
        super().__init__(config)
        self.outside, self.alive = Signal(), Signal()

    def elaborate(self, platform):
        m = super().elaborate(platform)
        config, u = self._config, m.submodules
        before = Signal.like(u.sequencer.address)
        m.d.sync += before.eq(u.sequencer.address)
        writer, intake, issue = u.writer.store, u.intake.store, u.issuer.issue
        loads, loaded = u.intake.loading, u.intake.loaded
        m.d.comb += [
            self.outside.eq(Cat(
                *(store.enable.any() & (store.address >= config.activation_depth) for store in (writer, intake)),
                u.writer.result_enable & (u.writer.result_address >= config.result_depth),
                u.comparer.access.valid & (u.comparer.access.address >= config.value_depth),
                *(loads & (loaded.space == space) & (loaded.address >= config.memories[space].depth)
                  for space in LOADABLE),
                issue.valid & ((issue.tap >= config.tap_depth) | (issue.weight >= config.weight_depth)),
            ).any()),
            self.alive.eq(Cat(
                u.sequencer.address != before, issue.valid, u.writer.group_done, intake.enable.any(), loads).any()),
        ]
        return m


def measure(quick: bool, seed: int) -> list[Figure]:
    """Mutated programs, with good ones in between."""
    count = QUICK_COUNT if quick else COUNT
    run = figures(harness(Watched(CONFIG), PROGRAM), corpus(), count, seed)
    assert run["tried"] == count
    endings = ", ".join(f"{run[name]:,} {text}" for name, text in (
        ("finished", "finished"), ("illegal", "ILLEGAL"), ("overrun", "OVERRUN"), ("address", "ADDRESS"),
        ("long", "still at work when they were reset")))
    return [
        Figure(f"{count:,} hostile programs, RTL core", "0 accesses outside a memory, 0 stuck",
               f"{run['outside']} outside, {run['stuck']} stuck ({endings})", run["outside"] == run["stuck"] == 0),
        Figure("where and why they stopped", "0 contradict the ranges of the fields",
               f"{run['contradicting']} of {count:,}", run["contradicting"] == 0),
        Figure("good programs in between", f"{run['probes']:,} exact", f"{run['probes'] - run['wrong']:,} exact",
               run["wrong"] == 0),
    ]


@functools.cache
def corpus() -> Path:
    """What the harness has to know: configuration, fields of the instructions, good programs with image and results."""
    lines = [f"depths {CONFIG.program_depth} {CONFIG.tap_depth} {Space.PROGRAM:d} {Space.TAPS:d}",
             "faults " + " ".join(f"{int(fault)}" for fault in (Fault.ILLEGAL, Fault.OVERRUN, Fault.ADDRESS))]
    for opcode, cls in OPCODES.items():
        lines.append(f"opcode {int(opcode)} {OPCODE_WIDTH + used_bits(cls)} {int(cls in RUNS)} {int(cls is End)}")
        offset = OPCODE_WIDTH
        for name, spec in fields_of(cls):
            high = min(spec["high"], ceilings(CONFIG).get((cls, name), spec["high"]))
            lines.append(f"field {int(opcode)} {offset} {spec['width']} {spec['low']} {high}")
            offset += spec["width"]
    for seed in range(1, 5):
        for graph in (network.graph(seed, SIDE), network.residual(seed, SIDE)):
            lines += _program(compile(graph, CONFIG))
    path = Path(tempfile.mkdtemp(prefix="programs-")) / "corpus"
    path.write_text("\n".join(lines) + "\n")
    return path


def _program(program: Program) -> list[str]:
    image = network.images(1, side=SIDE)
    lines = ["program"]
    for space in program.memories:
        for bank, first, words in program.memory_words(space):
            lines += [f"word {int(space)} {bank} {first + n} {word:x}" for n, word in enumerate(words)]
    lines += [f"byte {byte}" for byte in program.image_bytes(image[0])]
    machine = network.load(Machine(program.config), program)
    machine.feed(program.image_bytes(image[0]))
    machine.run()
    mask = (1 << CONFIG.sum_bits) - 1
    return lines + [f"result {word & mask}" for word in machine.read(Space.RESULTS, 0, 0, program.result_words)]
