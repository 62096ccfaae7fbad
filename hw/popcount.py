"""Counting matching bits: a portable form, and one from Xilinx LUT primitives.

Yosys flattens sums into adders and spends about two LUT6 per bit on a popcount, however the source says it; primitives
stay as they are. Two facts make the count cheap: one LUT6 with both outputs in use is a full adder of two XNORed pairs
and one bit (five inputs, half a LUT per product), and three LUT6 count six bits; from there on every LUT removes one
bit. The tree is a list of columns, one per power of two. Every cell conserves sum(2^weight * bits).
"""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.target import has_lut6

LATENCY = 3
CHAIN = 4  # fused adders in a row: a chain's depth against one more bit to count per chain
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


def fused_chains(m: Module, pairs: Sequence[tuple[Value, Value]]) -> Columns:
    """Pairs counted two at a time, in chains of `CHAIN` adders: column 0 a bit per chain, column 1 the carries."""
    columns: Columns = {0: [], 1: []}
    for start in range(0, len(pairs), 2 * CHAIN):
        running = None
        for n in range(start, min(start + 2 * CHAIN, len(pairs)), 2):
            running, *carries = fused_adder(m, pairs[n : min(n + 2, start + 2 * CHAIN)], running)
            columns[1] += carries
        columns[0].append(running)
    return columns


def compress(m: Module, columns: Columns) -> Columns:
    """Counters of six and full adders until no column holds more than two bits, oldest bits first."""
    columns, weight = {w: list(bits) for w, bits in columns.items()}, 0
    while weight <= max(columns):
        column = columns.setdefault(weight, [])
        while len(column) > 2:
            take = 6 if len(column) >= 6 else 3
            counted, column[:] = column[:take], column[take:]
            for n, bit in enumerate(counter(m, counted)):
                columns.setdefault(weight + n, []).append(bit)
        weight += 1
    return columns


def rows(columns: Columns) -> list[Value]:
    """Two integers whose sum the columns represent."""
    return [Cat(columns[w][n] if n < len(columns.get(w, ())) else Const(0, 1) for w in range(max(columns) + 1))
            for n in range(2)]


class MatchCount(wiring.Component):
    """Number of equal bits of two words, `LATENCY` cycles later; zero unless `enable` holds one cycle before that."""

    def __init__(self, width: int):
        self._width = width
        super().__init__({"a": In(width), "b": In(width), "enable": In(1), "o": Out(range(width + 1))})

    def elaborate(self, platform):
        m = Module()
        partial = self._chains if has_lut6(platform) else self._groups
        m.d.sync += self.o.eq(Mux(self.enable, partial(m), 0))
        return m

    def _chains(self, m):
        found = fused_chains(m, list(zip(self.a, self.b, strict=True)))
        held = {w: [Signal(name=f"held{w}_{n}") for n in range(len(bits))] for w, bits in found.items()}
        m.d.sync += [later.eq(bit) for w, bits in found.items() for later, bit in zip(held[w], bits, strict=True)]
        first, second = rows(compress(m, held))
        summands = Signal.like(first), Signal.like(second)
        m.d.sync += [summands[0].eq(first), summands[1].eq(second)]
        return summands[0] + summands[1]

    def _groups(self, m):
        matches = ~(self.a ^ self.b)
        counts = []
        for start in range(0, self._width, GROUP):
            bits = list(matches[start : start + GROUP])
            counts.append(Signal(range(len(bits) + 1), name=f"count{start}"))
            m.d.sync += counts[-1].eq(tree_sum(bits))
        total = Signal(range(self._width + 1))
        m.d.sync += total.eq(tree_sum(counts))
        return total


def tree_sum(values):
    """Sum of a list, as a balanced tree of adders."""
    half = len(values) // 2
    return values[0] if len(values) == 1 else tree_sum(values[:half]) + tree_sum(values[half:])
