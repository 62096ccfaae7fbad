"""Damaged frames against the deframer's RTL in fast simulation: not one may come out as anything but what was sent."""

from pathlib import Path

from hw.link.frames import Deframer
from sim.figures import Figure
from sim.native import figures, harness

CORRUPTIONS, QUICK_CORRUPTIONS = 10_000_000, 30_000
PROGRAM = Path(__file__).with_name("deframer.cpp")


def measure(quick: bool, seed: int) -> list[Figure]:
    """All flips of one and two bits of several shapes (left out if quick), then random corruptions."""
    program, result = harness(Deframer(), PROGRAM), []
    if not quick:
        flips = figures(program, "flips")
        what = f"all 1- and 2-bit flips of {flips['shapes']} frame shapes ({flips['tried']:,}), RTL deframer"
        result.append(Figure(what, "0 accepted", f"{flips['accepted']} accepted", flips["accepted"] == 0))
        result.append(_whole(flips))
    count = QUICK_CORRUPTIONS if quick else CORRUPTIONS
    run = figures(program, "random", count, seed)
    passed = run["accepted"] == 0 and run["tried"] >= count
    result.append(Figure(
        "random corruptions, RTL deframer", f"0 accepted of {count:,}",
        f"{run['accepted']} accepted of {run['tried']:,}", passed,
    ))
    return [*result, _whole(run)]


def _whole(run) -> Figure:
    probes, lost = run["probes"], run["lost"]
    return Figure("whole frames in between, RTL deframer", f"{probes:,} arrive", f"{probes - lost:,} arrive", lost == 0)
