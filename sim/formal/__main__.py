"""Prove the blocks of link and control: `python -m sim.formal [NAME ...]`; exit status 0 when everything holds.

For each block: its contract holds for ever, its covers are reached, and a copy with a seeded bug is refused.
"""

import sys
import time

from hw.options import FAILURE, SUCCESS, Parser

from . import checking, coding, control, exchange, loading, sharing, stepping, storage, walks
from .prover import Proof, ProofError

MODULES = (storage, coding, checking, exchange, control, stepping, walks, loading, sharing)
PROOFS = {proof.name: proof for module in MODULES for proof in module.PROOFS}


def check(proof: Proof) -> list[str]:
    """What is wrong with a proof; nothing, if it stands."""
    wrong = [] if proof.holds() else ["the contract is not proved"]
    wrong += [] if proof.reached() else ["a cover is not reached"]
    return wrong + ([] if proof.notices() else ["the seeded bug is not noticed"])


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    parser = Parser(prog="python -m sim.formal", description="Prove the blocks of link and control.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROOFS)}; all without")
    names = parser.parse_args(argv).names
    if unknown := [name for name in names if name not in PROOFS]:
        parser.error(f"proof must be one of {', '.join(PROOFS)}, not {unknown[0]!r}")
    failed = 0
    for name in names or PROOFS:
        start = time.monotonic()
        try:
            wrong = check(PROOFS[name])
        except ProofError as error:
            print(f"sim.formal: {error}", file=sys.stderr)
            return FAILURE
        failed += bool(wrong)
        print(f"{name:12} {', '.join(wrong) or 'proved, covers reached, seeded bug noticed':45} "
              f"{time.monotonic() - start:6.1f} s", flush=True)
    return FAILURE if failed else SUCCESS


if __name__ == "__main__":
    sys.exit(main())
