"""The command line of `python -m hw.tools`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hw.build.errors import BuildError
from hw.build.tools import EXECUTABLES, SOURCE, Console, find, xc7_prefix
from hw.build.xc7 import DATABASE_NAME, XC7, database
from hw.options import SUCCESS, Parser, status

from .xc7 import current, install, packages


def parser() -> Parser:
    """The options."""
    p = Parser(prog="python -m hw.tools", description="The tools of the builds: which are here, and installing some.")
    commands = p.add_subparsers(dest="command", required=True, metavar="list|install")
    listing = commands.add_parser("list", help="every tool, where it was found or where to get it")
    listing.add_argument("--json", action="store_true", help="as JSON")
    add = commands.add_parser("install", help="install tools into a private folder, without root")
    add.add_argument("what", choices=["xc7"], help="xc7: place, route and bitstream for Artix-7 (Debian packages)")
    add.add_argument("--prefix", metavar="DIR", type=Path, help=f"folder to install into (default: {xc7_prefix()})")
    add.add_argument("--archive", metavar="URI", help="Debian archive (default: the one this machine's apt uses)")
    add.add_argument("--latest", action="store_true", help="take the versions that are there, not the pinned ones")
    add.add_argument("--if-missing", action="store_true", help="do nothing where builds find these tools already")
    return p


def listing() -> list[dict[str, Any]]:
    """Every tool: name, path or None, and where it comes from."""
    paths = {tool: find(tool) for tool in EXECUTABLES}
    folder = database()
    paths[DATABASE_NAME] = None if folder is None else str(folder)
    return [{"tool": tool, "path": path, "source": SOURCE[tool]} for tool, path in paths.items()]


def add(options: argparse.Namespace) -> None:
    """Command `install`."""
    prefix = options.prefix or xc7_prefix()
    if options.if_missing and not XC7().missing():
        print("the Artix-7 tools are here already")
        return
    if not options.latest and current(prefix):
        print(f"{prefix} holds the pinned Artix-7 tools already")
        return
    install(prefix, Console(sys.stdout), uri=options.archive, latest=options.latest)
    for name, version in sorted(packages(prefix).items()):
        print(f"{name} {version}")
    hint = "" if prefix.absolute() == xc7_prefix() else f"; builds find it with ABACUS_XC7_PREFIX={prefix.absolute()}"
    print(f"installed in {prefix}{hint}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed, 2 misuse, 130 interrupted."""
    options = parser().parse_args(arguments)
    return status("hw.tools", lambda: _run(options), (BuildError,), "nothing was changed")


def _run(options: argparse.Namespace) -> int:
    if options.command == "install":
        add(options)
    elif options.json:
        print(json.dumps(listing(), indent=2))
    else:
        for row in listing():
            print(f"{row['tool']:<28}{row['path'] or 'not found; get it from ' + row['source']}")
    return SUCCESS
