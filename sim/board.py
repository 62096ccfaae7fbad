"""The virtual board: the RTL of `hw.top` with its serial line behind a real pseudo-terminal.

    python -m sim.board --preset small
    board: /dev/pts/3

Any program that opens serial devices can open that path; its baud setting does not matter. The board behaves like
one that was just configured: memories empty, a new epoch. With `--until-eof` it takes commands, one per line, and
answers each with a line that begins with its name:

    reset      the reset button: session and epoch are lost, memories stay
    power      power off and on: memories are lost too; the terminal stays
    unplug     the terminal goes away, as that of a USB adapter does
    replug     a new terminal, printed as at the start, and a freshly configured board behind it
    line       cycles of simulated time between the first bit to the board and the last one from it, and bytes both
               ways, since the last `line`: "line: cycles=N sent=N received=N per_bit=N"
"""

import argparse
import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

from hw.arch.config import PRESETS, Config, ConfigError, preset
from hw.options import Parser
from hw.top import Top
from hw.verilog import verilog
from sim.runner import ROOT, SimulationError, cached

CYCLES_PER_BIT = 8
LOWEST_BAUD = 300
HARDWARE = ROOT / "hw"
HARNESS = Path(__file__).with_name("board.cpp")
_VERILATOR = (
    "verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O3 -march=native", "--top-module", "top",
    "--Mdir", "model", "-o", "../board", "top.sv", "board.cpp",
)


def build(config: Config, cycles_per_bit: float = CYCLES_PER_BIT) -> Path:
    """Compile the board's simulator; the program's path. Built once per design, in tens of seconds.

    Raises `ValueError` when the line is too fast for the clock and `SimulationError` when a tool is missing or fails.
    """
    baud = int(config.clock_hz / cycles_per_bit)

    def write_verilog(folder: Path) -> None:
        (folder / "top.sv").write_text(verilog(Top(config, baud=baud)))

    def compile_into(folder: Path) -> None:
        with open(folder / "build.log", "w") as log:
            if subprocess.run(_VERILATOR, cwd=folder, stdout=log, stderr=log, check=False).returncode:
                raise SimulationError(f"verilator could not compile the board, see {folder / 'build.log'}")

    # Elaboration takes seconds too: it is skipped while the design's sources stay the same.
    design = {"config.json": config.to_json(), "baud": str(baud), "sources": _sources()}
    source = (cached("verilog", design, write_verilog) / "top.sv").read_text()
    files = {"top.sv": source, "board.cpp": HARNESS.read_text(), "machine": _machine()}
    return cached("verilator-board", files, compile_into) / "board"


def _machine() -> str:
    """What tells processors apart: the program is compiled for the one it runs on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _sources() -> str:
    """Digest of everything that the design is made from."""
    files = sorted(path for path in HARDWARE.rglob("*.py") if "build" not in path.relative_to(HARDWARE).parts)
    return hashlib.blake2b(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def serve(program: Path, cycles_per_bit: float, until_eof: bool, symlink: str | None = None) -> None:
    """Become the simulator, which prints the terminal's path; does not return."""
    sys.stdout.flush()
    last = [] if symlink is None else [symlink]
    os.execv(program, [str(program), str(cycles_per_bit), str(int(until_eof)), *last])


def configuration(arguments: argparse.Namespace) -> Config:
    """The configuration that the command line names; `ConfigError` when there is none."""
    if arguments.config is None:
        return preset(arguments.preset)
    try:
        return Config.from_json(Path(arguments.config).read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"configuration file {arguments.config} cannot be read: {reason}") from None


def cycles_per_bit(config: Config, arguments: argparse.Namespace) -> float:
    """Clock cycles per bit that the command line asks for; `ConfigError` outside the range."""
    highest = config.clock_hz // CYCLES_PER_BIT
    if arguments.baud is not None:
        if not LOWEST_BAUD <= arguments.baud <= highest:
            raise ConfigError(f"--baud must be in {LOWEST_BAUD}..{highest} at this clock, not {arguments.baud}")
        return config.clock_hz / arguments.baud
    if arguments.clock_per_bit is not None:
        if not CYCLES_PER_BIT <= arguments.clock_per_bit <= config.clock_hz / LOWEST_BAUD:
            raise ConfigError(
                f"--clock-per-bit must be in {CYCLES_PER_BIT}..{config.clock_hz // LOWEST_BAUD}, "
                f"not {arguments.clock_per_bit:g}"
            )
        return arguments.clock_per_bit
    return CYCLES_PER_BIT


def parser() -> Parser:
    """The command line."""
    result = Parser(
        prog="python -m sim.board",
        description="Simulate a board: the accelerator's RTL, its serial line behind a pseudo-terminal whose path is "
                    "printed as 'board: /dev/pts/N'. Runs until Ctrl-C.",
    )
    what = result.add_mutually_exclusive_group()
    what.add_argument("--preset", default="small", metavar="NAME",
                      help=f"one of {', '.join(PRESETS)} (default small)")
    what.add_argument("--config", metavar="FILE", help="a configuration as JSON instead of a preset")
    speed = result.add_mutually_exclusive_group()
    speed.add_argument("--baud", type=int, metavar="RATE",
                       help="bits per second of simulated time; at most an eighth of the clock (default: that)")
    speed.add_argument("--clock-per-bit", type=float, metavar="N",
                       help=f"clock cycles per bit, at least {CYCLES_PER_BIT} (default {CYCLES_PER_BIT})")
    result.add_argument("--until-eof", action="store_true",
                        help="take commands from standard input (reset, power, unplug, replug, line) and end with it")
    result.add_argument("--symlink", metavar="PATH",
                        help="keep a symbolic link to the terminal there, and print its path instead")
    result.add_argument("--build-only", action="store_true", help="compile the simulator and stop")
    return result


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    arguments = parser().parse_args(argv)
    try:
        config = configuration(arguments)
        per_bit = cycles_per_bit(config, arguments)
        program = build(config, per_bit)
    except (ValueError, SimulationError) as error:
        print(f"sim.board: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if not arguments.build_only:
        serve(program, per_bit, arguments.until_eof, arguments.symlink)
    return 0


if __name__ == "__main__":
    sys.exit(main())
