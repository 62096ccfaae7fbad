"""Command line of a family of measurements: run some by name, keep their figures, write them up as one document.

A measurement is a module with `measure(quick: bool, seed: int) -> list[Figure]`; quick runs take seconds and judge by
the same rules with smaller counts.
"""

from __future__ import annotations

import datetime
import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hw.options import Parser
from sim import figures
from sim.figures import Record


@dataclass(frozen=True)
class Campaign:
    """A family of measurements.

    Parameters
    ----------
    package : str, where the modules are, and the command's name
    names : its modules, in the order of the document
    about : str, one sentence for the command's help
    folder, document : where figures are kept and written up, unless told otherwise
    head : str, what the document says before the tables
    """

    package: str
    names: tuple[str, ...]
    about: str
    folder: Path
    document: Path
    head: str

    def main(self, argv: list[str] | None = None) -> int:
        """Run what is named. 0: every requirement is met; 1: one is not; 2: wrong arguments."""
        args = self._parser().parse_args(argv)
        if args.names == ["report"]:
            return self.report(args.folder, args.output)
        records = []
        for name in self.names if args.names == ["all"] else args.names:
            records.append(self.run(name, args.quick, args.seed))
            if not args.quick:
                figures.save(args.folder, records[-1])
        return 0 if all(figure.passed for record in records for figure in record.figures) else 1

    def run(self, name: str, quick: bool, seed: int) -> Record:
        """Measure one module and print its figures."""
        module, start = importlib.import_module(f"{self.package}.{name}"), time.monotonic()
        measured = tuple(module.measure(quick, seed))
        for figure in measured:
            print(f"{name}: {figure.what}: {figure.measured} (required {figure.required})"
                  f"{'' if figure.passed else ' FAILED'}", flush=True)
        command = f"python -m {self.package} {name} --seed {seed}" + (" --quick" if quick else "")
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        return Record(name, command, date, time.monotonic() - start, measured)

    def report(self, folder: Path, output: Path) -> int:
        """Write the document from what was measured; 1 if a requirement is not met or was not measured."""
        records = [figures.load(path) for name in self.names if (path := folder / f"{name}.json").exists()]
        missing = [name for name in self.names if name not in {record.name for record in records}]
        output.write_text(self.head + figures.table(records))
        for name in missing:
            print(f"{self.package}: {name} has not been measured: run python -m {self.package} {name}", file=sys.stderr)
        met = all(figure.passed for record in records for figure in record.figures)
        return 0 if met and not missing else 1

    def _parser(self) -> Parser:
        parser = Parser(prog=f"python -m {self.package}", description=self.about)
        parser.add_argument("names", nargs="+", choices=[*self.names, "all", "report"], metavar="NAME",
                            help=f"one or more of {', '.join(self.names)}; or all; or report")
        parser.add_argument("--quick", action="store_true", help="small counts; nothing is kept")
        parser.add_argument("--seed", type=int, default=1, metavar="N", help="default 1")
        parser.add_argument("--folder", type=Path, default=self.folder,
                            help=f"where figures are kept; default {self.folder}")
        parser.add_argument("--output", type=Path, default=self.document, help=f"the report; default {self.document}")
        return parser
