"""Match counters are plain sums: words up to 32 bits proved whole, wider ones of LUT primitives by construction.

Proved whole: the RTL in both forms of `hw.popcount`, in every word and split that a configuration may have, against a
sum that is written down as one. What is kept between the cycles holds nothing but operands of the last few, so a proof
over `LATENCY` cycles is one for ever. The same proof must refuse a counter with one inverted wire.

By construction: every cell conserves sum(2^weight * bits), by its truth table; every bit is counted in one cell, all
those of a cell have one weight, and in the end each weight has one bit. So the bits are the binary digits of the sum.
Digits that do not fit a sum of all products are never one, and are dropped.
"""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring

from boards import find
from hw import popcount
from hw.arch.config import PRESETS
from hw.pipeline import delayed
from hw.popcount import LATENCY, MatchCount, early, early_mask
from hw.verilog import verilog
from sim.figures import Figure
from sim.synthesis import FAMILIES

from .scripts import proven, yosys

FORMS = {"xc7": "LUT primitives", "ecp5": "portable"}
WORDS = (8, 16, 24, 32)  # bits; proved whole
SHIFTS = (0, 1, 2, 4, 5, 6, 7)  # those of words that split, and of those that do not
QUICK = ((16, (0, 1)),)
WIDE = tuple(sorted({config.word for config in PRESETS.values()} | {8 * n for n in range(1, 65)}))

_READ = """read_verilog -sv gold{shift}.v
prep -flatten -top gold
simplemap
design -save gold
design -reset
read_verilog -sv gate{shift}.v
read_verilog +/xilinx/cells_sim.v
prep -flatten -top gate
simplemap
design -save proper
mutate -list 1 -seed 1 -mode inv -port A -o mutation
script mutation
design -save mutant
"""
_PROOF = """design -reset
design -copy-from gold -as gold A:top
design -copy-from {name} -as gate A:top
select -set others gold/w:* gate/w:* %u gold/w:lower gold/w:upper gate/w:lower gate/w:upper %u %u %u %d
rename -hide @others
select -clear
equiv_make gold gate equiv
hierarchy -top equiv
equiv_simple -seq {cycles} equiv
tee -q -o {name}{shift}.txt equiv_status equiv
design -reset
"""


