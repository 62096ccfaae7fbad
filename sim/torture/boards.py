"""Boards in processes of their own, virtual or emulated, that take commands."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Self

_COMMANDS = {
    "emulated": ("sim.proxy", "--emulated", "tiny-2x2", "--until-eof"),
    "virtual": ("sim.board", "--preset", "tiny-2x2", "--until-eof"),
}


class Board:
    """A board behind a pseudo-terminal.

    Parameters
    ----------
    kind : str, "emulated" or "virtual"
    options : further options of its program

    Members
    -------
    path : str, where the host finds it
    """

    def __init__(self, kind: str, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *_COMMANDS[kind], *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True)
        self.path = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        self._process.wait(20)

    def command(self, name: str) -> str:
        """Do a command of the board's program; its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if name == "replug":
            self.path = answer
        return answer

    def _answer(self) -> str:
        """What follows the colon of a line, if any."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line or line.startswith("error"):
            raise RuntimeError(f"board said {line!r}")
        return line.rpartition(": ")[2].strip()
