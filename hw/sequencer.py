"""The sequencer: fetches and checks instructions, keeps the set-up registers, runs `Conv`, starts `Pack` and `Load`."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arch import timing
from hw.arch.config import INSTRUCTION_BITS, Config
from hw.arch.isa import (
    MOST_STEPS,
    OPCODE_WIDTH,
    OPCODES,
    Await,
    Code,
    Conv,
    End,
    Fault,
    Load,
    Pack,
    Source,
    Target,
    Values,
    Walk,
    ceilings,
)
from hw.arch.packed import Packed, fields_of, used_bits
from hw.interfaces import status_layout
from hw.layouts import CODE_BITS, code_layout, layout_of

SETUPS = (Source, Walk, Target)


def legal(word, cls: type[Packed], config: Config):
    """Whether the operand bits of an instruction word decode: fields in range, unused bits zero."""
    operands, checks, offset = word[OPCODE_WIDTH:], [], 0
    for name, spec in fields_of(cls):
        field = operands[offset : offset + spec["width"]]
        offset += spec["width"]
        if spec["low"] > 0:
            checks.append(field >= spec["low"])
        high = min(spec["high"], ceilings(config).get((cls, name), spec["high"]))
        if not spec["signed"] and high < (1 << spec["width"]) - 1:
            checks.append(field <= high)
    checks.append(operands[offset:] == 0)
    return Cat(checks).all()


class Sequencer(wiring.Component):
    """Run one frame from instruction 0 to END.

    Members
    -------
    start : run a frame; ignored while busy
    address, word : the program memory
    source, walk, target, code, values, conv, pack, load : set-up registers
    prepare : the layer in `conv` is about to start; `lanes_ready` answers
    begin, issuing, group, group_done : the issuer starts, a cycle after `lanes_ready`, is at work, issued the last word
        of a pixel group; the writer wrote one
    pack_begin, load_begin : the intake starts `pack` with `target`, or `load`
    intake_busy, intake_fault : what it was started with is not stored yet, or cannot be
    period : `Issuer.period`
    unit_fault : an access outside a memory in any block
    flush : empty all blocks, for `hw.arch.timing.halt` cycles after a fault
    status : as on the wire
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "start": In(1), "address": Out(range(config.program_depth)), "word": In(INSTRUCTION_BITS),
            "source": Out(layout_of(Source)), "walk": Out(layout_of(Walk)), "target": Out(layout_of(Target)),
            "code": Out(code_layout()), "values": Out(layout_of(Values)),
            "conv": Out(layout_of(Conv)), "pack": Out(layout_of(Pack)), "load": Out(layout_of(Load)),
            "prepare": Out(1), "lanes_ready": In(1),
            "begin": Out(1), "issuing": In(1), "group": In(1), "group_done": In(1),
            "pack_begin": Out(1), "load_begin": Out(1), "intake_busy": In(1), "intake_fault": In(1),
            "period": Out(16), "unit_fault": In(1), "flush": Out(1),
            "status": Out(status_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config, status = self._config, self.status
        counter = Signal(range(config.program_depth + 1))  # of the next instruction
        here = Signal.like(counter)
        held = Signal()  # an image that no Await took yet
        packing = Signal.like(counter)  # the Pack or Load that the intake is or was at
        halves = Signal()  # `hw.arch.isa.halves` of the source
        present = Signal(len(SETUPS) + 2)  # set-up registers written in this frame: SETUPS, then both code halves
        groups = Signal(8)  # pixel groups on their way
        wait = Signal(range(timing.halt(config) + 1))
        word = Signal.like(self.word)
        allowed = Signal()  # the instruction is legal and what it needs is set up
        decodes = {opcode: Signal(name=f"decodes_{opcode.name.lower()}") for opcode in OPCODES}
        m.d.comb += self.address.eq(counter)
        m.d.sync += halves.eq((self.source.channel_words == 1) & (self.source.tail_bits <= config.word // 2))
        m.d.sync += groups.eq(groups + self.group - self.group_done)
        with m.If(status.busy):
            m.d.sync += status.cycles.eq(status.cycles + 1)

        def halt(fault, address):
            m.d.sync += [status.fault.eq(fault), status.fault_address.eq(address), wait.eq(timing.halt(config))]
            m.next = "Halt"

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [counter.eq(0), present.eq(0), groups.eq(0), self.values.eq(0)]
                with m.If(self.start):
                    m.d.sync += [
                        status.busy.eq(1), status.cycles.eq(0), status.waited.eq(0), status.fault.eq(0),
                        status.fault_address.eq(0),
                    ]
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.d.sync += here.eq(counter)
                m.next = "Check"
                with m.If(counter == config.program_depth):
                    halt(Fault.OVERRUN, counter)
            with m.State("Check"):
                m.d.sync += word.eq(self.word)
                m.d.sync += [flag.eq(legal(self.word, OPCODES[opcode], config)) for opcode, flag in decodes.items()]
                m.next = "Judge"
            with m.State("Judge"):
                m.d.sync += allowed.eq(self._allowed(word, decodes, present, halves))
                m.next = "Decode"
            with m.State("Decode"):
                m.d.sync += counter.eq(counter + 1)
                with m.If(allowed):
                    self._execute(m, word, present)
                with m.Else():
                    halt(Fault.ILLEGAL, here)
            with m.State("Prepare"):
                m.d.comb += self.prepare.eq(1)
                m.next = "Settle"
            with m.State("Settle"):
                m.next = "Lanes"
            with m.State("Lanes"):
                with m.If(self.lanes_ready):
                    m.d.sync += self.begin.eq(1)
                    m.next = "Begin"
            with m.State("Begin"):
                m.d.sync += self.begin.eq(0)
                m.next = "Issue"
            with m.State("Issue"):
                with m.If(~self.issuing & ~self.group & (groups == 0)):
                    m.next = "Fetch"
                with m.If(self.unit_fault):
                    halt(Fault.ADDRESS, here)
            self._use_intake(m, held, packing, here, halt)
            with m.State("Halt"):
                m.d.comb += self.flush.eq(1)
                m.d.sync += [wait.eq(wait - 1), held.eq(0)]
                with m.If(wait == 0):
                    m.d.sync += status.busy.eq(0)
                    m.next = "Idle"
        self._period(m)
        return m

    def _use_intake(self, m, held, packing, here, halt):
        """The instructions that wait for the intake. A `Pack` has nothing to do while an image is held."""
        free = Signal()
        m.d.comb += free.eq(~self.intake_busy & ~self.intake_fault)

        def wait(*then):
            with m.If(free):
                m.d.sync += then
                m.next = "Fetch"
            with m.Elif(self.intake_fault):
                halt(Fault.ADDRESS, packing)
            with m.Else():
                m.d.sync += self.status.waited.eq(self.status.waited + 1)

        with m.State("Pack"):
            with m.If(held):
                m.next = "Fetch"
            with m.Else():
                wait(held.eq(1), packing.eq(here))
                m.d.comb += self.pack_begin.eq(free)
        with m.State("Load"):
            wait(packing.eq(here))
            m.d.comb += self.load_begin.eq(free)
        with m.State("Await"):
            wait(held.eq(0))

    def _allowed(self, word, decodes, present, halves):
        """Whether an instruction word decodes and the set-up that it needs is there."""
        conv = data.View(layout_of(Conv), word[OPCODE_WIDTH : OPCODE_WIDTH + used_bits(Conv)])
        to_run = {cls: present.bit_select(n, 1) for n, cls in enumerate(SETUPS)}
        written = to_run[Target] & present[-2:].all()
        ready = {
            Conv: to_run[Source] & to_run[Walk] & (~conv.split | halves) & (~conv.search | (conv.levels <= MOST_STEPS))
            & ((conv.levels == 0) | (written & (conv.target_groups != 0))),
            Pack: to_run[Target],
        }
        return Cat(
            (word[:OPCODE_WIDTH] == opcode) & decodes[opcode] & ready.get(cls, 1) for opcode, cls in OPCODES.items()
        ).any()

    def _execute(self, m, word, present):
        """Store a set-up instruction, or start what the instruction asks for."""
        status, operands = self.status, word[OPCODE_WIDTH:]
        registers = {Source: self.source, Walk: self.walk, Target: self.target, Values: self.values, Conv: self.conv,
                     Pack: self.pack, Load: self.load}
        m.next = "Fetch"
        with m.Switch(word[:OPCODE_WIDTH]):
            for opcode, cls in OPCODES.items():
                with m.Case(opcode):
                    if cls in registers:
                        m.d.sync += registers[cls].eq(operands)
                    if cls in SETUPS:
                        m.d.sync += present[SETUPS.index(cls)].eq(1)
                    elif cls is Code:
                        half = operands[0]
                        m.d.sync += [
                            present.bit_select(half + len(SETUPS), 1).eq(1),
                            self.code[half].eq(operands[1 : 1 + CODE_BITS]),
                        ]
                    elif cls is Conv:
                        m.next = "Prepare"
                    elif cls in (Pack, Load, Await):
                        m.next = cls.__name__
                    elif cls is End:
                        m.d.sync += [status.busy.eq(0), status.frames.eq(status.frames + 1)]
                        m.next = "Idle"

    def _period(self, m):
        """`hw.arch.timing.group_period`, as a maximum over two cycles."""
        config, conv, values = self._config, self.conv, self.values
        compare, write, emits = Signal(16), Signal(16), Signal()
        residual = values.keep | (values.add & (conv.levels != 0))
        writes = Array(timing.write_period(config, steps) for steps in range(1 << len(conv.target_groups)))
        m.d.sync += [
            compare.eq(conv.levels * config.chain_channels + Mux(residual, config.chain_channels + 2, 0)),
            write.eq(Mux(conv.levels == 0, 0, writes[conv.target_groups])),
            emits.eq((conv.levels == 0) & ~values.keep),
        ]
        least, emit = timing.least_period(config), timing.emit_period(config)
        longer = Mux(compare > write, compare, write)
        m.d.sync += self.period.eq(Mux(emits, emit, Mux(longer > least, longer, least)))
