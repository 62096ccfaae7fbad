"""Run torture: `python -m sim.torture NAME ... [--quick] [--seed N]`, then `report` for docs/reliability.md."""

from __future__ import annotations

import sys
from pathlib import Path

from sim.campaign import Campaign

# In the order of the report.
NAMES = ("codec", "deframer", "order", "goodput", "inference", "noise", "kill", "killrtl", "refusals", "artifact",
         "uart", "programs", "soak")
_HEAD = """# Reliability of link, host and core

Written by `make torture` from what it measured; every table names the command that repeats it, seed included.
`sim/torture/` says what exactly is done.

Goodput, batches, noise and order are in simulated time, with the driver's own session and the emulated device at the
ends of a line with faults; they do not depend on the machine. Hosts are killed for real, at an emulated device in a
process of its own and at the virtual board, which is the RTL; the latter is timed by its own clock. Deframer, receiver
and hostile programs are the RTL in fast simulation. Nothing here was measured on a board yet. Unbounded proofs of the
blocks of link and control are in `sim/formal/`.

No step from a model file or an image to a result unpickles anything: files are JSON and plain arrays
(`allow_pickle=False`), and the linter forbids pickle (rule S301).

"""
CAMPAIGN = Campaign(
    "sim.torture", NAMES, "Torture link, host and core.", Path("build/torture"), Path("docs/reliability.md"), _HEAD)


if __name__ == "__main__":
    sys.exit(CAMPAIGN.main())
