"""`python -m hw.program BOARD DIR`: load the bitstream of a build folder into a board with openFPGALoader.

Refused are bitstreams for another part and such that miss their timing: what they would do is unknown.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boards
from boards import BOARDS, Board, BoardError
from hw.build.errors import BuildError
from hw.build.job import flow_of, timing_missed
from hw.build.tools import require
from hw.options import SUCCESS, Parser, status

HEADER = 512  # bytes at the start of a bitstream that name its part
GOWIN_CODES = {0x0000081B: "GW2A-LV18", 0x1100481B: "GW1NR-LV9"}  # JTAG code to part


def parser() -> Parser:
    """The options."""
    p = Parser(prog="python -m hw.program", description="Load the bitstream of a build folder into a board.")
    p.add_argument("board", metavar="BOARD", help=f"one of {', '.join(BOARDS)}")
    p.add_argument("folder", metavar="DIR", type=Path, help="folder that hw.build wrote")
    p.add_argument("--variant", metavar="V", help="variant of the board (default: the one in the folder's report)")
    p.add_argument("--flash", action="store_true", help="write the configuration flash, so that power-on loads it")
    return p


def report_of(folder: Path) -> dict[str, Any]:
    """The report of a build folder; `BuildError` if there is none."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return {"status": str(report["status"]), "variant": str(report["variant"]), "board": str(report["board"])}
    except OSError as error:
        raise BuildError(f"cannot read {folder / 'report.json'}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise BuildError(f"{folder / 'report.json'} is no report of hw.build") from None


def part_in(bitstream: bytes) -> str | None:
    """The part that the header of a bitstream names, without package and speed where tools spell those differently."""
    if match := re.search(rb"LFE5UM?(5G)?-\d+F|xc7[akz]\d+t[a-z]+\d+-\d\w?", bitstream[:HEADER]):
        return match[0].decode()
    # Gowin's are bits as text, and this line of them is the command that compares the part's code.
    code = re.search(rb"^00000110[01]{24}([01]{32})$", bitstream[:HEADER], re.MULTILINE)
    return GOWIN_CODES.get(int(code[1], 2)) if code else None


def checked(board: Board, folder: Path, report: dict[str, Any]) -> Path:
    """The bitstream in `folder` if it may be loaded into `board`; `BuildError` saying why not."""
    name = flow_of(board).bitstream
    path = folder / name
    if (folder / timing_missed(name)).exists():
        raise BuildError(f"the bitstream in {folder} misses its timing and is not loaded; build a slower configuration")
    if report["status"] != "routed" or not path.is_file():
        raise BuildError(f"{folder} has no finished bitstream: its build ended as {report['status']!r}")
    found = part_in(path.read_bytes())
    if found is None or not board.part.name.startswith(found):
        raise BuildError(f"{path} must be for {board.part.name} on {board.title}, not for {found or 'an unknown part'}")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 loaded, 1 refused or failed, 2 misuse, 130 interrupted."""
    options = parser().parse_args(arguments)
    return status("hw.program", lambda: _run(options), (BuildError, BoardError),
                  "the board may hold half a bitstream")


def _run(options: argparse.Namespace) -> int:
    boards.find(options.board)
    report = report_of(options.folder)
    board = boards.find(options.board, options.variant or _variant(options.board, report))
    path = checked(board, options.folder, report)
    command = [require("openFPGALoader"), "--board", board.loader, *(["--write-flash"] if options.flash else [])]
    print(f"loading {path} into {board.title}", flush=True)
    try:
        code = subprocess.run([*command, str(path)], check=False).returncode
    except OSError as error:
        raise BuildError(f"openFPGALoader cannot be run: {error.strerror}") from None
    if code:
        raise BuildError(f"openFPGALoader failed with exit status {code}; is the board connected?")
    return SUCCESS


def _variant(name: str, report: dict[str, Any]) -> str | None:
    """Variant to load when none is asked for: the report's if it is for this board."""
    known = [board.variant for board in BOARDS[name]]
    return report["variant"] if report["board"] == name and report["variant"] in known else None


if __name__ == "__main__":
    sys.exit(main())
