"""Contract of the loader: whatever the instruction, words go where it says and nowhere else, or nothing is loaded."""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal

from hw.arch.isa import LOADABLE, Load
from hw.loader import Loader

from .control import CONFIG, Loop, set_up
from .opened import Opened
from .prover import Proof
from .stepping import later
from .storage import free


def loader(m: Module, dut: Opened) -> None:
    """A byte per cycle while there is one, words in their order, and all memories are judged before the first."""
    c, memories = dut.component, [CONFIG.memories[space] for space in LOADABLE]
    states = {name: dut.state(name) for name in (
        "Idle", "Look", "Add", "Check", "Write", "Last", "Store", "Finish", "Fault")}
    number, writes, writing = dut["number"], dut["writes"], states["Write"]
    free(m, c.begin, c.byte)
    changed = set_up(m, states["Idle"] & ~c.begin, Load, c.load)
    m.d.comb += [Assume(~c.begin | (states["Idle"] & ~changed)), Assert(dut.legal())]

    # The line buffer: what is retired was there.
    level, arrives, retired = Signal(range(CONFIG.image_depth + 1)), AnySeq(1), c.retire
    m.d.sync += level.eq(level + (arrives & (level != CONFIG.image_depth)) - retired)
    m.d.comb += [c.level.eq(level), Assert(level <= CONFIG.image_depth)]
    m.d.comb += [Assert(~retired | (level != 0)), Assert(~retired | writing)]

    # The spans by definition, and what the loader knows of the one at hand.
    firsts = [c.load[space.name.lower()] for space in LOADABLE]
    words = [c.load[f"{space.name.lower().removesuffix('s')}_words"] for space in LOADABLE]
    ends = [first + count for first, count in zip(firsts, words, strict=True)]
    inside = [end <= memory.depth for end, memory in zip(ends, memories, strict=True)]
    known, summed = states["Add"] | states["Check"] | writing, states["Check"] | writing
    loops = {name: Loop(dut, name, dut[count]) for name, count in (
        ("bytes", "size"), ("banks", "banks"), ("words", "words"))}
    for n, (first, count, end, memory) in enumerate(zip(firsts, words, ends, memories, strict=True)):
        here = number == n
        m.d.comb += [
            Assert(~(known & here) | ((dut["first"] == first) & (dut["words"] == count)
                                      & (dut["depth"] == memory.depth) & (dut["banks"] == memory.banks)
                                      & (dut["size"] == memory.bytes_per_word))),
            Assert(~(summed & here) | (dut["end"] == end)), Assert(~(writing & here) | (inside[n] & (count != 0))),
            Assert(states["Idle"] | states["Fault"] | ~(writes | (number > n)) | inside[n]),
        ]
    with m.If(writing):
        m.d.comb += [
            Assert(writes), *(check for loop in loops.values() for check in loop.holds()),
            Assert(dut["index"] == (dut["size"] - 1 - loops["bytes"].left)[: len(dut["index"])]),
            Assert(dut["bank"] == (dut["banks"] - 1 - loops["banks"].left)[: len(dut["bank"])]),
            Assert(dut["address"] == (dut["end"] - 1 - loops["words"].left)[: len(dut["address"])]),
        ]

    # Every state but three is left at once, and those that wait have a reason; bytes taken count down.
    was = {name: later(m, state, 1) for name, state in states.items()}
    rank, empty = Cat(loops[name].left for name in ("bytes", "banks", "words")), Signal()
    before = later(m, rank, 1)
    m.d.sync += empty.eq((level == 0) | ((level == 1) & retired))
    m.d.comb += [Assert(~(was[name] & states[name])) for name in states if name not in ("Idle", "Write", "Fault")]
    m.d.comb += [
        Assert(~(writing & was["Write"]) | (retired != empty)),
        Assert(~(writing & was["Write"]) | Mux(later(m, retired, 1), rank < before, rank == before)),
        Assert(c.fault == states["Fault"]), Assert(~was["Fault"] | states["Fault"]),
        Assert(c.finished == states["Finish"]),
    ]

    # A fault is right, and nothing was taken before it.
    took = Signal()
    m.d.sync += took.eq(~states["Idle"] & (took | retired))
    m.d.comb += [
        Assert(~took | writes | states["Last"] | states["Store"] | states["Finish"]), Assert(~c.fault | ~took),
        Assert(~c.fault | ~Cat(inside).all()), Assert(~(states["Last"] | states["Store"] | states["Finish"]) | writes),
    ]

    # A word is stored two cycles after its last byte was taken, at its place, with every byte as it came.
    ended, byte, kept = retired & (dut["index"] == dut["size"] - 1), AnyConst(3), Signal(8)
    taken, place = later(m, retired, 1), later(m, dut["index"], 1)
    with m.If(taken & (place == byte)):
        m.d.sync += kept.eq(c.byte)
    m.d.comb += [
        Assert(c.storing == later(m, ended, 2)), Assert(~c.storing | (c.store.bank == later(m, dut["bank"], 2))),
        Assert(~c.storing | (c.store.address == later(m, dut["address"], 2))),
        Assert((byte * 8 >= len(c.store.data)) | (c.store.data.word_select(byte, 8) == kept)),
        Assert(~c.storing | Cat(
            (c.store.space == int(space)) & (c.store.bank < memory.banks) & (c.store.address >= first)
            & (c.store.address < end)
            for space, memory, first, end in zip(LOADABLE, memories, firsts, ends, strict=True)).any()),
        Assert(~(c.finished | states["Idle"]) | ~(c.storing | later(m, retired, 1))),
        Cover(c.storing & (c.store.bank == 2) & (c.store.address == 3)), Cover(c.finished & took), Cover(c.fault),
    ]


PROOFS = (
    Proof("loader", Loader, lambda cls: cls(CONFIG), loader, ("m.If(end > depth)", "m.If(end > depth + 1)"), depth=4,
          cover=40),
)
