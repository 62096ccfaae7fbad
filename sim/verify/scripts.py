"""Scripts of Yosys, and what it says of a proof."""

from pathlib import Path

from hw.build.tools import require, run

LIMIT = 900.0  # seconds


def yosys(folder: Path, script: str) -> None:
    """Run a script in a folder; `BuildError` if it fails or takes too long."""
    (folder / "script.ys").write_text(script)
    run([require("yosys"), "-q", "-s", "script.ys"], cwd=folder, log=folder / "log", limit=LIMIT)


def proven(folder: Path, name: str) -> bool:
    """Whether every part of an equivalence was proved, by the status that was written as NAME.txt."""
    return "Equivalence successfully proven!" in (folder / f"{name}.txt").read_text()
