"""`python -m hw.build.calibrate [FAMILY...]`: synthesise the sample configurations that `cost` is calibrated on.

Their resources go to `synthesis.json` beside this file, one line per sample; samples that are not asked for stay.
`--build DIR` takes them from the report of a build of hw.build instead.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boards
from hw.arch.config import PRESETS, Config
from hw.options import SUCCESS, Parser, status

from . import design
from .blocks import Blocks
from .cost import RESULTS
from .errors import BuildError
from .figures import read
from .flow import Stage
from .job import flow_of
from .report import save
from .tools import Console

# Whose part stands for its family; large, for fit does not matter here.
BOARDS = {"xc7": ("arty_a7", "100"), "ecp5": ("ulx3s", "85"), "gowin": ("tang_primer_20k", "dock")}
LARGE = "large"  # synthesised where a board is built with it
SAMPLES: dict[str, Config] = {
    **PRESETS,
    "wide": Config(row_lanes=4, column_lanes=8, word=32, chain=4),
    "tall": Config(row_lanes=32, column_lanes=2, word=32, chain=8),
    "deep": Config(row_lanes=8, column_lanes=2, word=128, chain=8),
    "planes": Config(M=2, N=1, row_lanes=16, column_lanes=4, word=16, chain=4, value_depth=0),
}


def measure(family: str, config: Config) -> dict[str, Any]:
    """Resources after synthesis as the record that is kept, `blocks` as [LUT, FF, kbit, multipliers] each."""
    board = boards.find(*BOARDS[family])
    config = config.replace(clock_hz=board.clock_hz)
    flow = flow_of(board)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        stage = Stage(
            board=board, seed=1, work=work, logs=work, console=Console(sys.stderr), clock_hz=config.clock_hz,
            design=lambda: design.BoardTop(board, design.make_top(config, baud=board.baud), config.clock_hz),
        )
        flow.prepare(stage)
        total = flow.synthesise(stage)
        usage = Blocks(work / "top.json", work / "top.v").usage(flow.weights, flow.ignored)
    return {
        "family": family, "config": json.loads(config.to_json()), "usage": dataclasses.astuple(total),
        "blocks": {name: dataclasses.astuple(each) for name, each in sorted(usage.items())},
    }


def reported(folder: Path) -> dict[str, Any]:
    """The record of a build folder; `BuildError` unless it holds the report of a design that was synthesised."""
    report = read(folder)
    if "synthesis" not in report:
        raise BuildError(f"{folder} has no synthesis result, its build ended as {report['status']!r}")
    board = boards.find(report["board"], report["variant"])
    return {
        "sample": report["configuration"], "family": board.part.family, "config": report["config"],
        "usage": list(report["synthesis"].values()),
        "blocks": {name: list(each.values()) for name, each in sorted(report["blocks"].items())},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    p = Parser(prog="python -m hw.build.calibrate", description="Synthesise the samples of the cost model.")
    p.add_argument("family", nargs="*", help=f"of {', '.join(BOARDS)} (default: all)")
    p.add_argument("--sample", action="append", metavar="NAME", help=f"of {', '.join(SAMPLES)} (default: all)")
    p.add_argument("--build", action="append", metavar="DIR", type=Path, help="take these finished builds only")
    options = p.parse_args(arguments)
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    return status("hw.build.calibrate", lambda: _run(options), (BuildError,), "finished samples are kept")


def _run(options: argparse.Namespace) -> int:
    _check("family", options.family, list(BOARDS))
    _check("--sample", options.sample or [], list(SAMPLES))
    for folder in options.build or ():
        _keep(reported(folder))
    for family in () if options.build else options.family or BOARDS:
        for name in options.sample or [name for name in SAMPLES if name != LARGE or family == "xc7"]:
            print(f"{family} {name}", flush=True)
            _keep({"sample": name, **measure(family, SAMPLES[name])})
    return SUCCESS


def _check(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """`BuildError` for a name that is not known."""
    for name in names:
        if name not in known:
            raise BuildError(f"{what} must be one of {', '.join(known)}, not {name!r}")


def _keep(record: dict[str, Any]) -> None:
    """Put one record in the place of an older one of its family and sample."""
    records = {(old["family"], old["sample"]): old for old in json.loads(RESULTS.read_text())}
    records[record["family"], record["sample"]] = record
    lines = [json.dumps(records[key]) for key in sorted(records)]
    save(RESULTS, "[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    sys.exit(main())
