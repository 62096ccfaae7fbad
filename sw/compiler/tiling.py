"""Tensors that do not fit: the first layers run in bands of rows of the last of them, its tensor alone is whole.

A band computes of every layer the rows that its part of the last one needs, those in its halo anew, from rows of the
image that come again. Rows of a tensor outside a band lie outside the map only where the band ends with the map, so
padding is exact; elsewhere no row that is needed reads them.

Residual values lie in the order of the pixels (`hw.arch.isa.Values`), so layers that share them compute the same rows
in a band, with some at its ends that mean nothing, for their sources are not there, and that nothing reads. The last
layer of all begins with the band's own rows, further on in the values, and what means nothing follows them: the next
band overwrites it, and the whole tensor has room for the last one's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd

from hw.arch.config import Config
from hw.arch.isa import Pack
from sw.compiler.layout import plan
from sw.compiler.lower import Intake, Task
from sw.graph import IMAGE

Rows = tuple[int, int]  # the first and the one behind the last


@dataclass(frozen=True, eq=False)
class Band:
    """Some rows: which of the image are packed, and what is computed."""

    first: int  # row of the image, margin included
    pack: Pack
    windows: int  # rows of the tensor that `pack` makes
    tasks: tuple[Task, ...]
    begin: int  # row of the last task's whole tensor where this band's begin
    added: int  # rows of the values that the last task adds which lie before its own


@dataclass(frozen=True, eq=False)
class Tiling:
    """All layers: the first in bands, all of them in one band if tensors fit; then the others."""

    bands: tuple[Band, ...]
    rest: tuple[Task, ...]

    @property
    def tiled(self) -> int:
        """Layers that run in bands."""
        return len(self.bands[0].tasks)

    @property
    def rows(self) -> int:
        """Rows that the last tensor of the bands must have room for."""
        return max(band.begin + band.tasks[-1].out_rows for band in self.bands)

    @property
    def windows(self) -> int:
        """Rows that the packed image must have room for."""
        return max(band.windows for band in self.bands)

    @property
    def largest(self) -> list[Task]:
        """Every layer with as many rows as it has in any band."""
        return [replace(tasks[0], rows=max(t.rows for t in tasks), out_rows=max(t.out_rows for t in tasks))
                for tasks in zip(*(band.tasks for band in self.bands), strict=True)] + list(self.rest)


def whole(tasks: list[Task], intake: Intake) -> Tiling:
    """All layers in one band."""
    return Tiling((Band(0, intake.pack, intake.rows, tuple(tasks), 0, 0),), ())


def tilings(tasks: list[Task], intake: Intake, config: Config) -> Iterator[Iterator[Tiling]]:
    """For every layer that may be the last one in bands, ways to have that, of ever more bands."""
    for count in range(1, len(tasks)):
        if _closed(tasks[:count], tasks[count:]):
            yield _split(tasks[:count], tasks[count:], intake, config)


def _closed(tiled: list[Task], rest: list[Task]) -> bool:
    """Whether all that `rest` reads is the tensor of the last tiled layer, which all the other tiled ones serve."""
    *others, last = (task.node.name for task in tiled)
    inner = {name for task in tiled for name in (task.source, task.node.add)}
    outer = {task.source for task in rest}
    added = {task.node.add for task in rest}
    return (tiled[-1].code is not None and tiled[-1].out_rows > 1 and IMAGE not in outer
            and inner.issuperset(others) and outer.isdisjoint(others) and added.isdisjoint((*others, last)))


def _split(tiled: list[Task], rest: list[Task], intake: Intake, config: Config) -> Iterator[Tiling]:
    last, lanes = tiled[-1], config.pixel_lanes
    reader = next(task for task in rest if task.source == last.node.name)
    layout = plan(config, last.out_rows, last.out_columns, 1, 1, reader.stride, reader.out_rows, reader.out_columns)
    unit = layout.phases * lanes // gcd(layout.pitch, lanes)  # rows after which a tensor continues in bank 0
    known, cut = 0, _Cut(tiled, intake, lanes)
    for number in range(2, last.out_rows + 1):
        height = -(-last.out_rows // (number * unit)) * unit
        if height == known or height >= last.out_rows:
            continue
        known = height
        parts = [(first, min(first + height, last.out_rows)) for first in range(0, last.out_rows, height)]
        bands = [cut.band(part) for part in parts]
        if all(bands):
            yield Tiling(tuple(band for band in bands if band), tuple(rest))
        if height == unit:
            return


class _Cut:
    """Layers that run in bands, the rows that each reads for a row of its own, and who shares values."""

    def __init__(self, tasks: list[Task], intake: Intake, lanes: int) -> None:
        self._tasks, self._intake, self._lanes = tasks, intake, lanes
        self._reach = {task.node.name: (min(across), max(across)) for task in tasks
                       for across in [[dy for position in task.taps for dy, _ in position]]}
        self._roots: dict[str, str] = {}  # of layers that share values the first one
        for task in tasks:
            self._roots[task.node.name] = self._roots.get(task.node.add, task.node.name)
        self._made: dict[tuple[str, int, int, int], Task] = {}

    def band(self, part: Rows) -> Band | None:
        """What some rows of the last layer take; None where its values do not begin in lane 0."""
        tasks, roots, rows = self._tasks, self._roots, self._needed(part)
        groups = {root: [name for name in roots if roots[name] == root] for root in roots.values()}
        for group in groups.values():
            rows |= dict.fromkeys(group, (min(rows[n][0] for n in group), max(rows[n][1] for n in group)))
        last = tasks[-1]
        first, end = rows[last.node.name]
        while first >= 0 and (part[0] - first) * last.out_columns % self._lanes:
            first -= 1
        if first < 0:
            return None
        rows |= dict.fromkeys(groups[roots[last.node.name]], (first, end))
        rows[last.node.name] = part[0], part[0] + end - first
        windows, windows_end = rows[IMAGE]
        pack, step = self._intake.pack, self._intake.pack.row_stride
        pack = replace(pack, rows=(windows_end - windows - 1) * step + pack.window_rows)
        return Band(windows * step, pack, windows_end - windows, tuple(self._task(task, rows) for task in tasks),
                    part[0], part[0] - first)

    def _needed(self, part: Rows) -> dict[str, Rows]:
        """Rows of all tensors that some rows of the last layer need."""
        rows = {self._tasks[-1].node.name: part}

        def need(name: str, first: int, end: int) -> None:
            before = rows.get(name, (first, end))
            rows[name] = min(first, before[0]), max(end, before[1])

        for task in reversed(self._tasks):
            (first, end), (up, down) = rows[task.node.name], self._reach[task.node.name]
            need(task.source, max(0, first * task.stride + up), min(task.rows, (end - 1) * task.stride + down + 1))
            if task.node.add:
                need(task.node.add, first, end)
        return rows

    def _task(self, task: Task, rows: dict[str, Rows]) -> Task:
        """A layer that reads and computes those rows."""
        (first, end), (source, source_end) = rows[task.node.name], rows[task.source]
        shift = first * task.stride - source
        made = task.node.name, end - first, source_end - source, shift
        if made not in self._made:
            taps = tuple(tuple((dy + shift, dx) for dy, dx in position) for position in task.taps)
            self._made[made] = replace(task, rows=source_end - source, out_rows=end - first, taps=taps)
        return self._made[made]
