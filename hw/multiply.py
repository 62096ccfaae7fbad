"""The multiplier of the combine unit: radix-4 Booth in LUTs, or a hard multiplier where the flow has one."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.target import has_multipliers

LATENCY = 2


class Multiplier(wiring.Component):
    """Signed product o = a*b, `LATENCY` cycles later, one per cycle.

    Booth: b's digits d_i = b[2i-1] + b[2i] - 2*b[2i+1], each in -2..2, give half as many rows as b has bits; a row bit
    is one LUT5 of two bits of a and three of b. Rows are added in pairs before the register: that keeps the adders
    apart, which synthesis would otherwise merge into a compressor twice the size.
    """

    def __init__(self, a_bits: int, b_bits: int):
        super().__init__({"a": In(signed(a_bits)), "b": In(signed(b_bits)), "o": Out(signed(a_bits + b_bits))})

    def elaborate(self, platform):
        m = Module()
        if has_multipliers(platform):
            product = Signal.like(self.o)
            m.d.sync += [product.eq(self.a * self.b), self.o.eq(product)]
            return m

        width = len(self.a) + 1
        doubled = Cat(Const(0, 1), self.a, self.a[-1])  # bit k of a at k + 1
        digits = [Const(0, 1), *self.b, *([self.b[-1]] if len(self.b) % 2 else [])]
        rows = []
        for n in range(0, len(digits) - 1, 2):
            low, middle, high = digits[n : n + 3]
            row = Signal(signed(width), name=f"row{n}")
            for k in range(width):
                magnitude = Mux(low ^ middle, doubled[k + 1], Mux(high ^ middle, doubled[k], 0))
                m.d.comb += row[k].eq(magnitude ^ high)
            rows.append((row, high, n))  # the row's value is row + high: two's complement

        total = carries = 0
        for first, second in zip(rows[::2], [*rows[1::2], None], strict=False):
            pair = Signal(signed(width + 3), name=f"pair{first[2]}")
            carry = Signal(name=f"carry{first[2]}")
            if second is None:
                m.d.sync += pair.eq(first[0] + Cat(first[1]))
            else:
                m.d.sync += [pair.eq(first[0] + Cat(first[1], Const(0, 1), second[0]).as_signed()), carry.eq(second[1])]
            total += pair << first[2]
            carries += carry << (first[2] + 2)
        m.d.sync += self.o.eq(total + carries)
        return m
