"""Which block of the accelerator each cell of a flattened netlist belongs to.

A cell carries the name of its module, or the line of Verilog it comes from, or drives a net that is named after its
module. What optimisation made from scratch counts for the block that it feeds. So counts are exact for registers,
memories and primitives, and a fair share for logic.
"""

import bisect
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .report import Usage, count

BOARD = "board"  # pins, reset and LEDs around the accelerator
OUTPUTS = frozenset({"O", "O5", "O6", "Q", "Z", "F", "CO", "S0", "S1", "COUT", "DO", "OFX0"})


def block_of(path: str) -> str:
    """Block of a hierarchical name without its numbers: `accelerator.core.array.column3.dot7.count` is array.dot."""
    names = [re.sub(r"[\d_]*(\$\d+)?$", "", name) for name in path.replace("\\", "").split(".")]
    if "accelerator" not in names:
        return BOARD
    names = [name for name in names[names.index("accelerator") + 1:] if name not in ("", "core", "column")]
    if not names:
        return "core"
    return ".".join(names[:2] if names[0] in ("array", "endpoint") else names[:1])


class Blocks:
    """Cells of the top module of Yosys's JSON netlist by block.

    Parameters
    ----------
    netlist : Path
        Netlist as Yosys's `write_json` writes it.
    verilog : Path
        The design it was made from; used where cells name lines of it.
    """

    def __init__(self, netlist: Path, verilog: Path) -> None:
        modules = json.loads(netlist.read_text())["modules"]
        top = next(module for module in modules.values() if "top" in module.get("attributes", {}))
        self._types: dict[str, str] = {
            name: cell["type"] for name, cell in top["cells"].items() if cell["type"] != "$scopeinfo"
        }
        self._blocks: dict[str, str] = {}
        lines, names = _modules(verilog)
        nets = _named_nets(top["netnames"])
        for name in self._types:
            cell = top["cells"][name]
            source = re.search(rf"{re.escape(verilog.name)}:(\d+)", cell.get("attributes", {}).get("src", ""))
            if not name.startswith("$") and "." in name:
                self._blocks[name] = block_of(name.rsplit(".", 1)[0])
            elif source and lines and not cell["type"].startswith("LUT"):
                self._blocks[name] = block_of(names[bisect.bisect_right(lines, int(source[1])) - 1])
            else:
                driven = [nets[bit] for bit in _outputs(cell) if bit in nets]
                if driven:
                    self._blocks[name] = block_of(driven[0].rsplit(".", 1)[0])
        self._spread(top["cells"])

    def _spread(self, cells: Mapping[str, Any]) -> None:
        """Give every cell without a block the block that most of the cells it feeds have."""
        readers: dict[int, list[str]] = defaultdict(list)
        for name in self._types:
            for port, bits in cells[name]["connections"].items():
                if port not in OUTPUTS:
                    for bit in bits:
                        readers[bit].append(name)
        pending = [name for name in self._types if name not in self._blocks]
        while pending:
            found = {}
            for name in pending:
                votes = Counter(
                    self._blocks[reader] for bit in _outputs(cells[name]) for reader in readers[bit]
                    if reader in self._blocks
                )
                if votes:
                    found[name] = min(votes, key=lambda block: (-votes[block], block))
            if not found:
                break
            self._blocks.update(found)
            pending = [name for name in pending if name not in found]

    def of(self, cell: str) -> str:
        """Block of a cell; routers append to the names of cells that they split."""
        while cell not in self._blocks:
            head, _, _ = cell.rpartition("$")
            if not head:
                return BOARD
            cell = head
        return self._blocks[cell]

    def usage(self, weights: Mapping[str, Usage], ignored: frozenset[str]) -> dict[str, Usage]:
        """Resources by block, the largest first; the sum is that of the whole design."""
        cells: dict[str, Counter[str]] = defaultdict(Counter)
        for name, kind in self._types.items():
            cells[self._blocks.get(name, BOARD)][kind] += 1
        usage = {block: count(kinds, weights, ignored) for block, kinds in cells.items()}
        return dict(sorted(usage.items(), key=lambda item: (-item[1].luts, -item[1].ffs, item[0])))

    def path(self, steps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A path of the router's report as a walk through blocks: block, nanoseconds of logic and of routing to it."""
        walk: list[dict[str, Any]] = []
        for step in steps:
            block = self.of(step["to"]["cell"])
            if not walk or walk[-1]["block"] != block:
                walk.append({"block": block, "logic_ns": 0.0, "routing_ns": 0.0, "cells": 0})
            kind = "routing_ns" if step["type"] == "routing" else "logic_ns"
            walk[-1][kind] += step["delay"]
            walk[-1]["cells"] += step["type"] == "routing"
        return [{**stage, **{k: round(stage[k], 2) for k in ("logic_ns", "routing_ns")}} for stage in walk]


def as_report(usage: Mapping[str, Usage]) -> dict[str, dict[str, int]]:
    """Resources by block for the JSON report."""
    return {block: asdict(each) for block, each in usage.items()}


def _outputs(cell: Mapping[str, Any]) -> list[int]:
    directions = cell.get("port_directions", {})
    return [
        bit for port, bits in cell["connections"].items() if port in OUTPUTS or directions.get(port) == "output"
        for bit in bits
    ]


def _modules(verilog: Path) -> tuple[list[int], list[str]]:
    """Line and name of every module of a Verilog file; empty if there is none."""
    found = []
    if verilog.exists():
        with verilog.open() as file:
            found = [(number, line.split()[1].split("(")[0]) for number, line in enumerate(file, 1)
                     if line.startswith("module ")]
    return [number for number, _ in found], [name for _, name in found]


def _named_nets(nets: Mapping[str, Any]) -> dict[int, str]:
    """The deepest hierarchical name of each bit that has one."""
    names: dict[int, str] = {}
    for name, net in nets.items():
        if net.get("hide_name") or "." not in name:
            continue
        for bit in net["bits"]:
            if bit not in names or name.count(".") > names[bit].count("."):
                names[bit] = name
    return names
