"""Verify the blocks: `python -m sim.verify NAME ... [--quick] [--seed N]`, then `report` for docs/verification.md."""

import sys
from pathlib import Path

from sim.campaign import Campaign

# In the order of the report.
NAMES = ("counting", "equivalence", "mutation")
_HEAD = """# Verification

Written by `make verify` from what it measured; every table names the command that repeats it, seed included.
`make verify` also runs `python -m sim.formal`, which proves contracts of link and control for ever, by induction.

- *counting*: match counters are plain sums, up to 32 bits proved whole, wider ones by construction
  (`sim/verify/counting.py`).
- *equivalence*: what Yosys makes of a block for a family of parts is the block, for ever (`sim/verify/equivalence.py`).
- *mutation*: Yosys changes one gate of a block, thousands of times, and the block's bench must notice
  (`sim/verify/mutation.py`). What it does not notice is proved by induction to be the same design, or listed with the
  reason why it is no hole, if there is one; the score is of the others.
"""
CAMPAIGN = Campaign(
    "sim.verify", NAMES, "Proofs about the blocks, and how much their benches notice.", Path("build/verify"),
    Path("docs/verification.md"), _HEAD + "\n")


if __name__ == "__main__":
    sys.exit(CAMPAIGN.main())
