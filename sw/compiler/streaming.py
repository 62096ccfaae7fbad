"""What of a network stays in the memories, and what every frame brings anew, in parts small enough.

A memory that holds all its words of the network is written once. Of the others the first words hold what stays; the
rest are areas that the parts of the layers take in turn: while one part is computed, the next one is loaded. A layer
that is larger than an area is computed in parts, some row groups each; a layer with planes begins each with a new word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hw.arch.config import Config, Space
from hw.arch.isa import LOADABLE, Load
from hw.arch.packed import fields_of
from sw.compiler.program import CompileError

AREAS = (2, 1)  # of a memory that is loaded; with one, nothing is computed meanwhile
_LARGEST = dict(zip(LOADABLE, (spec["high"] for name, spec in fields_of(Load) if name.endswith("_words")), strict=True))


@dataclass(frozen=True, eq=False)
class LayerWords:
    """The words of a layer: uint8 [banks, words, bytes per word] of each memory; `divided` of them by row groups.

    A part has a multiple of `unit` row groups, but for the last one.
    """

    name: str
    row_groups: int
    unit: int
    images: dict[Space, np.ndarray]
    divided: frozenset[Space]

    def words(self, space: Space, first: int = 0, groups: int | None = None) -> np.ndarray:
        """Those of some row groups, where they are divided, or all."""
        image = self.images[space]
        if groups is None or space not in self.divided:
            return image
        each = image.shape[1] // self.row_groups
        return image[:, first * each : (first + groups) * each]

    def least(self, space: Space) -> int:
        """Words of the smallest part."""
        return self.words(space, 0, min(self.unit, self.row_groups)).shape[1]


@dataclass(frozen=True)
class Part:
    """Row groups of a layer that one `Conv` computes; the first word of each memory; the chunk that has to be there."""

    layer: int
    first: int
    groups: int
    addresses: dict[Space, int]
    chunk: int | None


@dataclass(eq=False)
class Chunk:
    """What one `Load` brings."""

    bases: dict[Space, int]
    pieces: dict[Space, list[np.ndarray]] = field(default_factory=lambda: {space: [] for space in LOADABLE})

    def size(self, space: Space) -> int:
        return sum(piece.shape[1] for piece in self.pieces[space])

    def load(self) -> Load:
        """The instruction."""
        return Load(*(number for space in LOADABLE for number in (
            self.bases[space] if self.size(space) else 0, self.size(space))))

    def stream(self) -> bytes:
        """The bytes that it takes."""
        return b"".join(
            np.concatenate(self.pieces[space], axis=1).transpose(1, 0, 2).tobytes()
            for space in LOADABLE if self.pieces[space])


@dataclass(frozen=True, eq=False)
class Placement:
    """Where everything is: what stays, the parts in the order of computation, and what is loaded for them.

    With `ahead` a chunk is loaded while the one before is computed.
    """

    memories: dict[Space, np.ndarray]
    parts: tuple[Part, ...]
    chunks: tuple[Chunk, ...]
    ahead: bool


@dataclass(frozen=True)
class _Shelf:
    """One memory: first words of the layers that stay, the words they take, and how large the areas behind them are."""

    kept: dict[int, int]
    used: int
    area: int


def place(layers: list[LayerWords], config: Config, *, streaming: bool = True, stay: int = 0) -> Placement:
    """Decide what stays and what is loaded, as few bytes as possible; without `streaming` everything has to stay, with
    it the first `stay` layers, which are computed more than once.

    `CompileError` for a layer that is too large.
    """
    if not streaming:
        _check_all(layers, config)
    for areas in AREAS:
        shelves = {space: _shelf(layers, space, config, areas, stay) for space in LOADABLE}
        found = {space: shelf for space, shelf in shelves.items() if shelf}
        if len(found) == len(shelves):
            break
    else:
        raise CompileError(_not_beside(layers, config, stay) if stay else _complaint(layers, config))
    cutter = _Cutter(layers, found, areas)
    parts = tuple(part for number in range(len(layers)) for part in cutter.cut(number))
    memories = {
        space: np.concatenate([layers[number].images[space] for number in shelf.kept], axis=1)
        for space, shelf in found.items() if shelf.used}
    return Placement(memories, parts, tuple(cutter.chunks), areas > 1)


def _shelf(layers: list[LayerWords], space: Space, config: Config, areas: int, stay: int) -> _Shelf | None:
    """The fewest words to load, in areas of that number; None if there is no room for any."""
    depth, sizes = config.memories[space].depth, [layer.images[space].shape[1] for layer in layers]
    least = [layer.least(space) for layer in layers]
    best: _Shelf | None = None
    for area in [0, *sorted(set(least))]:
        kept = {number for number, smallest in enumerate(least) if number < stay or smallest > area}
        room = depth - areas * area - sum(sizes[number] for number in kept)
        if room < 0 or area > _LARGEST[space]:
            continue
        for number in sorted(range(len(layers)), key=lambda n: -sizes[n]):
            if number not in kept and sizes[number] <= room:
                kept.add(number)
                room -= sizes[number]
        used = sum(sizes[number] for number in kept)
        if best is None or used >= best.used:
            starts, order = np.cumsum([0, *(sizes[number] for number in sorted(kept))]).tolist(), sorted(kept)
            best = _Shelf(dict(zip(order, starts, strict=False)), used, min((depth - used) // areas, _LARGEST[space]))
        if len(kept) == len(layers):
            break
    return best


def _check_all(layers: list[LayerWords], config: Config) -> None:
    """`CompileError` unless all memories hold all layers."""
    for space in LOADABLE:
        depth, used = config.memories[space].depth, 0
        for layer in layers:
            words = layer.images[space].shape[1]
            if used + words > depth:
                raise CompileError(
                    f"layer {layer.name} needs {words} words per bank of {space.name.lower()} memory after {used} "
                    f"used ones, {used + words - depth} more than its depth of {depth}")
            used += words


def _complaint(layers: list[LayerWords], config: Config) -> str:
    """Why not even parts of the layers fit."""
    layer, space = max(
        ((layer, space) for layer in layers for space in LOADABLE),
        key=lambda each: each[0].least(each[1]) / config.memories[each[1]].depth)
    words, depth = layer.least(space), config.memories[space].depth
    part = f" for {layer.unit * config.channel_lanes} of its channels" if space in layer.divided else ""
    return (f"layer {layer.name} needs {words} words per bank of {space.name.lower()} memory{part} at once, "
            f"{words - depth} more than its depth of {depth}")


def _not_beside(layers: list[LayerWords], config: Config, stay: int) -> str:
    """Why layers do not stay."""
    space = next(space for space in LOADABLE if not _shelf(layers, space, config, 1, stay))
    return (f"the {stay} layers up to {layers[stay - 1].name} have no room for all their words in the "
            f"{space.name.lower()} memory's {config.memories[space].depth} beside what every image brings anew")


class _Cutter:
    """Cuts layers into parts as large as the areas allow, and gathers in a chunk as many of them as fit."""

    def __init__(self, layers: list[LayerWords], shelves: dict[Space, _Shelf], areas: int) -> None:
        self.chunks: list[Chunk] = []
        self._layers, self._shelves, self._areas = layers, shelves, areas

    def cut(self, number: int) -> Iterator[Part]:
        """The parts of a layer, from the first row group on."""
        layer, first = self._layers[number], 0
        while first < layer.row_groups:
            groups = self._groups(number, first)
            pieces, addresses = self._loaded(number, first, groups), {}
            for space, shelf in self._shelves.items():
                if space in pieces:
                    addresses[space] = self.chunks[-1].bases[space] + self.chunks[-1].size(space)
                    self.chunks[-1].pieces[space].append(pieces[space])
                else:
                    before = layer.words(space, 0, first).shape[1] if space in layer.divided else 0
                    addresses[space] = shelf.kept[number] + before
            yield Part(number, first, groups, addresses, len(self.chunks) - 1 if pieces else None)
            first += groups

    def _groups(self, number: int, first: int) -> int:
        """Most row groups from `first` on whose words fit the chunk at hand, or else a new one."""
        rest, unit = self._layers[number].row_groups - first, self._layers[number].unit
        counts = [rest, *range((rest - 1) // unit * unit, 0, -unit)]
        while True:
            for count in counts:
                if self._fits(self._loaded(number, first, count)):
                    return count
            turn = len(self.chunks) % self._areas
            self.chunks.append(Chunk({space: shelf.used + turn * shelf.area for space, shelf in self._shelves.items()}))

    def _loaded(self, number: int, first: int, groups: int) -> dict[Space, np.ndarray]:
        """The words of row groups that do not stay."""
        return {space: self._layers[number].words(space, first, groups)
                for space, shelf in self._shelves.items() if number not in shelf.kept}

    def _fits(self, pieces: dict[Space, np.ndarray]) -> bool:
        """Whether there is room in the chunk at hand."""
        return not pieces or bool(self.chunks) and all(
            self.chunks[-1].size(space) + piece.shape[1] <= self._shelves[space].area
            for space, piece in pieces.items())
