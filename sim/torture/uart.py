"""The serial receiver: senders whose rate is off, and glitches; against edges at exact times in simulation."""

import math
from pathlib import Path

from hw.link.uart import Receiver
from sim.figures import Figure
from sim.native import figures, harness

BYTES, QUICK_BYTES = 1_000_000, 20_000
# Clock and baud: one that the clock does not divide, the fastest line, and a slow one.
RATES = ((25_000_000, 3_000_000), (25_000_000, 3_125_000), (12_000_000, 921_600))
MISMATCH = 0.03


def measure(quick: bool, seed: int) -> list[Figure]:
    """Bytes received wrong at 3 % of rate mismatch either way, and with glitches; the first rate only if quick."""
    count = QUICK_BYTES if quick else BYTES
    result = []
    for clock_hz, baud in RATES[: 1 if quick else None]:
        program, per_bit = harness(Receiver(clock_hz, baud), PROGRAM), clock_hz / baud
        for error in (MISMATCH, -MISMATCH):
            result.append(_figure(
                f"UART receiver, {per_bit:.2f} cycles per bit, sender {error:+.0%}", program, count,
                (per_bit, error, count, 0, seed),
            ))
        glitch = shortest_pulse(per_bit) - 1e-3
        result.append(_figure(
            f"UART receiver, {per_bit:.2f} cycles per bit, glitches of {glitch:.3f} bit a byte apart", program, count,
            (per_bit, 0, count, glitch, seed),
        ))
    return result


def shortest_pulse(per_bit: float) -> float:
    """Pulses shorter than this many bits are ignored: a quarter, in whole cycles of the sampling clock."""
    return math.floor(per_bit / 4) / per_bit


def wrong(clock_hz: int, baud: int, error: float, count: int, glitch: float, seed: int) -> int:
    """Bytes of `count` received wrong from a sender faster by the fraction `error`, with pulses of `glitch` bits."""
    program = harness(Receiver(clock_hz, baud), PROGRAM)
    return figures(program, clock_hz / baud, error, count, glitch, seed)["wrong"]


def _figure(what: str, program: Path, count: int, arguments: tuple) -> Figure:
    measured = figures(program, *arguments)
    bad = measured["wrong"] + abs(measured["sent"] - count)
    return Figure(what, f"0 wrong of {count:,} bytes", f"{bad} wrong of {measured['sent']:,}", bad == 0)


PROGRAM = Path(__file__).with_name("uart.cpp")
