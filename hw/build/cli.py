"""The command line of `python -m hw.build`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boards import BOARDS, Board, BoardError
from hw.arch.config import PRESETS, ConfigError
from hw.options import FAILURE, SUCCESS, Parser, status

from .errors import BuildError
from .job import TOOLCHAINS, build
from .listing import listing, table
from .request import request
from .tools import Console


def parser() -> Parser:
    """The options."""
    p = Parser(prog="python -m hw.build", description="Build the accelerator for a board: Verilog, table, bitstream.")
    p.add_argument("--board", metavar="NAME", help=f"board: {', '.join(BOARDS)}")
    p.add_argument("--variant", metavar="V", help="variant of the board, see --list (default: its first)")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--preset", metavar="NAME", help=f"configuration: {', '.join(PRESETS)} (default: the board's)")
    which.add_argument("--config", metavar="FILE", type=Path, help="configuration as a JSON file")
    p.add_argument("--for", metavar="MODEL", dest="network", type=Path,
                   help="model file: choose the configuration that runs it fastest, unless --preset or --config do")
    p.add_argument("--toolchain", choices=TOOLCHAINS, default="auto",
                   help="auto: Vivado if it is found, else the open tools, else synthesis only (default: auto)")
    p.add_argument("--out", metavar="DIR", type=Path, help="output folder (default: build/BOARD-VARIANT-CONFIGURATION)")
    p.add_argument("--clock", metavar="MHZ", type=float, help="core clock (default: the board's, or the file's)")
    p.add_argument("--baud", metavar="N", type=int, help="UART speed (default: the board's)")
    p.add_argument("--seed", metavar="N", type=int, default=1, help="seed of place and route (default: 1)")
    p.add_argument("--no-route", action="store_true", help="stop after synthesis")
    p.add_argument("--force", action="store_true", help="build even if the folder holds the result already")
    p.add_argument("--list", action="store_true", help="list the boards and what can be built here, and stop")
    p.add_argument("--json", action="store_true", help="print the report as JSON on stdout, progress on stderr")
    return p


def advice(report: dict[str, Any], board: Board) -> str:
    """What to do after missed timing: the clock to ask for, if the board makes one that is slow enough."""
    worst = min(clock["achieved"] / clock["required"] for clock in report["timing"])
    slower = [clock for clock in board.core_clocks if clock <= worst * report["config"]["clock_hz"]]
    if not slower:
        return "do not use this bitstream"
    return f"do not use this bitstream but build again, say with --clock {slower[-1] / 1e6:g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 built, 1 failed or timing missed, 2 misuse, 130 interrupted."""
    options = parser().parse_args(arguments)
    if options.list:
        print(json.dumps(listing(), indent=2)) if options.json else print(table())
        return SUCCESS
    # Amaranth writes Verilog with its own small Yosys, so that the full one may be any version.
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    errors = (BuildError, BoardError, ConfigError)
    return status("hw.build", lambda: _run(options), errors, "no unfinished file is kept")


def _run(options: argparse.Namespace) -> int:
    console = Console(sys.stderr if options.json else sys.stdout)
    job = request(options, console)
    console.say(
        f"{job.board.title} ({job.board.part.name}), configuration {job.name} {job.config.digest.hex()}: "
        f"{job.config.macs_per_cycle:,} MAC/cycle at {job.config.clock_hz / 1e6:g} MHz, UART {job.baud:,} baud"
    )
    report = build(job, console)
    if options.json:
        print(json.dumps(report, indent=2))
    console.say(f"{report['status']}: {job.out / report.get('bitstream', 'report.json')}")
    if report["status"] == "timing missed":
        print(f"hw.build: the routed design is slower than its clock; {advice(report, job.board)}", file=sys.stderr)
        return FAILURE
    return SUCCESS
