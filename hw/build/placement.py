"""A picture of the placed design: one square per tile, coloured by the block that has most cells in it."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Tile = tuple[int, int]  # column and row of the device's grid
SCALE = 6  # pixels per tile
SHADES = ((1, 0.35), (6, 0.65), (14, 1.0))  # (cells in a tile from which on, opacity)


def placed_tiles(netlist: Path, block_of: Callable[[str], str]) -> dict[Tile, Counter[str]]:
    """Cells by block in every used tile, from the netlist that nextpnr writes after placement.

    The file is read line by line: with its routes it is too large to hold as objects.
    """
    tiles: dict[Tile, Counter[str]] = defaultdict(Counter)
    cell = ""
    with netlist.open() as file:
        for line in file:
            if line.startswith('        "') and line.endswith(": {\n"):
                cell = json.loads(line.strip().removesuffix(": {"))
            elif match := re.search(r'"NEXTPNR_BEL": "X(\d+)/?Y(\d+)/', line):
                tiles[int(match[1]), int(match[2])][block_of(cell)] += 1
            elif line.startswith('      "netnames"'):
                break
    return dict(tiles)


def picture(tiles: Mapping[Tile, Counter[str]], colours: Mapping[str, str], other: str, path: Sequence[Tile]) -> str:
    """SVG of the tiles, row 0 at the bottom, with the slowest path drawn over them; empty without tiles."""
    if not tiles:
        return ""
    columns, rows = max(x for x, _ in [*tiles, *path]) + 2, max(y for _, y in [*tiles, *path]) + 2
    groups: dict[tuple[str, float], list[str]] = defaultdict(list)
    for (x, y), cells in sorted(tiles.items()):
        block = min(cells, key=lambda name: (-cells[name], name))
        shade = max(opacity for least, opacity in SHADES if cells.total() >= least)
        groups[colours.get(block, other), shade].append(f"M{x} {rows - 1 - y}h.9v.9h-.9z")
    shapes = [
        f'<path fill="{colour}" fill-opacity="{shade}" d="{"".join(squares)}"/>'
        for (colour, shade), squares in sorted(groups.items())
    ]
    if path:
        points = " ".join(f"{x + 0.45},{rows - 1 - y + 0.45}" for x, y in path)
        shapes.append(f'<polyline points="{points}" fill="none" stroke="#fff" stroke-width="1.4"/>')
        shapes.append(f'<polyline points="{points}" fill="none" stroke="#c00020" stroke-width=".7"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {columns} {rows}" width="{columns * SCALE}" role="img" '
        f'aria-label="placement"><rect width="{columns}" height="{rows}" fill="#f4f5f7"/>{"".join(shapes)}</svg>\n'
    )


def path_tiles(path: Sequence[Mapping[str, Mapping[str, Sequence[int]]]]) -> list[Tile]:
    """The tiles that a path of the router's report visits, in order."""
    visited: list[Tile] = []
    for step in path:
        for end in ("from", "to"):
            x, y = step[end]["loc"]
            if not visited or visited[-1] != (x, y):
                visited.append((x, y))
    return visited
