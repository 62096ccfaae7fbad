"""Look-up tables of a netlist of Yosys as the part has them: a LUT6 of 7-series may hold two functions."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FRACTURED = 5  # inputs of a LUT6 with two outputs
NEAR = 64  # users of a net that are looked at as partners
# Look-up tables of 7-series that a memory takes.
MEMORIES = {
    **dict.fromkeys(("SRL16E", "SRLC32E", "RAM32X1S", "RAM64X1S"), 1),
    **dict.fromkeys(("RAM32X1D", "RAM64X1D", "RAM128X1S"), 2),
    **dict.fromkeys(("RAM32M", "RAM64M", "RAM128X1D", "RAM256X1S"), 4),
}


@dataclass(frozen=True)
class Cell:
    """One cell of a netlist: its type, the nets of its data inputs, and its output's if it is a look-up table."""

    kind: str
    inputs: frozenset[int]
    output: int | None


def cells(netlist: Path) -> list[Cell]:
    """The cells of the module `top` of a flat netlist that Yosys's `write_json` made."""
    top = json.loads(netlist.read_text())["modules"]["top"]
    return [_cell(cell["type"], cell["connections"]) for cell in top["cells"].values()]


def _cell(kind: str, ports: dict[str, list[int | str]]) -> Cell:
    data = ports.get("S", []) if kind == "CARRY4" else [n for port in ports if port[0] == "I" for n in ports[port]]
    output = next((net for net in ports.get("O", []) if kind.startswith("LUT") and isinstance(net, int)), None)
    return Cell(kind, frozenset(net for net in data if isinstance(net, int)), output)


def luts(cells: Sequence[Cell]) -> int:
    """Look-up tables of a netlist, LUT6 on 7-series and LUT4 on ECP5.

    On 7-series two functions of five inputs together are one LUT6_2, unless a carry chain takes both of its outputs;
    partners are chosen greedily, and memories have theirs alone. On ECP5 a carry cell takes two LUT4.
    """
    tables = [cell for cell in cells if cell.kind.startswith("LUT")]
    if not any(cell.kind == "CARRY4" for cell in cells) and all(cell.kind == "LUT4" for cell in tables):
        return len(tables) + 2 * sum(cell.kind == "CCU2C" for cell in cells)
    memories = sum(MEMORIES.get(cell.kind, 0) for cell in cells)
    carried = {net for cell in cells if cell.kind == "CARRY4" for net in cell.inputs}
    return memories + len(tables) - _pairs([cell.inputs for cell in tables
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
