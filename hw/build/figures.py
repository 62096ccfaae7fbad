"""`python -m hw.build.figures DIR...`: the reports of finished builds as the table of docs/boards.md."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import BuildError

HEADS = (
    "board", "configuration", "MAC/cycle", "LUT functions", "estimate off by", "LUT6 with pairs", "FF", "BRAM kbit",
    "multipliers", "clock MHz", "routed MHz", "peak TOPS", "minutes",
)


def row(report: dict[str, Any]) -> list[str]:
    """The cells of one build; figures that it did not reach are dashes."""
    used, available = report.get("synthesis"), report.get("available")
    clock = report["config"]["clock_hz"]
    shares = ["-"] * 6
    if used and available:
        shares = [f"{used[name]:,} ({used[name] / available[name]:.0%})" for name in used]
        shares.insert(1, f"{report['estimate']['luts'] / used['luts'] - 1:+.1%}" if "estimate" in report else "-")
        lut6 = report.get("lut6")
        shares.insert(2, f"{lut6:,} ({lut6 / available['luts']:.0%})" if lut6 else "-")
    timing = min(report.get("timing", []), key=lambda each: each["achieved"] / each["required"], default=None)
    routed = "-" if timing is None else f"{timing['achieved']:.1f}" + ("" if timing["met"] else " (missed)")
    return [
        f"{report['board']} {report['variant']}", report["configuration"], f"{report['macs_per_cycle']:,}", *shares,
        f"{clock / 1e6:g}", routed, f"{2 * report['macs_per_cycle'] * clock / 1e12:.2f}",
        f"{sum(report['seconds'].values()) / 60:.1f}",
    ]


def table(reports: Sequence[dict[str, Any]]) -> str:
    """Markdown table of builds, in the given order."""
    lines = [HEADS, ["---"] * 2 + ["---:"] * (len(HEADS) - 2), *(row(report) for report in reports)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read(folder: Path) -> dict[str, Any]:
    """The report in a build folder; `BuildError` if there is none."""
    try:
        return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise BuildError(f"{folder} has no report of hw.build") from None


def main(arguments: Sequence[str]) -> int:
    """Print the table; returns the exit status."""
    try:
        if not arguments:
            raise BuildError("name at least one build folder")
        print(table([read(Path(folder)) for folder in arguments]))
    except BuildError as error:
        print(f"hw.build.figures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
