"""Pipeline plumbing."""

from amaranth.hdl import Signal


def below(value, limit):
    """Whether an unsigned value is less than `limit`: below a power of two without an adder."""
    if limit.bit_count() != 1:
        return value < limit
    return ~value[limit.bit_length() - 1 :].any()


def delayed(m, value, cycles, name, *, reset_less=False):
    """`value` as it was `cycles` cycles ago; without a reset where it is only looked at when control says so."""
    for n in range(cycles):
        later = Signal.like(value, name=f"{name}_{n}", reset_less=reset_less)
        m.d.sync += later.eq(value)
        value = later
    return value
