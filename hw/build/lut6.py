"""Look-up tables of a netlist of Yosys as the part has them: a LUT6 of 7-series may hold two functions."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FRACTURED = 5  # inputs of a LUT6 with two outputs
NEAR = 64  # users of a net that are looked at as partners
# Look-up tables of 7-series that a memory takes.
MEMORIES = {
    **dict.fromkeys(("SRL16E", "SRLC32E", "RAM32X1S", "RAM64X1S"), 1),
    **dict.fromkeys(("RAM32X1D", "RAM64X1D", "RAM128X1S"), 2),
    **dict.fromkeys(("RAM32M", "RAM64M", "RAM128X1D", "RAM256X1S"), 4),
}
COMBINATIONAL = ("LUT", "INV", "CARRY4", "MUXF", "RAM32", "RAM64", "RAM128", "RAM256")
WIDE = ("CARRY4", "MUXF")  # cells whose look-up tables have no choice of place


@dataclass(frozen=True)
class Cell:
    """One cell of a netlist: its type, and the nets of its inputs and outputs."""

    kind: str
    inputs: frozenset[int]
    outputs: frozenset[int]


def cells(netlist: Path) -> list[Cell]:
    """The cells of the module `top` of a flat netlist that Yosys's `write_json` made, in its order."""
    return [cell_of(cell) for cell in json.loads(netlist.read_text())["modules"]["top"]["cells"].values()]


def cell_of(cell: Mapping[str, Any]) -> Cell:
    """A cell as the netlist has it."""
    def nets(direction: str) -> Iterator[int]:
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == direction:
                yield from (bit for bit in bits if isinstance(bit, int))

    return Cell(cell["type"], frozenset(nets("input")), frozenset(nets("output")))


def luts(cells: Sequence[Cell]) -> int:
    """Look-up tables of a netlist, LUT6 on 7-series and LUT4 on ECP5.

    On 7-series a LUT6 with both outputs in use is one; memories have theirs alone. On ECP5 a carry cell takes two LUT4.
    """
    tables = sum(cell.kind.startswith("LUT") for cell in cells)
    if not any(cell.kind == "CARRY4" for cell in cells) and all(
            cell.kind == "LUT4" for cell in cells if cell.kind.startswith("LUT")):
        return tables + 2 * sum(cell.kind == "CCU2C" for cell in cells)
    return sum(MEMORIES.get(cell.kind, 0) for cell in cells) + tables - len(pairs(cells))


def pairs(cells: Sequence[Cell]) -> list[tuple[int, int]]:
    """Pairs of functions that share a LUT6, as indices of `cells`: chosen greedily, most inputs in common first.

    Partners have `FRACTURED` inputs together at most, one of them in common, and equally long ways from the registers,
    so that a cell of both makes no loop. Those that feed a carry chain or a wide multiplexer have none.
    """
    wide = {net for cell in cells if cell.kind.startswith(WIDE) for net in cell.inputs}
    free = {
        number: cell.inputs for number, cell in enumerate(cells)
        if cell.kind.startswith("LUT") and 0 < len(cell.inputs) <= FRACTURED and not cell.outputs & wide}
    users = defaultdict(list)
    for number in free:
        for net in free[number]:
            users[net].append(number)
    depth, found = _depths(cells), []
    for number in sorted(free, key=lambda n: -len(cells[n].inputs)):
        if number not in free:
            continue
        inputs = free.pop(number)
        near = {
            other for net in inputs for other in users[net][:NEAR]
            if other in free and depth[other] == depth[number] and len(inputs | free[other]) <= FRACTURED}
        if near:
            best = min(near, key=lambda n: (len(free[n] | inputs), -len(free[n]), n))
            del free[best]
            found.append((number, best))
    return found


def _depths(cells: Sequence[Cell]) -> list[int]:
    """Combinational cells on the longest way from a register or a pin through each cell."""
    drivers = {
        net: number for number, cell in enumerate(cells) if cell.kind.startswith(COMBINATIONAL)
        for net in cell.outputs}
    before = [[drivers[net] for net in cell.inputs if net in drivers] for cell in cells]
    depths, after, missing = [1] * len(cells), defaultdict(list), list(map(len, before))
    for number, sources in enumerate(before):
        for source in sources:
            after[source].append(number)
    ready = [number for number, count in enumerate(missing) if not count]
    while ready:
        number = ready.pop()
        for user in after[number]:
            depths[user] = max(depths[user], depths[number] + 1)
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    return depths
