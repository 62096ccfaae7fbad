"""Pipeline plumbing."""

from amaranth.hdl import Signal


def delayed(m, value, cycles, name):
    """`value` as it was `cycles` cycles ago."""
    for n in range(cycles):
        later = Signal.like(value, name=f"{name}_{n}")
        m.d.sync += later.eq(value)
        value = later
    return value
