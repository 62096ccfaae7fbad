"""From FASM, the router's list of configured features, to the frames of a 7-series bitstream.

The Project X-Ray database says where features live. `tilegrid.json` of a die places every tile: per bus, the
address of its first frame and the word where its slice of those frames starts. `segbits_*.db` of a tile type
list the bits of each feature as FRAME_BIT, with ! for a bit that must stay clear; `ppips_*.db` list the routes
that are always there and need no bits. An aliased tile takes its bits from another type, shifted.

Limits: no features are added on the user's behalf (bank voltages other than 3.3 V, Zynq), ECC is left to the
bitstream writer.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BuildError

FRAME_WORDS = 101
BUSES = {"CLB_IO_CLK": ".db", "BLOCK_RAM": ".block_ram.db"}
LINE = re.compile(
    r"(?P<tile>[^\s.]+)\.(?P<feature>[^\s\[=]+)(\[(?P<high>\d+)(:(?P<low>\d+))?\])?(\s*=\s*(?P<value>\S+))?$"
)
VALUE = re.compile(r"((?P<width>\d+)')?(?P<base>[bhod])?(?P<digits>[0-9a-fA-F]+)$")
BASES = {"b": 2, "o": 8, "d": 10, "h": 16, None: 10}


@dataclass(frozen=True)
class Bit:
    """A bit of a tile: frame from its first, bit from the start of its words, and the value the feature wants."""

    frame: int
    offset: int
    value: bool


Segment = tuple[str, tuple[Bit, ...]]  # bus and bits of one feature


class Database:
    """The features of one die; tile types are read when first met.

    Parameters
    ----------
    root : Path
        Folder of the family, e.g. `.../prjxray/database/artix7`.
    die : str
        Name of the die below it, e.g. `xc7a50t`.
    """

    def __init__(self, root: Path, die: str) -> None:
        self.root = root
        self.grid: dict[str, Any] = json.loads((root / die / "tilegrid.json").read_text())
        self._types: dict[str, tuple[dict[str, Segment], frozenset[str]]] = {}

    def frames(self) -> Iterator[int]:
        """Address of every frame of the die, repeated for each tile in it."""
        for tile in self.grid.values():
            for bits in tile["bits"].values():
                base = int(bits["baseaddr"], 16)
                yield from range(base, base + bits["frames"])

    def bits(self, tile: str, feature: str, index: int | None) -> Iterator[tuple[int, int, int, bool]]:
        """(frame address, word, bit, value) of everything that bit `index` of a feature decides.

        Raises `BuildError` for a feature that the database does not have.
        """
        if tile not in self.grid:
            raise BuildError(f"the tile {tile} is not in the device database")
        buses = self.grid[tile]["bits"]
        for bus, segment in self._segments(tile, feature, index):
            place = buses[bus]
            word = place["offset"] - place.get("alias", {}).get("start_offset", 0)
            for bit in segment:
                address = int(place["baseaddr"], 16) + bit.frame
                yield address, word + bit.offset // 32, bit.offset % 32, bit.value

    def _segments(self, tile: str, feature: str, index: int | None) -> list[Segment]:
        """The feature's segment, or nothing for a route that needs no bits."""
        kind, name = self._resolve(tile, feature)
        segments, routes = self._type(kind)
        name = f"{kind}.{name}"
        # One-bit features are written both as NAME and NAME[0], in FASM and in the database alike.
        for key in (f"{name}[{index}]", name) if index is not None else (name,):
            if key in segments and (key != name or not index):
                return [segments[key]]
        if name in routes:
            return []
        raise BuildError(f"the feature {tile}.{feature} is not in the device database")

    def _resolve(self, tile: str, feature: str) -> tuple[str, str]:
        """Tile type and feature name under which the database keeps a feature."""
        entry = self.grid[tile]
        alias = entry["bits"].get("CLB_IO_CLK", {}).get("alias")
        if alias is None:
            return entry["type"], feature
        site, _, rest = feature.partition(".")
        return alias["type"], f"{alias['sites'].get(site, site)}.{rest}" if rest else feature

    def _type(self, kind: str) -> tuple[dict[str, Segment], frozenset[str]]:
        if kind not in self._types:
            segments = {
                name: (bus, tuple(bits))
                for bus, suffix in BUSES.items()
                for name, bits in _segbits(self.root / f"segbits_{kind.lower()}{suffix}")
            }
            routes = frozenset(line.split()[0] for line in _lines(self.root / f"ppips_{kind.lower()}.db"))
            self._types[kind] = segments, routes
        return self._types[kind]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def _segbits(path: Path) -> Iterator[tuple[str, list[Bit]]]:
    """(feature, bits) of a segbits file; indices lose their leading zeros."""
    for line in _lines(path):
        name, *bits = line.split()
        name = re.sub(r"\[0*(\d+)\]$", r"[\1]", name)
        yield name, [_bit(text) for text in bits]


def _bit(text: str) -> Bit:
    frame, offset = text.lstrip("!").split("_")
    return Bit(int(frame), int(offset), not text.startswith("!"))


def features(text: str) -> Iterator[tuple[str, str, int | None]]:
    """(tile, feature, index) of every bit that a FASM text sets; index None where the feature has none."""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = LINE.match(line)
        value = VALUE.match((match["value"] or "1").replace("_", "")) if match else None
        if match is None or value is None:
            raise BuildError(f"line {number} of the router's FASM is not understood: {line[:80]}")
        bits = int(value["digits"], BASES[value["base"]])
        if match["high"] is None:
            if bits:
                yield match["tile"], match["feature"], None
            continue
        low = int(match["low"] or match["high"])
        for index in range(low, int(match["high"]) + 1):
            if bits >> (index - low) & 1:
                yield match["tile"], match["feature"], index


def assemble(database: Database, fasm: str) -> dict[int, list[int]]:
    """Frames by address, each of 101 words, all frames of the die included.

    Raises `BuildError` for an unknown feature, or if one feature sets a bit that another needs clear.
    """
    frames = {address: [0] * FRAME_WORDS for address in database.frames()}
    cleared: set[tuple[int, int, int]] = set()
    for tile, feature, index in features(fasm):
        for address, word, bit, value in database.bits(tile, feature, index):
            if value:
                frames[address][word] |= 1 << bit
            else:
                cleared.add((address, word, bit))
    for address, word, bit in cleared:
        if frames[address][word] >> bit & 1:
            raise BuildError(f"bit {bit} of word {word} in frame {address:#010x} is wanted both set and clear")
    return frames


def write(frames: dict[int, list[int]], path: Path) -> None:
    """Write frames in the text form that xc7frames2bit reads."""
    with path.open("w") as out:
        for address in sorted(frames):
            out.write(f"0x{address:08X} " + ",".join(f"0x{word:08X}" for word in frames[address]) + "\n")
