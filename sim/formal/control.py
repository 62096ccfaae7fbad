"""Contracts of what runs a program: whatever it says, every state is left and nothing outside a memory is asked for."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import data

from hw.arch import timing
from hw.arch.config import Config
from hw.arch.isa import MOST_STEPS, OPCODES, Conv, End, Fault, Pack, Source, Target, Walk, ceilings
from hw.arch.packed import Packed, fields_of, used_bits
from hw.issuer import Issuer
from hw.layouts import layout_of
from hw.sequencer import Sequencer

from .opened import Opened
from .prover import Proof
from .storage import free

# Depths that are no powers of two: an address may be outside and still fit its bits.
CONFIG = Config(
    row_lanes=4, column_lanes=2, word=16, chain=4, weight_depth=11, activation_depth=13, tap_depth=5,
    coefficient_depth=9, threshold_depth=11, program_depth=6, result_depth=7,
    value_depth=11,
)
FOREVER = (1 << 16) - 1  # cycles, where a counter stops


def fits(view: data.View, cls: type[Packed]):
    """Whether all fields have legal values."""
    limits = ceilings(CONFIG)
    return Cat(
        (view[name] >= spec["low"]) & (view[name] <= min(spec["high"], limits.get((cls, name), spec["high"])))
        for name, spec in fields_of(cls)).all()


class Loop:
    """A `Rounds` inside a component; `left` rounds follow the one at hand, of `count`."""

    def __init__(self, dut: Opened, name: str, count):
        self._count = count
        self.left, self._last, self._most, self._single = (
            dut[f"{name}.{signal}"] for signal in ("left", "last", "most", "single"))

    def holds(self) -> list:
        """Its registers fit each other."""
        return [
            Assert((self._most == self._count - 1) & (self._single == (self._count == 1))),
            Assert((self.left <= self._most) & (self._last == (self.left == 0))),
        ]


def set_up(m: Module, may_change, cls: type[Packed], *ports) -> Signal:
    """Drive set-up registers with any legal instruction, another one only when they may change; whether they did."""
    changes, changed = Signal(), Signal(init=1)
    m.d.comb += changes.eq(may_change & AnySeq(1))
    m.d.sync += changed.eq(changes)
    for port in ports:
        register = Signal(port.shape(), init={name: spec["low"] for name, spec in fields_of(cls) if not spec["signed"]})
        following, value = Signal(port.shape()), Value.cast(register)
        free(m, following)
        with m.If(changes):
            m.d.sync += value.eq(following)
        m.d.comb += Value.cast(port).eq(value)
        m.d.comb += [Assume(fits(following, cls)), Assert(fits(register, cls))]
    return changed


def issuer(m: Module, dut: Opened) -> None:
    """The loops end, and keep the distances that the blocks behind need."""
    i = dut.component
    idle = ~i.active & ~i.begin
    ports = ((Source, i.source), (Walk, i.walk), (Conv, i.conv))
    changed = Cat(set_up(m, idle, *each) for each in ports).any()
    period, following, settled = Signal(16, init=1), Signal(16), Signal()
    free(m, i.begin, following)
    with m.If(idle & changed):
        m.d.sync += period.eq(following)
    m.d.sync += settled.eq(~changed)
    m.d.comb += [i.period.eq(period), Assume(following != 0), Assert(period != 0)]
    m.d.comb += Assume(~i.begin | (~i.active & ~changed & settled))

    # Lexicographic progress: every word issued counts down a number with as many digits as there are loops.
    counts = {
        "words": i.source.channel_words, "taps": i.walk.taps, "activation_passes": i.conv.activation_passes,
        "weight_passes": i.conv.weight_passes, "positions": i.walk.positions, "groups": dut["groups"],
        "rows": i.conv.row_groups,
    }
    loops = {name: Loop(dut, name, count) for name, count in counts.items()}
    rank = Cat(loop.left for loop in loops.values())
    active, before, waits = Signal(), Signal.like(rank), Signal(18)
    waited, going, stood = Signal.like(waits), dut["go"], Signal()
    pass_left, group_left = (Mux(dut[f"{name}_due"], 0, dut[f"{name}_left"]) for name in ("pass", "group"))
    m.d.comb += waits.eq(pass_left + group_left)
    m.d.sync += [active.eq(i.active), before.eq(rank), waited.eq(waits), stood.eq(i.active & ~going)]
    with m.If(i.active):
        m.d.comb += [loop.holds() for loop in loops.values()]
        with m.If(active):
            m.d.comb += Assert(Mux(stood, (rank == before) & (waits < waited), rank < before))
    m.d.comb += [Assert(dut[f"{name}_due"] | (dut[f"{name}_left"] != 0)) for name in ("pass", "group")]

    # Distances, told from the outputs: `since` the event before, or since the layer began.
    apart = Signal(16, init=1)
    with m.If(i.begin | i.group):
        m.d.sync += apart.eq(Mux(i.begin, timing.least_period(CONFIG), period))
    for name, event, from_begin, least, left in (
        ("pass", i.issue.valid & i.issue.last, False, CONFIG.chain, pass_left),
        ("group", i.group, True, apart, group_left),
    ):
        since = Signal(16, name=f"since_{name}", init=FOREVER)
        with m.If(i.begin & from_begin):
            m.d.sync += since.eq(0)
        with m.Elif(event):
            m.d.sync += since.eq(1)
        with m.Elif(since != FOREVER):
            m.d.sync += since.eq(since + 1)
        m.d.comb += [
            Assert(~event | (since >= least)), Assert(~(i.active | (not from_begin)) | (since + left >= least - 1)),
            Cover(event & (since == least)),
        ]

    # Addresses: taps lie one after the other, and a word is issued when both tap and weight are inside.
    tap, weight, first = dut["tap"], dut["weight"], Signal(13)
    with m.If(going & dut["end_weight_passes"]):
        m.d.sync += first.eq(Mux(dut["end_positions"], i.walk.tap_base, first + i.walk.taps))
    with m.If(i.begin):
        m.d.sync += first.eq(i.walk.tap_base)
    inside = (tap < CONFIG.tap_depth) & (weight < CONFIG.weight_depth)
    issued, tap_before, weight_before = Signal(), Signal.like(tap), Signal.like(weight)
    m.d.sync += [issued.eq(going & inside), tap_before.eq(tap), weight_before.eq(weight)]
    m.d.comb += [
        Assert(i.fault == (going & ~inside)), Assert(i.issue.valid == issued),
        Assert(~i.active | (tap == (first + i.walk.taps - 1 - loops["taps"].left)[:13])),
        Assert(~i.active | (weight == (dut["weight_tap"] + i.source.channel_words - 1 - loops["words"].left)[:17])),
        Assert(~i.active | (dut["tap_first"] == first)),
        Assert(~issued | ((i.issue.tap == tap_before) & (i.issue.weight == weight_before))),
        Assert(~issued | ((tap_before < CONFIG.tap_depth) & (weight_before < CONFIG.weight_depth))),
        Cover(i.fault & (tap == CONFIG.tap_depth)), Cover(i.fault & (weight == CONFIG.weight_depth)),
        Cover(i.group & ~i.active & (i.conv.row_groups == 2)),
    ]


def sequencer(m: Module, dut: Opened) -> None:
    """Any words, any behaviour of the blocks: every state is left, faults are right and stay, nothing runs on them."""
    s, status = dut.component, dut.component.status
    free(m, s.start, s.word, s.lanes_ready, s.issuing, s.group, s.group_done, s.unit_fault, s.intake_busy,
         s.intake_fault)
    counter, wait, here = dut["counter"], dut["wait"], dut["here"]
    waiting = ~s.intake_fault & s.intake_busy
    waits = {
        "Idle": ~s.start, "Fetch": 0, "Check": 0, "Judge": 0, "Decode": 0, "Prepare": 0, "Settle": 0,
        "Lanes": ~s.lanes_ready, "Begin": 0,
        "Issue": ~s.unit_fault & (s.issuing | s.group | (dut["groups"] != 0)), "Pack": ~dut["held"] & waiting,
        "Load": waiting, "Await": waiting, "Halt": wait != 0,
    }
    states = {name: dut.state(name) for name in waits}
    was = {name: Signal(name=f"was_{number}") for number, name in enumerate(waits)}
    m.d.sync += [was[name].eq(state) for name, state in states.items()]
    for name, state in states.items():
        stays = Signal()
        m.d.sync += stays.eq(state & waits[name])
        m.d.comb += [Assert(~was[name] | (state == stays)), Cover(state)]

    # A frame is at most as many instructions as the memory has, one after the other; a halt ends too.
    before, waited = Signal.like(counter), Signal.like(wait)
    m.d.sync += [before.eq(counter), waited.eq(wait)]
    m.d.comb += [
        Assert(dut.legal()), Assert(sum(was.values()) <= 1), Assert(counter <= CONFIG.program_depth),
        Assert(~(was["Decode"] | was["Idle"]) | (counter == Mux(was["Decode"], before + 1, 0))),
        Assert(was["Decode"] | was["Idle"] | ~sum(was.values()).any() | (counter == before)),
        Assert(~(states["Check"] | states["Judge"] | states["Decode"])
               | ((counter < CONFIG.program_depth) & (here == counter))),
        Assert(~states["Halt"] | (wait <= timing.halt(CONFIG))),
        Assert(~(was["Halt"] & states["Halt"]) | (wait == waited - 1)),
        Assert(status.busy == ~states["Idle"]), Assert(s.flush == states["Halt"]),
    ]

    # The right fault at the right place; then it stays until the next start.
    fault, place, started = Signal(8), Signal(16), Signal()
    m.d.sync += [fault.eq(status.fault), place.eq(status.fault_address), started.eq(s.start & states["Idle"])]
    begun, held = Signal.like(here), Signal()  # what the intake is or was at, an image that no Await took
    starts = ~s.intake_fault & ~s.intake_busy
    with m.If(s.pack_begin | s.load_begin):
        m.d.sync += begun.eq(here)
    with m.If(s.pack_begin):
        m.d.sync += held.eq(1)
    with m.If(states["Halt"] | (states["Await"] & starts)):
        m.d.sync += held.eq(0)
    m.d.comb += [Assert(s.pack_begin == (states["Pack"] & ~held & starts)),
                 Assert(s.load_begin == (states["Load"] & starts)),
                 Assert((dut["held"] == held) | states["Halt"]), Assert(dut["packing"] == begun)]
    cause = Mux(was["Fetch"], Fault.OVERRUN, Mux(was["Decode"], Fault.ILLEGAL, Fault.ADDRESS))
    with m.If(states["Halt"] & ~was["Halt"]):
        cause_at = Mux(was["Pack"] | was["Load"] | was["Await"], begun, here)
        m.d.comb += [Assert(status.fault == cause), Assert(status.fault_address == cause_at), Assert(fault == 0)]
    with m.Elif(~started):
        m.d.comb += Assert((status.fault == fault) & (status.fault_address == place))
    m.d.comb += Assert(Mux(states["Halt"], status.fault != 0, states["Idle"] | (status.fault == 0)))

    # A layer or an image starts with everything it needs, set up in this frame.
    word, now = dut["word"], states["Decode"]
    present = {cls: Signal(name=f"has_{cls.__name__.lower()}") for cls in (Source, Walk, Target)}
    halves = (s.source.channel_words == 1) & (s.source.tail_bits <= CONFIG.word // 2)
    conv = data.View(layout_of(Conv), word[4 : 4 + used_bits(Conv)])
    needs = {
        Pack: present[Target],
        Conv: present[Source] & present[Walk] & (~conv.split | halves) & (~conv.search | (conv.levels <= MOST_STEPS))
        & ((conv.levels == 0) | ((conv.target_groups != 0) & present[Target] & dut["present"][-2:].all())),
    }
    allowed = []
    for opcode, cls in OPCODES.items():
        view, rest = data.View(layout_of(cls), word[4 : 4 + used_bits(cls)]), word[4 + used_bits(cls) :]
        chosen = (word[:4] == opcode) & fits(view, cls) & (rest == 0)
        decodes = dut[f"decodes_{opcode.name.lower()}"] == (fits(view, cls) & (rest == 0))
        m.d.comb += Assert(~(now | states["Judge"]) | decodes)
        allowed.append(chosen & needs.get(cls, 1))
        if cls in present:
            with m.If(now & chosen):
                m.d.sync += present[cls].eq(1)
        if cls is End:
            finished = Signal()
            m.d.sync += finished.eq(now & chosen)
            m.d.comb += Assert(finished == (was["Decode"] & states["Idle"]))
    with m.If(s.start & states["Idle"]):
        m.d.sync += [flag.eq(0) for flag in present.values()]
    m.d.comb += [
        Assert(~now | (dut["allowed"] == Cat(allowed).any())),
        Assert(~(states["Check"] | states["Judge"] | now) | (dut["halves"] == halves)),
        Assert(~s.prepare | (present[Source] & present[Walk] & ((s.conv.levels == 0) | present[Target]))),
        Assert(~s.prepare | ~s.conv.search | (s.conv.levels <= MOST_STEPS)),
        Assert(~s.prepare | ~s.conv.split | halves), Cover(s.prepare & s.conv.split),
        Assert(s.begin == states["Begin"]), Assert(s.prepare == states["Prepare"]),
        Assert(states["Idle"] | (dut["present"][: len(present)] == Cat(present.values()))),
        Assert(~states["Pack"] | present[Target]), Cover(s.prepare & (s.conv.levels != 0)),
    ]


PROOFS = (
    Proof("sequencer", Sequencer, lambda cls: cls(CONFIG), sequencer, (
        "with m.If(counter == config.program_depth):", "with m.If(counter == config.program_depth + 1):"), cover=40),
    Proof("issuer", Issuer, lambda cls: cls(CONFIG), issuer, (
        "Const(config.chain - 1)", "Const(config.chain - 2)"), depth=4),
)
