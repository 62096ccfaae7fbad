"""Run torture: `python -m sim.torture NAME ... [--quick] [--seed N]`, then `report` for docs/reliability.md.

Exit status: 0 when every requirement is met, 1 when one is not, 2 for wrong arguments.
"""

from __future__ import annotations

import datetime
import importlib
import sys
import time
from pathlib import Path

from hw.options import Parser
from sim.torture import figures
from sim.torture.figures import Record

# In the order of the report.
NAMES = ("codec", "deframer", "order", "goodput", "inference", "noise", "kill", "killrtl", "refusals", "artifact",
         "uart", "soak")
FOLDER = Path("build/torture")
REPORT = Path("docs/reliability.md")
_HEAD = """# Reliability of link and host

Written by `make torture` from what it measured; every table names the command that repeats it, seed included.
`sim/torture/` says what exactly is done.

Goodput, batches, noise and order are in simulated time, with the driver's own session and the emulated device at the
ends of a line with faults; they do not depend on the machine. Hosts are killed for real, at an emulated device in a
process of its own and at the virtual board, which is the RTL; the latter is timed by its own clock. Nothing here was
measured on a board yet. Unbounded proofs of the link's blocks are in `sim/formal/`.

No step from a model file or an image to a result unpickles anything: files are JSON and plain arrays
(`allow_pickle=False`), and the linter forbids pickle (rule S301).

"""


def main(argv: list[str] | None = None) -> int:
    """Run what is named; the exit status."""
    args = _parser().parse_args(argv)
    if args.names == ["report"]:
        return report(args.folder, args.output)
    records = []
    for name in NAMES if args.names == ["all"] else args.names:
        records.append(run(name, args.quick, args.seed))
        if not args.quick:
            figures.save(args.folder, records[-1])
    return 0 if all(figure.passed for record in records for figure in record.figures) else 1


def run(name: str, quick: bool, seed: int) -> Record:
    """Measure one module and print its figures."""
    module, start = importlib.import_module(f"sim.torture.{name}"), time.monotonic()
    measured = tuple(module.measure(quick, seed))
    for figure in measured:
        print(f"{name}: {figure.what}: {figure.measured} (required {figure.required})"
              f"{'' if figure.passed else ' FAILED'}", flush=True)
    command = f"python -m sim.torture {name} --seed {seed}" + (" --quick" if quick else "")
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Record(name, command, date, time.monotonic() - start, measured)


def report(folder: Path, output: Path) -> int:
    """Write the report from what was measured; 1 if a requirement is not met or was not measured."""
    records = [figures.load(path) for name in NAMES if (path := folder / f"{name}.json").exists()]
    missing = [name for name in NAMES if name not in {record.name for record in records}]
    output.write_text(_HEAD + figures.table(records))
    for name in missing:
        print(f"sim.torture: {name} has not been measured: run python -m sim.torture {name}", file=sys.stderr)
    met = all(figure.passed for record in records for figure in record.figures)
    return 0 if met and not missing else 1


def _parser() -> Parser:
    parser = Parser(prog="python -m sim.torture", description="Torture host and link.")
    parser.add_argument("names", nargs="+", choices=[*NAMES, "all", "report"], metavar="NAME",
                        help=f"one or more of {', '.join(NAMES)}; or all; or report")
    parser.add_argument("--quick", action="store_true", help="small counts; nothing is kept")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default 1")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where figures are kept; default {FOLDER}")
    parser.add_argument("--output", type=Path, default=REPORT, help=f"the report; default {REPORT}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
