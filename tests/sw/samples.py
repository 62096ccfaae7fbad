"""Small networks with random weights, for tests of everything around them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from hw.arch.config import preset
from hw.arch.isa import Padding
from sw import artifact
from sw.abcnet.reference import reference
from sw.artifact import Model
from sw.compiler import compile
from sw.graph import Conv, Graph, Image

CODE = np.array([[0, 0], [1, 0], [1, 1]], np.uint8)


def small_graph(seed: int = 1, *, image: Image | None = None, classes: int = 5, channels: int = 6) -> Graph:
    """Two layers of 2 x 2 planes: a padded, pooled convolution on a small image and a fully connected one."""
    rng = np.random.default_rng(seed)
    image = image or Image(6, 6, 1)
    first = Conv(
        name="conv", source="image", weights=_bits(rng, 2, channels, image.channels, 3, 3),
        coefficients=np.outer([3, 1], 2 ** np.arange(7, -1, -1)).astype(np.int64), padding=1, pad=Padding.LOW,
        pool=2, pool_stride=2, thresholds=np.sort(rng.integers(-900, 900, (channels, 2)), axis=1), code=CODE,
    )
    last = Conv(
        name="fc", source="conv", weights=_bits(rng, 2, classes, channels, image.rows // 2, image.columns // 2),
        coefficients=np.array([[5, 3], [2, 1]]), bias=rng.integers(-50, 50, classes),
    )
    return Graph("sample", image, (first, last), tuple(f"class {i}" for i in range(classes)), 0.01, {"seed": str(seed)})


def some_images(count: int, seed: int = 2, image: Image | None = None) -> np.ndarray:
    """Random images, uint8 [count, rows, columns, channels]."""
    image = image or Image(6, 6, 1)
    shape = (count, image.rows, image.columns, image.channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _bits(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 2, shape).astype(np.uint8)


def fill(folder: Path) -> None:
    """model.abacus, compiled.abacus for tiny-2x2, images.npy, and images.npz with the model's classes as labels."""
    graph, images = small_graph(), some_images(4)
    model = Model(graph, images, reference(graph, images).logits)
    artifact.save(folder / "model.abacus", model)
    artifact.save(folder / "compiled.abacus", dataclasses.replace(model, program=compile(graph, preset("tiny-2x2"))))
    np.save(folder / "images.npy", images)
    np.savez(folder / "images.npz", images=images, labels=model.golden_logits.argmax(axis=1))
