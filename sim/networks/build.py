"""The networks that must run, with random weights: LeNet-5, FINN's CNV, ResNet-20 and ResNet-18."""

from __future__ import annotations

import numpy as np

from hw.arch.isa import Padding
from sw.graph import Conv, Graph, Image

SHIFT = 4  # of all residual values: one grid


class Builder:
    """Adds layers of random bits with m weight planes, each with the thresholds that suit its sums; n planes out.

    Bases are nested and coefficients symmetric, as an ABC-Net's may be, so that the compiler recodes them.
    """

    def __init__(self, name: str, image: tuple[int, int, int], m: int, n: int, seed: int):
        self.rng, self.name, self.m, self.n = np.random.default_rng(seed), name, m, n
        self.image, self.layers = Image(*image), []
        self.shapes = {"image": (*image, 8)}

    def add(self, name: str, source: str, channels: int, kernel: int | tuple[int, int], *, levels: bool = True,
            **options) -> str:
        """Append a layer on `source`; its name. `options` are those of `Conv`."""
        rows, columns, ci, planes = self.shapes[source]
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        order = self.rng.random((channels, ci, *size))
        weights = np.stack([order > (i + 1) / (self.m + 1) for i in range(self.m)]).astype(np.uint8)
        inputs = 1 << np.arange(planes - 1, -1, -1) if source == "image" else self._symmetric(planes)
        coefficients = np.outer(self._symmetric(self.m), inputs)
        spread = int(np.sqrt((coefficients**2).sum() * ci * size[0] * size[1])) * options.get("average", 1)
        if levels:
            thresholds = np.sort(self.rng.integers(-spread, spread + 1, (channels, self.n)), axis=1)
            options |= {"thresholds": thresholds, "code": np.tril(np.ones((self.n + 1, self.n), np.uint8), -1)}
        if options.get("keep") or options.get("add"):
            options["shift"] = SHIFT
        layer = Conv(name, source, weights, coefficients, pad=Padding.LOW if source == "image" else Padding.SKIP,
                     **options)
        self.layers.append(layer)
        out = layer.output(rows, columns)
        self.shapes[name] = (out.rows, out.columns, out.channels, out.planes)
        return name

    def graph(self) -> Graph:
        return Graph(self.name, self.image, tuple(self.layers), tuple(map(str, range(self.layers[-1].channels))))

    def _symmetric(self, count: int) -> np.ndarray:
        half = self.rng.integers(3, 12, -(-count // 2))
        return np.concatenate([half, half[::-1][count % 2 :]])


def lenet5(m: int = 1, n: int = 1, seed: int = 1) -> Graph:
    """LeCun's network on 28 x 28 digits."""
    net = Builder("lenet5", (28, 28, 1), m, n, seed)
    last = net.add("conv1", "image", 6, 5, padding=2, pool=2, pool_stride=2)
    last = net.add("conv2", last, 16, 5, pool=2, pool_stride=2)
    last = net.add("fc1", last, 120, 5)
    net.add("classes", net.add("fc2", last, 84, 1), 10, 1, levels=False)
    return net.graph()


def cnv(m: int = 1, n: int = 1, seed: int = 1) -> Graph:
    """FINN's CNV on 32 x 32 colour images."""
    net, last = Builder("cnv", (32, 32, 3), m, n, seed), "image"
    for number, (channels, pool) in enumerate(((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 1)), 1):
        last = net.add(f"conv{number}", last, channels, 3, pool=pool, pool_stride=pool)
    last = net.add("fc2", net.add("fc1", last, 512, 1), 512, 1)
    net.add("classes", last, 10, 1, levels=False)
    return net.graph()


def _residual(net: Builder, stem: str, stages: tuple[tuple[int, int], ...], blocks: int, classes: int) -> Graph:
    """Stages (channels, stride) of basic blocks behind a stem, average pool and classifier."""
    last = stem
    for stage, (channels, first_stride) in enumerate(stages, 1):
        for block in range(blocks):
            name, stride, shortcut = f"layer{stage}_{block}", first_stride if block == 0 else 1, last
            inner = net.add(f"{name}a", last, channels, 3, padding=1, stride=stride)
            if stride > 1 or net.shapes[last][2] != channels:
                shortcut = net.add(f"{name}s", last, channels, 1, stride=stride, levels=False, keep=True)
            keep = (stage, block) != (len(stages), blocks - 1)
            last = net.add(name, inner, channels, 3, padding=1, add=shortcut, keep=keep, rectify=keep)
    net.add("classes", last, classes, 1, levels=False, average=net.shapes[last][0])
    return net.graph()


def resnet20(m: int = 1, n: int = 1, seed: int = 1) -> Graph:
    """ResNet-20 for CIFAR."""
    net = Builder("resnet20", (32, 32, 3), m, n, seed)
    stem = net.add("stem", "image", 16, 3, padding=1, keep=True, rectify=True)
    return _residual(net, stem, ((16, 1), (32, 2), (64, 2)), 3, 10)


def resnet18(m: int = 5, n: int = 5, seed: int = 1, *, size: int = 224, width: int = 64, classes: int = 1000) -> Graph:
    """ResNet-18 for ImageNet; with the same layers for smaller images, fewer channels or classes."""
    net = Builder("resnet18", (size, size, 3), m, n, seed)
    stem = net.add("stem", "image", width, 7, stride=2, padding=3, pool=3, pool_stride=2, pool_padding=1, keep=True,
                   rectify=True)
    return _residual(net, stem, ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)), 2, classes)
