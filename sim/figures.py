"""What a measurement leaves behind: one `Figure` per requirement, kept as JSON and shown as a Markdown table."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

NOTHING = "-"  # required of a figure that only informs


@dataclass(frozen=True)
class Figure:
    """One measured requirement.

    Parameters
    ----------
    what : str, what was done
    required : str, the least that is accepted
    measured : str, what came out
    passed : bool
    """

    what: str
    required: str
    measured: str
    passed: bool


@dataclass(frozen=True)
class Record:
    """The figures of one run of one module, and how to repeat it."""

    name: str
    command: str
    date: str  # ISO, UTC
    seconds: float
    figures: tuple[Figure, ...]


def save(folder: Path, record: Record) -> None:
    """Write `folder`/NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{record.name}.json").write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n")


def load(path: Path) -> Record:
    """Inverse of `save`."""
    values = json.loads(path.read_text())
    values["figures"] = tuple(Figure(**figure) for figure in values["figures"])
    return Record(**values)


def table(records: list[Record]) -> str:
    """The figures as Markdown tables, one per record."""
    parts = []
    for record in records:
        rows = [f"| {f.what} | {f.required} | {f.measured} | {_verdict(f)} |" for f in record.figures]
        parts.append("\n".join([
            f"## {record.name}", "", f"    {record.command}", "", f"{record.date}, {record.seconds:.0f} s.", "",
            "| what | required | measured | met |", "|---|---|---|---|", *rows,
        ]))
    return "\n\n".join(parts) + "\n"


def _verdict(figure: Figure) -> str:
    if not figure.passed:
        return "**no**"
    return "" if figure.required == NOTHING else "yes"
