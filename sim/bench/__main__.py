"""Run benchmarks: `python -m sim.bench NAME ... [--quick] [--seed N]`, then `report` for docs/bench.md."""

from __future__ import annotations

import sys
from pathlib import Path

from sim.campaign import Campaign

# In the order of the report.
NAMES = ("dot", "core", "planes", "networks")
_HEAD = """# Benchmarks

Written by `make bench` from what it measured; every table names the command that repeats it. `sim/bench/` says what
exactly is done. Areas are counted in netlists of Yosys, two functions of five inputs together as one LUT6. Cycles are
the compiler's, which the tests hold equal to the counter of the RTL. Routed clocks are in [boards.md](boards.md).

BISMO's figures are those of its own cost model for Vivado, FINN's those of its published designs.

"""
CAMPAIGN = Campaign(
    "sim.bench", NAMES, "Area and cycles of the accelerator.", Path("build/bench"), Path("docs/bench.md"), _HEAD)


if __name__ == "__main__":
    sys.exit(CAMPAIGN.main())
