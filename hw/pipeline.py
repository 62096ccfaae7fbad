"""Pipeline plumbing."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Signal

from hw.target import has_lut6


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


def replica(m, platform, value, name):
    """`value` a cycle later, without a reset, in a register of its own next to those it commands.

    Synthesis makes one register of several that hold the same, and its only net then goes everywhere; a primitive it
    leaves alone.
    """
    if not has_lut6(platform):
        return delayed(m, value, 1, name, reset_less=True)
    bits = [Signal(name=f"{name}_{n}") for n in range(len(value))]
    for n, bit in enumerate(bits):
        m.submodules[f"{name}_{n}"] = Instance(
            "FDRE", i_C=ClockSignal(), i_CE=Const(1), i_R=Const(0), i_D=value[n], o_Q=bit)
    return Cat(bits)
