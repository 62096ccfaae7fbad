"""Cells of a component synthesised alone: for benchmarks of area, not for bitstreams."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from amaranth.lib import wiring

from boards import find
from hw.build.lut6 import Cell, cells
from hw.build.tools import require, run
from hw.verilog import verilog

# Family: a board of it with its toolchain, which say what the blocks may use, and the synthesis.
FAMILIES = {
    "xc7": ("arty_a7", "Xray", "synth_xilinx -flatten -abc9 -nodsp -noiopad -noclkbuf -family xc7 -top top"),
    "ecp5": ("ulx3s", "Trellis", "synth_ecp5 -nowidelut -abc9 -noflatten -top top; flatten"),
}
LIMIT = 3_600.0  # seconds


def netlist(component: wiring.Component, family: str) -> list[Cell]:
    """The component as cells of `family`."""
    board, toolchain, script = FAMILIES[family]
    platform = find(board).make_platform(toolchain)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "top.v").write_text(verilog(component, platform=platform), encoding="utf-8")
        command = [require("yosys"), "-q", "-p", f"read_verilog -sv top.v; {script}; write_json top.json"]
        run(command, cwd=folder, log=folder / "log", limit=LIMIT)
        return cells(folder / "top.json")
