"""Artix-7 with Vivado where it is installed: Yosys still estimates by block, Vivado does all that counts."""

import json
import re
import zipfile
from pathlib import Path

from .errors import BuildError
from .flow import ROUTE_LIMIT, Stage
from .report import Timing, timing_of
from .tools import find, require, run
from .xc7 import XC7

FOLDER = "vivado"


class Vivado(XC7):
    """From the plan that `XC7` prepares for Vivado to its bitstream and timing summary."""

    name = "vivado"
    tools = ("vivado",)

    def missing(self) -> list[str]:
        return [tool for tool in self.tools if find(tool) is None]

    def route(self, stage: Stage) -> tuple[Timing, ...]:
        folder = stage.work / FOLDER
        with zipfile.ZipFile(stage.work / "plan.zip") as plan:
            plan.extractall(folder)
        command = [require("vivado"), "-mode", "batch", "-log", "top.log", "-source", "top.tcl"]
        run(command, cwd=folder, log=stage.logs / "route.log", limit=ROUTE_LIMIT)
        clocks = clocks_of(folder / "top_timing.rpt")
        # In the form of the other flows' router, which later stages read.
        report = {
            "fmax": {name: {"achieved": achieved, "constraint": required} for name, achieved, required in clocks},
            "utilization": {}, "critical_paths": [],
        }
        (stage.work / "route.json").write_text(json.dumps(report, indent=2) + "\n")
        (stage.work / "placed.json").touch()
        return timing_of(stage.work / "route.json")

    def pack(self, stage: Stage) -> None:
        bitstream = stage.work / FOLDER / "top.bit"
        if not bitstream.is_file():
            raise BuildError(f"Vivado wrote no bitstream; its output is in {stage.logs / 'route.log'}")
        bitstream.replace(stage.work / self.bitstream)


def clocks_of(report: Path) -> list[tuple[str, float, float]]:
    """Name, achieved and required MHz of every clock in Vivado's timing summary.

    Raises `BuildError` if there is none, or if a clock misses its hold time, which no other frequency cures.
    """
    try:
        text = report.read_text()
    except OSError:
        raise BuildError(f"Vivado wrote no {report.name}, so no timing is known") from None
    number = r"-?\d+\.\d+"
    periods = dict(re.findall(rf"^ *(\S+) +\{{[^}}]*\}} +({number}) +{number}", text, re.MULTILINE))
    # Per clock: worst slack, its sum, failing and all endpoints, worst hold slack.
    slacks = re.findall(rf"^ *(\S+) +({number}) +{number} +\d+ +\d+ +({number})", text, re.MULTILINE)
    found = []
    for name, slack, hold in slacks:
        if name in periods:
            if float(hold) < 0:
                raise BuildError(f"clock {name} misses its hold time by {-float(hold):g} ns")
            period = float(periods[name])
            found.append((name, 1e3 / (period - float(slack)), 1e3 / period))
    return found
