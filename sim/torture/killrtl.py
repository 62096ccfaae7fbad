"""As `sim.torture.kill`, at the virtual board: the RTL, in simulated time. Fewer accidents, because it is slow."""

from __future__ import annotations

from sim.figures import Figure
from sim.torture.kill import accidents

COUNT, QUICK_COUNT = 40, 1


def measure(quick: bool, seed: int) -> list[Figure]:
    """SIGKILL, then reset, power cycle and unplugging of the virtual board."""
    return accidents("virtual", QUICK_COUNT if quick else COUNT, seed)
