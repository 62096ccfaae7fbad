"""Cells of a component synthesised alone: for benchmarks of area, not for bitstreams."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from amaranth.lib import wiring

from boards import find
from hw.build.tools import require, run
from hw.verilog import verilog

# Family: a board of it with its toolchain, which say what the blocks may use, and the synthesis.
FAMILIES = {
    "xc7": ("arty_a7", "Xray", "synth_xilinx -flatten -abc9 -nodsp -noiopad -noclkbuf -family xc7 -top top"),
    "ecp5": ("ulx3s", "Trellis", "synth_ecp5 -nowidelut -abc9 -noflatten -top top; flatten"),
}
LIMIT = 3_600.0  # seconds
FRACTURED = 5  # inputs of a LUT6 with two outputs
NEAR = 64  # users of a net that are looked at as partners


@dataclass(frozen=True)
class Cell:
    """One cell of a netlist: its type, the nets of its data inputs, and its output's if it is a look-up table."""

    kind: str
    inputs: frozenset[int]
    output: int | None


def netlist(component: wiring.Component, family: str) -> list[Cell]:
    """The component as cells of `family`."""
    board, toolchain, script = FAMILIES[family]
    platform = find(board).make_platform(toolchain)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "top.v").write_text(verilog(component, platform=platform), encoding="utf-8")
        command = [require("yosys"), "-q", "-p", f"read_verilog -sv top.v; {script}; write_json top.json"]
        run(command, cwd=folder, log=folder / "log", limit=LIMIT)
        cells = json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"].values()
    return [_cell(cell["type"], cell["connections"]) for cell in cells]


def _cell(kind: str, ports: dict[str, list[int | str]]) -> Cell:
    data = ports.get("S", []) if kind == "CARRY4" else [n for port in ports if port[0] == "I" for n in ports[port]]
    output = ports["O"][0] if kind.startswith("LUT") and "O" in ports else None
    return Cell(kind, frozenset(net for net in data if isinstance(net, int)), output)


def luts(cells: Sequence[Cell]) -> int:
    """Look-up tables of a netlist, LUT6 on 7-series and LUT4 on ECP5.

    On 7-series two functions of five inputs together are one LUT6_2, unless a carry chain takes both of its outputs;
    partners are chosen greedily. On ECP5 a carry cell takes two LUT4.
    """
    tables = [cell for cell in cells if cell.kind.startswith("LUT")]
    if not any(cell.kind == "CARRY4" for cell in cells) and all(cell.kind == "LUT4" for cell in tables):
        return len(tables) + 2 * sum(cell.kind == "CCU2C" for cell in cells)
    carried = {net for cell in cells if cell.kind == "CARRY4" for net in cell.inputs}
    return len(tables) - _pairs([cell.inputs for cell in tables
                                 if len(cell.inputs) <= FRACTURED and cell.output not in carried])


def _pairs(tables: Sequence[frozenset[int]]) -> int:
    """Pairs of functions that have `FRACTURED` inputs together at most: those with most inputs in common first."""
    users = defaultdict(list)
    for number, inputs in enumerate(tables):
        for net in inputs:
            users[net].append(number)
    free, pairs = set(range(len(tables))), 0
    for number in sorted(free, key=lambda n: -len(tables[n])):
        if number not in free:
            continue
        free.discard(number)
        near = {other for net in tables[number] for other in users[net][:NEAR] if other in free}
        best = min(near, key=lambda n: (len(tables[n] | tables[number]), -len(tables[n]), n), default=None)
        if best is not None and len(tables[best] | tables[number]) <= FRACTURED:
            free.discard(best)
            pairs += 1
    return pairs
