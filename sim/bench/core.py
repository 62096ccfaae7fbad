"""LUTs of the whole core, without link, per multiply-accumulate a cycle."""

from __future__ import annotations

from hw.arch.config import PRESETS
from hw.build.lut6 import luts
from hw.core import Core
from sim.figures import NOTHING, Figure
from sim.synthesis import netlist

BAR = 3.0
FROM = 4_096  # multiply-accumulates per cycle: below, control and memories outweigh the array


def measure(quick: bool, seed: int) -> list[Figure]:
    """Every preset for 7-series; nothing is random. FINN's CNV takes 11.5 LUT per MAC a cycle, all layers together."""
    figures = []
    for name in ("tiny",) if quick else PRESETS:
        config = PRESETS[name]
        count, macs = luts(netlist(Core(config), "xc7")), config.macs_per_cycle
        figures.append(Figure(
            f"LUT6 per MAC/cycle, core `{name}` of {macs:,} MAC/cycle (FINN CNV: 11.5)",
            f"<= {BAR:.1f}" if macs >= FROM else NOTHING, f"{count / macs:.2f} ({count:,} LUT6)",
            macs < FROM or count <= BAR * macs))
    return figures
