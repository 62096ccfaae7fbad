"""Which clocks the PLL of a family makes from an oscillator, exactly, within the limits of its data sheet."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Ranges of a family's PLL, frequencies in Hz. `loop` says whether the output divider is inside the loop."""

    reference: tuple[int, int]  # at the phase detector
    oscillator: tuple[int, int]
    nominal: int  # oscillator to come close to
    input_divider: int  # highest value; the lowest is 1
    multiplier: int
    output_dividers: tuple[int, ...]
    loop: bool


@dataclass(frozen=True)
class Pll:
    """Divider values: the output is input / `input_divider` * `multiplier`, without `loop` also / `output_divider`."""

    input_divider: int
    multiplier: int
    output_divider: int


EVERY = tuple(range(1, 129))

LIMITS = {
    # PLLE2 of speed grade -1 (DS181). The open router sets the loop filter for a multiplier of 8 whatever it is.
    "xc7": Limits((19_000_000, 450_000_000), (800_000_000, 1_600_000_000), 800_000_000, 56, 64, EVERY, loop=False),
    # EHXPLLL with feedback from its first output (FPGA-DS-02012).
    "ecp5": Limits((3_125_000, 400_000_000), (400_000_000, 800_000_000), 600_000_000, 128, 80, EVERY, loop=True),
    # rPLL of GW1N(R)-9 and GW2A-18, whose common ranges these are (UG286).
    "gowin": Limits(
        (3_000_000, 400_000_000), (500_000_000, 1_200_000_000), 800_000_000, 64, 64,
        (2, 4, 8, *range(16, 129, 16)), loop=True),
}


def pll(family: str, source: int, clock: int) -> Pll | None:
    """Dividers that make `clock` Hz of `source` Hz; None if there are none.

    Of several, those with the fastest phase detector, which jitters least, and then the oscillator closest to nominal.
    """
    limits = LIMITS[family]
    outputs = sorted(limits.output_dividers, key=lambda output: abs(clock * output - limits.nominal))
    for divider in range(1, limits.input_divider + 1):
        if not limits.reference[0] * divider <= source <= limits.reference[1] * divider:
            continue
        for output in outputs:
            oscillator = clock * output
            # The multiplier acts on the output with `loop`, else on the oscillator.
            multiplier, rest = divmod((clock if limits.loop else oscillator) * divider, source)
            fits = limits.oscillator[0] <= oscillator <= limits.oscillator[1] and 1 <= multiplier <= limits.multiplier
            if fits and not rest:
                return Pll(divider, multiplier, output)
    return None


def clocks(family: str, source: int, low: int, high: int, step: int) -> tuple[int, ...]:
    """The multiples of `step` Hz in `low`..`high` that a PLL makes, and `source` itself, ascending."""
    made = {clock for clock in range(low, high + 1, step) if pll(family, source, clock)}
    return tuple(sorted(made | {source}))
