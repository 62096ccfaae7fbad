"""What nextpnr-himbaechel's packer for 7-series leaves undone, done to the netlist before it.

Two functions in one LUT6: the tool places every LUT by itself, and two share a LUT6 where they happen to meet; a match
counter then takes most of its LUTs twice. Here a pair becomes one cell of two outputs, which packer and placer know
what to do with. The router does not: so the second function, the twin, is a cell of its own with no inputs, is bound
before placement to a place that no logic can take (`nextpnr/park.py`), and goes after it to the 5LUT beside the first,
where it takes over its inputs and the second output (`nextpnr/unite.py`).

Carry chains: the tool puts LUTs before inputs of a chain that have none of their own, and before those whose LUT is
read elsewhere too, is an inverter, or has five inputs with a chain's other input beside it. Here each has a LUT of its
own from the start, which is what it means in the part.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .lut6 import FRACTURED, cell_of, pairs

SCRIPTS = Path(__file__).parent / "nextpnr"
OPTIONS = ("--pre-place", str(SCRIPTS / "park.py"), "--pre-route", str(SCRIPTS / "unite.py"))
HELD = "1"  # what a twin's only input is tied to: the tool has no timing for a LUT without

Cells = dict[str, dict[str, Any]]


def packed(netlist: Path, output: Path) -> None:
    """Write a netlist of Yosys for `nextpnr` with `OPTIONS`."""
    design = json.loads(netlist.read_text())
    cells = design["modules"]["top"]["cells"]
    for cell in cells.values():
        if cell["type"] == "INV":
            _become_lut(cell, [cell["connections"]["I"][0]], "01", cell["connections"]["O"])
    _feed_carries(cells)
    _pair(cells)
    output.write_text(json.dumps(design))


def _become_lut(cell: dict[str, Any], inputs: Sequence[int | str], init: str, output: list[int | str]) -> None:
    cell["type"], cell["parameters"] = f"LUT{len(inputs)}", {"INIT": init}
    cell["connections"] = {f"I{n}": [net] for n, net in enumerate(inputs)} | {"O": output}
    cell["port_directions"] = dict.fromkeys(cell["connections"], "input") | {"O": "output"}


def _users(cells: Cells) -> dict[int, list[dict[str, Any]]]:
    """The cells that read each net, once for every input."""
    users = defaultdict(list)
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    users[bit].append(cell)
    return users


def _inputs(cell: dict[str, Any]) -> list[int | str]:
    return [cell["connections"][f"I{n}"][0] for n in range(int(cell["type"].removeprefix("LUT")))]


def _feed_carries(cells: Cells) -> None:
    """Give every input of a carry chain a LUT of its own."""
    users = _users(cells)
    drivers = {
        cell["connections"]["O"][0]: cell for cell in cells.values()
        if cell["type"].startswith("LUT") and len(_inputs(cell)) <= FRACTURED}
    net = 1 + max(bit for cell in cells.values() for bits in cell["connections"].values()
                  for bit in bits if isinstance(bit, int))
    fed: Cells = {}

    def feed(name: str, inputs: Sequence[int | str], init: str) -> int:
        nonlocal net
        net += 1
        fed[name] = {"hide_name": 1, "attributes": {}}
        _become_lut(fed[name], inputs, init, [net])
        return net

    for name, cell in cells.items():
        if cell["type"] != "CARRY4":
            continue
        carries, others = cell["connections"]["S"], cell["connections"]["DI"]
        for n, other in enumerate(others):
            if (lut := drivers.get(carries[n])) is None:
                continue
            inputs = _inputs(lut)
            if len(users[carries[n]]) > 1:
                carries[n] = feed(f"{name}$S{n}", inputs, lut["parameters"]["INIT"])
            if other in inputs:
                others[n] = feed(f"{name}$DI{n}", [other], "10")
            elif isinstance(other, str):
                others[n] = feed(f"{name}$DI{n}", inputs[:1], "11" if other == "1" else "00")
    cells |= fed


def _pair(cells: Cells) -> None:
    """Unite the functions that share a LUT6."""
    names, users = list(cells), _users(cells)
    for first, second in pairs([cell_of(cell) for cell in cells.values()]):
        registered = [_registered(cells[names[n]], users) for n in (first, second)]
        # The tool binds a register to the first output only: two that feed one each stay apart.
        if all(registered):
            continue
        if registered[1]:
            first, second = second, first
        _unite(names[first], cells[names[first]], cells[names[second]])


def _registered(cell: dict[str, Any], users: dict[int, list[dict[str, Any]]]) -> bool:
    """Whether the only user of a LUT's output is a flip-flop."""
    near = users[cell["connections"]["O"][0]]
    return len(near) == 1 and near[0]["type"].startswith("FD")


def _unite(name: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Make a cell of two outputs of `first`, called `name`, and its twin of `second`."""
    own = [_inputs(cell) for cell in (first, second)]
    nets = sorted({net for inputs in own for net in inputs if isinstance(net, int)})
    for cell, inputs in zip((first, second), own, strict=True):
        cell["type"] = f"LUT{len(nets)}"
        cell["parameters"]["INIT"] = _reordered(cell["parameters"]["INIT"], inputs, nets)
    outputs = {"O": first["connections"]["O"], "O5": second["connections"]["O"]}
    first["connections"] = {f"I{n}": [net] for n, net in enumerate(nets)} | outputs
    first["port_directions"] = dict.fromkeys(first["connections"], "input") | dict.fromkeys(outputs, "output")
    second["connections"], second["port_directions"] = {"I0": [HELD]}, {"I0": "input"}
    second["attributes"] |= {
        "TWIN_OF": name, "TWIN_PINS": " ".join(str(n + 1) for n, net in enumerate(nets) if net in own[1])}


def _reordered(init: str, inputs: Sequence[int | str], nets: Sequence[int]) -> str:
    """A truth table over `nets`, of one over `inputs`, which may be constants."""
    rows = []
    for row in range(1 << len(nets)):
        values = {net: row >> n & 1 for n, net in enumerate(nets)}
        old = sum((values[net] if isinstance(net, int) else int(net == "1")) << n for n, net in enumerate(inputs))
        rows.append(init[-1 - old])
    return "".join(reversed(rows))
