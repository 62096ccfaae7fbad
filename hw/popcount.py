"""Counting matching bits: a portable form, and one from Xilinx LUT primitives.

Yosys flattens sums into adders and spends about two LUT6 per bit on a popcount, however the source says it; primitives
stay as they are. Two facts make the count cheap: one LUT6 with both outputs in use is a full adder of two XNORed pairs
and one bit (five inputs, half a LUT per product), and a LUT per bit removes bits from then on: one for a full adder,
two for a count of five, three for a count of six. The tree is a list of columns, one per power of two. Every cell
conserves sum(2^weight * bits).

Half of the operands' bits come a cycle later than the others (`skewed`), so that a chain of adders has a register in
its middle and nothing else has to wait for it. Words are skewed once, where they enter the array.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.pipeline import delayed
from hw.target import has_lut6

LATENCY = 4
CHAIN = 6  # fused adders in a row, half of them per cycle: a chain's depth against one more bit to count per chain
SIZES = {2: 1, 3: 1, 5: 2, 6: 3}  # bits that a counter counts, and its LUTs
GROUP = 8  # bits of a partial count of the portable form

Columns = dict[int, list[Value]]


def primitive(m: Module, init: int, inputs: Sequence[Value]) -> Signal:
    """A LUT primitive: bit n of `init` is the output for the inputs that spell n, first input lowest."""
    output = Signal()
    ports = {f"i_I{n}": value for n, value in enumerate(inputs)}
    m.submodules += Instance(f"LUT{len(inputs)}", p_INIT=Const(init, 1 << len(inputs)), **ports, o_O=output)
    return output


def lut(m: Module, function: Callable[..., int], inputs: Sequence[Value]) -> Signal:
    """A LUT that computes `function` of its inputs, each 0 or 1."""
    rows = range(1 << len(inputs))
    init = sum(function(*(row >> n & 1 for n in range(len(inputs)))) << row for row in rows)
    return primitive(m, init, inputs)


def counter(m: Module, bits: Sequence[Value]) -> list[Value]:
    """The binary digits of the sum of up to six bits, least significant first."""
    return [lut(m, lambda *values, w=w: sum(values) >> w & 1, bits) for w in range(len(bits).bit_length())]


def fused_adder(m: Module, pairs: Sequence[tuple[Value, Value]], carry: Value | None) -> list[Value]:
    """Sum and carry of up to two matching pairs and a bit; inputs are shared, so both fit one LUT6."""
    def total(*values):
        operands, rest = values[: 2 * len(pairs)], values[2 * len(pairs) :]
        return sum(a == b for a, b in zip(operands[::2], operands[1::2], strict=True)) + sum(rest)

    inputs = [value for pair in pairs for value in pair] + ([] if carry is None else [carry])
    digits = (len(pairs) + (carry is not None)).bit_length()
    return [lut(m, lambda *values, w=w: total(*values) >> w & 1, inputs) for w in range(digits)]


def chains(pairs: int) -> int:
    """Chains of fused adders for so many pairs: an odd number, of whose bits full adders make one."""
    return -(-pairs // (2 * CHAIN)) | 1


def fused_chains(m: Module, pairs: Sequence[tuple[Value, Value]], running: Sequence[Value | None]) -> Columns:
    """Pairs counted two at a time, in one chain of fused adders on from each bit of `running`, about equally long.

    Column 0 has a bit per chain, column 1 the carries.
    """
    columns: Columns = {0: [], 1: []}
    adders = [pairs[n : n + 2] for n in range(0, len(pairs), 2)]
    for chain, bit in enumerate(running):
        for adder in adders[chain * len(adders) // len(running) : (chain + 1) * len(adders) // len(running)]:
            bit, *carries = fused_adder(m, adder, bit)
            columns[1] += carries
        columns[0] += [] if bit is None else [bit]
    return columns


def sixes(m: Module, carries: Sequence[Value]) -> Columns:
    """Carries of column 1, as many as are whole sixes counted: in columns 1 to 3."""
    whole = len(carries) - len(carries) % 6
    columns: Columns = {1: list(carries[whole:]), 2: [], 3: []}
    for start in range(0, whole, 6):
        for weight, bit in enumerate(counter(m, carries[start : start + 6]), 1):
            columns[weight].append(bit)
    return columns


@cache
def plan(counts: tuple[int, ...]) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """The fewest LUTs that leave one bit in each of the columns of `counts` bits, and the sizes of their counters."""
    if not counts:
        return 0, ()
    bits, *others = counts
    best = None
    for six, five, two in product(range(bits // 5 + 1), range(bits // 4 + 1), range(2)):
        three, odd = divmod(max(0, bits - 1) - 5 * six - 4 * five - two, 2)
        if three < 0 or odd:
            continue
        sizes = (6,) * six + (5,) * five + (3,) * three + (2,) * two
        carries = [len(sizes), six + five, *[0] * len(others)]
        luts, following = plan(tuple(count + extra for count, extra in zip(others, carries, strict=False)))
        luts += sum(SIZES[size] for size in sizes)
        if best is None or (luts, len(sizes)) < (best[0], len(best[1][0])):
            best = luts, (sizes, *following)
    return best


def compress(m: Module, columns: Columns, top: int) -> Value:
    """The integer that the columns represent, at most `top`: counters until each column holds one bit, oldest first."""
    width = top.bit_length()
    left = [list(columns.get(weight, ())) for weight in range(width)]
    for weight, sizes in enumerate(plan(tuple(map(len, left)))[1]):
        for size in sizes:
            counted, left[weight][:] = left[weight][:size], left[weight][size:]
            for n, bit in enumerate(counter(m, counted)):
                if weight + n < width:
                    left[weight + n].append(bit)
    return Cat(bits[0] if bits else Const(0, 1) for bits in left)


def halves(word):
    """The halves of a word or of a list of its bits, the lower one first; of an odd number it has one more."""
    half = len(word) - len(word) // 2
    return word[:half], word[half:]


def early(bits: int) -> int:
    """How many bits of a half of so many come first: the adders of two are shared out evenly."""
    return min(bits, 2 * -(-bits // 4))


def skewed(m: Module, word: Value, name: str) -> Value:
    """`word` as `MatchCount` takes it: the later bits of each half a cycle after the others."""
    parts = []
    for n, half in enumerate(halves(word)):
        now = early(len(half))
        parts += [half[:now], delayed(m, half[now:], 1, f"{name}_late{n}", reset_less=True)]
    return Cat(parts)


def early_mask(width: int) -> int:
    """The bits of a word that come first."""
    return sum(1 << bit for half in halves(range(width)) for bit in half[: early(len(half))])


class MatchCount(wiring.Component):
    """Number of equal bits of two words, `LATENCY` cycles later; zero unless `enable` holds one cycle before that.

    `a` and `b` are `skewed`. If `split` holds with `enable`, the matches of the upper half count 2^shift times.
    """

    def __init__(self, width: int, shift: int = 0):
        self._shift = shift
        most = max(width, (width // 2 << shift) + width - width // 2)
        super().__init__({
            "a": In(width), "b": In(width), "enable": In(1), "split": In(1), "o": Out(range(most + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        counted = _chains if has_lut6(platform) else _groups
        lower, upper = (
            counted(m, half, name)
            for half, name in zip(halves(list(zip(self.a, self.b, strict=True))), ("lower", "upper"), strict=True))
        m.d.sync += self.o.eq(Mux(self.enable, lower + Mux(self.split, upper << self._shift, upper), 0))
        return m


def _held(m, bits, name):
    """A register for each bit."""
    return [delayed(m, bit, 1, f"{name}_{n}", reset_less=True) for n, bit in enumerate(bits)]


def _total(m, value, pairs, name):
    total = Signal(range(pairs + 1), name=name, reset_less=True)
    m.d.sync += total.eq(value)
    return total


def _chains(m, pairs, name):
    """The matches among pairs three cycles after the early ones, by LUT primitives."""
    now = early(len(pairs))
    first = fused_chains(m, pairs[:now], [None] * chains(len(pairs)))
    second = fused_chains(m, pairs[now:], _held(m, first[0], f"{name}_running"))
    counted = sixes(m, _held(m, first[1], f"{name}_early"))
    columns = {w: _held(m, second.get(w, []) + counted.get(w, []), f"{name}{w}") for w in range(4)}
    return _total(m, compress(m, columns, len(pairs)), len(pairs), name)


def _groups(m, pairs, name):
    """The same in a portable form: groups of few bits, then their sums."""
    now, counts = early(len(pairs)), [Const(0, 1)]
    for start in (*range(0, now, GROUP), *range(now, len(pairs), GROUP)):
        matches = [a == b for a, b in pairs[start : min(start + GROUP, now if start < now else len(pairs))]]
        count = Signal(range(len(matches) + 1), name=f"{name}{start}", reset_less=True)
        m.d.sync += count.eq(tree_sum(matches))
        counts.append(delayed(m, count, start < now, f"{name}{start}", reset_less=True))
    return _total(m, tree_sum(counts), len(pairs), name)


def tree_sum(values):
    """Sum of a list, as a balanced tree of adders."""
    half = len(values) // 2
    return values[0] if len(values) == 1 else tree_sum(values[:half]) + tree_sum(values[half:])
