"""The demonstration: a few images through a device, every logit checked, and a picture of what came back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from sw import artifact, commands, images
from sw.errors import AbacusError
from sw.images import Batch


def run(args: argparse.Namespace) -> int:
    """Classify images at `args.link`, write the picture `args.output`; 1 unless all logits equal the reference."""
    model = artifact.load(args.model)
    batch = images.load(args.images, model.graph.image, limit=args.limit, directory=args.data)
    expected = commands.reference_logits(model.graph, batch.images)
    print(f"{model.graph.name}: {len(batch.images)} images through {args.link}", flush=True)
    logits, stats = commands.classify(model, batch.images, args)
    title = f"{model.graph.name} at {args.link}, {stats.cycles // len(logits)} cycles an image"
    draw(args.output, batch, logits, model.graph.classes, title)
    print(f"picture {args.output}")
    return commands.report_equality(logits, expected)


def draw(path: str | Path, batch: Batch, logits: np.ndarray, classes: tuple[str, ...], title: str) -> None:
    """Write a PNG: every image with its prediction above and its logits as bars beside it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise AbacusError("the picture needs matplotlib: pip install matplotlib") from None
    count, columns = len(logits), min(5, len(logits))
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, 3.6 * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2, 1.4] * rows)
    for axis in axes.flat:
        axis.set_axis_off()
    for index in range(count):
        row, column = divmod(index, columns)
        label = None if batch.labels is None else int(batch.labels[index])
        _draw_image(axes[2 * row, column], batch.images[index], classes, int(logits[index].argmax()), label)
        _draw_logits(axes[2 * row + 1, column], logits[index], classes)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, format="png")
    except OSError as error:
        raise AbacusError(f"picture {path} cannot be written: {error.strerror or error}") from None


def _draw_image(axis: Any, image: np.ndarray, classes: tuple[str, ...], predicted: int, label: int | None) -> None:
    axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
    wrong = label is not None and label != predicted
    text = classes[predicted] + (f" (is {classes[label or 0]})" if wrong else "")
    axis.set_title(text, fontsize=11, color="firebrick" if wrong else "black")


def _draw_logits(axis: Any, row: np.ndarray, classes: tuple[str, ...]) -> None:
    axis.set_axis_on()
    colours = ["tab:orange" if index == row.argmax() else "tab:gray" for index in range(len(row))]
    axis.bar(range(len(row)), row, color=colours)
    axis.axhline(0, color="black", linewidth=0.5)
    axis.set_xticks(range(len(row)), classes, fontsize=7, rotation=90 if max(map(len, classes)) > 2 else 0)
    axis.tick_params(axis="y", labelsize=6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
