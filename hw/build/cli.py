"""The command line of `python -m hw.build`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boards
from boards import BOARDS, Board, BoardError
from hw.arch.config import PRESETS, Config, ConfigError, preset
from hw.options import FAILURE, INTERRUPTED, SUCCESS, Parser

from .errors import BuildError
from .job import Job, build, flow_of, with_clock
from .tools import Console, sources


def parser() -> Parser:
    """The options."""
    p = Parser(prog="python -m hw.build", description="Build the accelerator for a board: Verilog, table, bitstream.")
    p.add_argument("--board", metavar="NAME", help=f"board: {', '.join(BOARDS)}")
    p.add_argument("--variant", metavar="V", help="variant of the board, see --list (default: its first)")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--preset", metavar="NAME", help=f"configuration: {', '.join(PRESETS)} (default: the board's)")
    which.add_argument("--config", metavar="FILE", type=Path, help="configuration as a JSON file")
    p.add_argument("--out", metavar="DIR", type=Path, help="output folder (default: build/BOARD-VARIANT-CONFIGURATION)")
    p.add_argument("--clock", metavar="MHZ", type=float, help="core clock (default: the board's, or the file's)")
    p.add_argument("--baud", metavar="N", type=int, help="UART speed (default: the board's)")
    p.add_argument("--seed", metavar="N", type=int, default=1, help="seed of place and route (default: 1)")
    p.add_argument("--no-route", action="store_true", help="stop after synthesis")
    p.add_argument("--list", action="store_true", help="list the boards and what can be built here, and stop")
    p.add_argument("--json", action="store_true", help="print the report as JSON on stdout, progress on stderr")
    return p


def configuration(options: argparse.Namespace, board: Board) -> tuple[str, Config]:
    """Name and configuration to build: a preset at the board's clock, a file at its own, unless --clock says otherwise.

    Raises `ConfigError` for an unknown preset, a bad file, or a clock that the board cannot make.
    """
    if options.clock is not None and not 1 <= options.clock <= 1000:
        raise ConfigError(f"--clock must be in 1..1000 MHz, not {options.clock:g}")
    clock = None if options.clock is None else round(options.clock * 1e6)
    if options.config is None:
        name = options.preset or board.preset
        return name, with_clock(preset(name), board, clock or board.preset_clock_hz or board.clock_hz)
    try:
        config = Config.from_json(options.config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration file {options.config}: {reason}") from None
    except ConfigError as error:
        raise ConfigError(f"{options.config}: {error}") from None
    return options.config.stem, with_clock(config, board, clock or config.clock_hz)


def request(options: argparse.Namespace) -> Job:
    """The job that the options ask for."""
    if options.board is None:
        raise BuildError(f"--board must be given, one of {', '.join(BOARDS)}")
    board = boards.find(options.board, options.variant)
    name, config = configuration(options, board)
    baud = board.baud if options.baud is None else options.baud
    if not 300 <= baud <= config.clock_hz // 8:
        raise BuildError(f"--baud must be in 300..{config.clock_hz // 8} (an eighth of the clock), not {baud}")
    if not 0 <= options.seed < 2**31:
        raise BuildError(f"--seed must be in 0..{2**31 - 1}, not {options.seed}")
    out = options.out or Path("build", f"{board.name}-{board.variant}-{name}")
    return Job(board=board, config=config, name=name, baud=baud, seed=options.seed, out=out, route=not options.no_route)


def listing() -> list[dict[str, Any]]:
    """Every board and variant: part, limits, clock, link, default preset and what its flow lacks here."""
    return [
        {
            "board": board.name, "variant": board.variant, "title": board.title, "part": board.part.name,
            "luts": board.part.luts, "ffs": board.part.ffs, "bram_kbits": board.part.bram_kbits,
            "multipliers": board.part.multipliers, "clock_hz": board.clock_hz, "baud": board.baud,
            "preset": board.preset, "missing": flow_of(board).missing(),
        }
        for variants in BOARDS.values() for board in variants
    ]


def print_listing() -> None:
    print(
        f"{'board':<11}{'variant':<9}{'part':<22}{'LUT':>7}{'FF':>8}{'kbit':>6}{'mult':>5}{'MHz':>5}"
        f"  {'preset':<8}builds here"
    )
    for row in listing():
        builds = f"synthesis; bitstream with {sources(row['missing'])}" if row["missing"] else "bitstream"
        print(
            f"{row['board']:<11}{row['variant']:<9}{row['part']:<22}{row['luts']:>7}{row['ffs']:>8}{row['bram_kbits']:>6}"
            f"{row['multipliers']:>5}{row['clock_hz'] // 10**6:>5}  {row['preset']:<8}{builds}"
        )


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
        print(json.dumps(listing(), indent=2)) if options.json else print_listing()
        return SUCCESS
    # Amaranth writes Verilog with its own small Yosys, so that the full one may be any version.
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    console = Console(sys.stderr if options.json else sys.stdout)
    try:
        job = request(options)
        console.say(
            f"{job.board.title} ({job.board.part.name}), configuration {job.name} {job.config.digest.hex()}: "
            f"{job.config.macs_per_cycle:,} MAC/cycle at {job.config.clock_hz / 1e6:g} MHz, UART {job.baud:,} baud"
        )
        report = build(job, console)
    except (BuildError, BoardError, ConfigError) as error:
        print(f"hw.build: {error}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        print("\nhw.build: interrupted; no unfinished file is kept", file=sys.stderr)
        return INTERRUPTED
    if options.json:
        print(json.dumps(report, indent=2))
    console.say(f"{report['status']}: {job.out / report.get('bitstream', 'report.json')}")
    if report["status"] == "timing missed":
        print(f"hw.build: the routed design is slower than its clock; {advice(report, job.board)}", file=sys.stderr)
        return FAILURE
    return SUCCESS