class Plain(wiring.Component):
    """What `MatchCount` is to be: the sums of the matches in both halves, and of these."""

    def __init__(self, counter: MatchCount, shift: int):
        self._shift = shift
        super().__init__(counter.signature)

    def elaborate(self, platform):
        m = Module()
        now, first = ~(self.a ^ self.b), early_mask(len(self.a))
        last = delayed(m, now, 1, "last", reset_less=True)
        matches = delayed(m, Cat((last if first >> n & 1 else now)[n] for n in range(len(now))), LATENCY - 3, "matches",
                          reset_less=True)
        half = len(matches) - len(matches) // 2
        lower = Signal(range(half + 1), reset_less=True)
        upper = Signal(range(len(matches) // 2 + 1), reset_less=True)
        m.d.sync += [lower.eq(sum(matches[:half])), upper.eq(sum(matches[half:]))]
        m.d.sync += self.o.eq(Mux(self.enable, lower + Mux(self.split, upper << self._shift, upper), 0))
        return m


def proved(width: int, shifts: tuple[int, ...], family: str) -> tuple[bool, bool]:
    """Whether the counters of a word are proved to be the plain sums, and whether any with an inverted wire is."""
    board, toolchain, _ = FAMILIES[family]
    platform, script = find(board).make_platform(toolchain), ""
    with TemporaryDirectory(prefix="counting-") as place:
        folder = Path(place)
        for shift in shifts:
            counter = MatchCount(width, shift)
            for name, component in (("gold", Plain(counter, shift)), ("gate", counter)):
                (folder / f"{name}{shift}.v").write_text(verilog(component, name, platform), encoding="utf-8")
            script += _READ.format(shift=shift)
            script += "".join(
                _PROOF.format(name=name, shift=shift, cycles=LATENCY + 1) for name in ("proper", "mutant"))
        yosys(folder, script)
        told = {name: [proven(folder, f"{name}{shift}") for shift in shifts] for name in ("proper", "mutant")}
    return all(told["proper"]), any(told["mutant"])


@dataclass
class Ledger:
    """Weights of the bits that no cell has counted yet; stands in for the cells of `hw.popcount`."""

    weights: dict[int, int] = field(default_factory=dict)
    products: int = 0
    sound: bool = True
    _tables: dict[int, int] = field(default_factory=dict)
    _bits: list[Signal] = field(default_factory=list)  # none is forgotten, so that no two have one identity

    def primitive(self, m, init, inputs):
        """A LUT; its table is remembered."""
        output = Signal()
        self._bits.append(output)
        self._tables[id(output)] = init
        return output

    def cell(self, inputs, outputs, ones, weights) -> None:
        """Enter the digits of a cell that counted bits of `weights`; `ones`: how many a row of its tables has."""
        tables = [self._tables[id(bit)] for bit in outputs]
        self.sound &= len(weights) == 1 and all(
            sum((table >> row & 1) << n for n, table in enumerate(tables)) == ones(row) for row in range(1 << inputs))
        self.weights |= {id(bit): min(weights) + n for n, bit in enumerate(outputs)}

    def take(self, bit) -> int:
        """The weight of a bit that is counted now, and never again."""
        self.sound &= id(bit) in self.weights
        return self.weights.pop(id(bit), -1)


def conserves(pairs: int) -> bool:
    """Whether the LUTs that count so many products conserve their sum down to its binary digits."""
    ledger, counter, fused_adder = Ledger(), popcount.counter, popcount.fused_adder

    def count(m, bits):
        weights, digits = {ledger.take(bit) for bit in bits}, counter(m, bits)
        ledger.cell(len(bits), digits, int.bit_count, weights)
        return digits

    def fuse(m, products, carry):
        weights = {0} if carry is None else {0, ledger.take(carry)}
        digits, operands = fused_adder(m, products, carry), 2 * len(products)

        def ones(row):
            return sum((row >> n & 1) == (row >> n + 1 & 1) for n in range(0, operands, 2)) + (row >> operands)

        ledger.products += len(products)
        ledger.cell(operands + (carry is not None), digits, ones, weights)
        return digits

    with mock.patch.multiple(popcount, primitive=ledger.primitive, counter=count, fused_adder=fuse):
        products, now = [(Signal(), Signal()) for _ in range(pairs)], early(pairs)
        first = popcount.fused_chains(None, products[:now], [None] * popcount.chains(pairs))
        second = popcount.fused_chains(None, products[now:], first[0])
        counted = popcount.sixes(None, first[1])
        columns = {weight: second.get(weight, []) + counted.get(weight, []) for weight in range(4)}
        digits = popcount.compress(None, columns, pairs).parts
    ends = [ledger.weights.pop(id(bit), None) for bit in digits]
    return (ledger.sound and ledger.products == pairs and ends == list(range(pairs.bit_length()))
            and all(weight >= pairs.bit_length() for weight in ledger.weights.values()))


def measure(quick: bool, seed: int) -> list[Figure]:
    """Every word, or one; what is proved does not depend on the seed."""
    figures = [figure(width, shifts, family) for width, shifts in (QUICK if quick else [(w, SHIFTS) for w in WORDS])
               for family in FORMS]
    halves = sorted({half for word in WIDE for half in (word // 2, word - word // 2)})
    wrong = [half for half in halves if not conserves(half)]
    return [*figures, Figure(
        f"LUT primitives, words of {WIDE[0]} to {WIDE[-1]} bits: each cell, and what becomes of each bit",
        "the sum is conserved", f"not in halves of {wrong} bits" if wrong else "the sum is conserved", not wrong)]


def figure(width: int, shifts: tuple[int, ...], family: str) -> Figure:
    """The counters of one word in one form."""
    whole, mutant = proved(width, shifts, family)
    return Figure(
        f"words of {width} bits, upper halves shifted by {', '.join(map(str, shifts))}, {FORMS[family]}",
        "proved, inverted wire refused",
        f"{'' if whole else 'not '}proved, inverted wire {'not ' if mutant else ''}refused", whole and not mutant)
