"""What a design uses and reaches: counted from the tools' own reports, compared with the part, printed and saved."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boards import Part

from .errors import BuildError


@dataclass(frozen=True)
class Usage:
    """Resources of a design, in the units of `Part`."""

    luts: int
    ffs: int
    bram_kbits: int
    multipliers: int


@dataclass(frozen=True)
class Timing:
    """One clock after routing, in MHz."""

    clock: str
    achieved: float
    required: float

    @property
    def met(self) -> bool:
        return self.achieved >= self.required


def count(cells: Mapping[str, int], weights: Mapping[str, Usage], ignored: frozenset[str]) -> Usage:
    """Sum what each cell of a netlist takes.

    Raises `BuildError` for a cell type that is in neither table: an uncounted cell would make the report a lie.
    """
    total = [0, 0, 0, 0]
    for cell, number in cells.items():
        if cell in ignored:
            continue
        if cell not in weights:
            raise BuildError(f"the netlist has {number} cells of type {cell}, which this flow does not know")
        for index, each in enumerate(asdict(weights[cell]).values()):
            total[index] += each * number
    return Usage(*total)


def cells_of(stat: Path) -> dict[str, int]:
    """Cells by type from the JSON of Yosys's `stat` of a flat design; scope information is no cell."""
    design = json.loads(stat.read_text())["design"]
    return {name: number for name, number in design["num_cells_by_type"].items() if not name.startswith("$scopeinfo")}


def rows(usage: Usage, part: Part) -> list[tuple[str, int, int]]:
    """(name, used, available) of every resource."""
    lut = "LUT6" if part.family == "xc7" else "LUT4"
    return [
        (lut, usage.luts, part.luts),
        ("FF", usage.ffs, part.ffs),
        ("BRAM kbit", usage.bram_kbits, part.bram_kbits),
        ("multipliers", usage.multipliers, part.multipliers),
    ]


def table(usage: Usage, part: Part) -> str:
    """Resource table for a person."""
    lines = [f"{part.name:<20}{'used':>10}{'of':>10}{'':>8}"]
    lines += [f"  {name:<18}{used:>10,}{limit:>10,}{used / limit:>8.1%}" for name, used, limit in rows(usage, part)]
    return "\n".join(lines)


def check_fit(usage: Usage, part: Part, name: str, how: str) -> None:
    """`BuildError` naming everything that is short, if the design does not fit the part."""
    short = [f"{used:,} {what} of {limit:,}" for what, used, limit in rows(usage, part) if used > limit]
    if short:
        raise BuildError(
            f"configuration {name} {how} {' and '.join(short)} on {part.name}; "
            "choose a smaller --preset or --config or a larger board"
        )


def timing_of(report: Path) -> tuple[Timing, ...]:
    """The clocks of nextpnr's JSON report; `BuildError` if none was analysed, for then nothing is known."""
    clocks = json.loads(report.read_text()).get("fmax", {})
    if not clocks:
        raise BuildError(f"{report.name} of the router has no clock, so no timing is known")
    return tuple(
        Timing(name.removeprefix("$glbnet$"), math.floor(value["achieved"] * 100) / 100, round(value["constraint"], 2))
        for name, value in sorted(clocks.items())
    )


def slowest_steps(report: Path) -> list[dict[str, Any]]:
    """The steps of the longest path between flip-flops in nextpnr's report; empty if there is none."""
    paths = json.loads(report.read_text()).get("critical_paths", [])
    paths = [entry["path"] for entry in paths if "<async>" not in (entry["from"], entry["to"])]
    return max(paths, key=lambda steps: sum(step["delay"] for step in steps), default=[])


def slowest_path(path: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Its end cells and nanoseconds; None for no path."""
    if not path:
        return None
    total = sum(step["delay"] for step in path)
    routing = sum(step["delay"] for step in path if step["type"] == "routing")
    return {
        "from": path[0]["from"]["cell"], "to": path[-1]["to"]["cell"],
        "logic_ns": round(total - routing, 2), "routing_ns": round(routing, 2),
    }


def placed(report: Path) -> dict[str, dict[str, int]]:
    """Sites used and available by type after placement, those in use only."""
    sites = json.loads(report.read_text())["utilization"]
    return {name: sites[name] for name in sorted(sites) if sites[name]["used"]}


def save(path: Path, text: str) -> None:
    """Write a text file that appears complete or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
