"""`python -m hw.build.shelf` (`make boards`): every board and variant with its preset, and the table in docs/boards.md.

What a folder holds already is not built again. A build that fails or misses its timing stays in the table, its reason
below it, and the next one goes on.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from boards import BOARDS, Board
from hw.options import FAILURE, INTERRUPTED, SUCCESS, USAGE, Parser

from . import cli
from .errors import BuildError
from .figures import read, table
from .report import save

DOCUMENT = Path("docs", "boards.md")
# The table and the remarks under it: lines of a table, then of a list.
TABLE = re.compile(r"^\| board \| configuration \|.*\n(\|.*\n)+(\n(- .*\n)+)?", re.MULTILINE)


def chosen(names: Sequence[str]) -> list[Board]:
    """The variants of some boards, of all if none is named; a name is BOARD or BOARD:VARIANT."""
    known = {f"{board.name}:{board.variant}": board for variants in BOARDS.values() for board in variants}
    for name in names:
        if name not in BOARDS and name not in known:
            raise BuildError(f"a board must be one of {', '.join(BOARDS)} or {', '.join(known)}, not {name!r}")
    return [board for name, board in known.items() if not names or name in names or board.name in names]


def remarks(reports: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Why builds have no bitstream that one may use, one sentence each."""
    for report in reports:
        name = f"{report['board']} {report['variant']}"
        if report["status"] == "failed":
            yield f"- {name} failed: {report['error']}."
        elif report["status"] == "synthesised":
            yield f"- {name} was not routed: {', '.join(report.get('missing', ['routing']))} not found."
        elif report["status"] == "timing missed":
            yield f"- {name} misses its clock; its bitstream is not to be used."


def rewrite(document: Path, reports: Sequence[dict[str, Any]]) -> None:
    """Put the table of some builds in the place of the one in a document; `BuildError` if it has none."""
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise BuildError(f"cannot read {document}: {error.strerror}") from None
    lines = list(remarks(reports))
    block = table(reports) + "\n" + ("\n" + "\n".join(lines) + "\n" if lines else "")
    new, found = TABLE.subn(lambda match: block, text, count=1)
    if not found:
        raise BuildError(f"{document} has no table of boards to replace")
    save(document, new)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, 1 if a build failed or missed its timing."""
    p = Parser(prog="python -m hw.build.shelf", description="Build every board with its preset; write the table.")
    p.add_argument("board", nargs="*", metavar="BOARD[:VARIANT]", help="only these (default: all)")
    p.add_argument("--out", metavar="DIR", type=Path, default=Path("build"), help="folder of the builds")
    p.add_argument("--doc", metavar="FILE", type=Path, default=DOCUMENT, help=f"document (default: {DOCUMENT})")
    options = p.parse_args(arguments)
    statuses, reports = [], []
    try:
        for board in chosen(options.board):
            folder = options.out / f"{board.name}-{board.variant}-{board.preset}"
            statuses.append(cli.main(["--board", board.name, "--variant", board.variant, "--out", str(folder)]))
            if statuses[-1] in (INTERRUPTED, USAGE):
                return statuses[-1]
            reports.append(read(folder))
        rewrite(options.doc, reports)
    except BuildError as error:
        print(f"hw.build.shelf: {error}", file=sys.stderr)
        return FAILURE
    return FAILURE if any(statuses) else SUCCESS


if __name__ == "__main__":
    sys.exit(main())
