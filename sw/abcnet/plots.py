"""The plots of a study's report, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STYLE = {"abc": ("o", "tab:blue"), "symmetric": ("s", "tab:orange"), "channelwise": ("^", "tab:green"),
         "abc-real": ("D", "tab:purple"), "others": ("X", "dimgray")}
RADIUS = 4  # pixels of a point, about
# Where a point's label may stand: alignment, and offset in points.
PLACES = (("left", 5, 3), ("right", -5, 3), ("left", 5, -9), ("right", -5, -9), ("left", 0, 9), ("left", 0, -15))


@dataclass(frozen=True)
class Point:
    """A scheme in the frontier plot; `best`: nothing faster is as accurate."""

    label: str
    cycles: int
    accuracy: float
    best: bool

    @property
    def family(self) -> str:
        """Key of STYLE."""
        first, *rest = self.label.split()
        return rest[-1] if rest and rest[-1] in STYLE else first if first in STYLE else "others"

    @property
    def text(self) -> str:
        """The label without what the family says."""
        return self.label if self.family == "others" else self.label.split()[1]


def planes(path: Path, series: Mapping[str, Sequence[tuple[int, float]]], baseline: float | None) -> None:
    """Accuracy over weight planes, a line per number of activation planes."""
    figure, axis = _figure((5.5, 3.8))
    for name, points in series.items():
        if points:
            axis.plot(*zip(*points, strict=True), marker="o", label=name)
    if baseline is not None:
        axis.axhline(baseline, color="black", linewidth=0.8, label="full precision")
    axis.set_xticks(sorted({m for points in series.values() for m, _ in points}))
    axis.set_xlabel("weight planes M")
    axis.set_ylabel("test accuracy, %")
    axis.legend(fontsize=8)
    _save(figure, path)


def frontier(path: Path, points: Sequence[Point], preset: str) -> None:
    """Accuracy over cycles, with a line through the best points."""
    from matplotlib.ticker import LogLocator

    figure, axis = _figure((7.5, 4.8))
    for family, (marker, colour) in STYLE.items():
        own = [point for point in points if point.family == family]
        if own:
            axis.plot([p.cycles for p in own], [p.accuracy for p in own], marker, color=colour, label=family,
                      markersize=5)
    best = sorted((p.cycles, p.accuracy) for p in points if p.best)
    if best:
        axis.step(*zip(*best, strict=True), where="post", color="black", linewidth=0.7, label="frontier", zorder=0)
    axis.set_xscale("log")
    axis.set_xlabel(f"cycles per image, preset {preset}")
    axis.set_ylabel("test accuracy, %")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    axis.xaxis.set_minor_formatter("{x:,.0f}")
    axis.tick_params(axis="x", which="both", labelsize=7)
    axis.legend(fontsize=8, loc="lower right")
    _annotate(figure, axis, points)
    _save(figure, path)


def _annotate(figure: Any, axis: Any, points: Sequence[Point]) -> None:
    """A label beside each point, where it covers no other; none where there is no such place."""
    figure.canvas.draw()  # only then is it known where points and labels are
    renderer = figure.canvas.get_renderer()
    taken = [axis.get_legend().get_window_extent(renderer)] if axis.get_legend() else []
    marks = [axis.transData.transform((point.cycles, point.accuracy)) for point in points]
    frame = axis.get_window_extent(renderer)
    for point, mark in sorted(zip(points, marks, strict=True), key=lambda pair: not pair[0].best):
        for side, x, y in PLACES:
            text = axis.annotate(point.text, (point.cycles, point.accuracy), (x, y), textcoords="offset points",
                                 fontsize=7, ha=side, color=STYLE[point.family][1])
            box = text.get_window_extent(renderer)
            wide = box.padded(RADIUS)  # so that it covers no mark's edge either
            covers = any(box.overlaps(other) for other in taken) or any(
                wide.contains(*other) for other in marks if other is not mark)
            if not covers and frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1):
                taken.append(box)
                break
            text.remove()


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
