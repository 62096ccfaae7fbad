"""Random residual networks: values kept and added, projections, average pools, padded max-pools."""

import numpy as np

from sw.graph import Graph, Image
from tests.graphs import random_conv


def residual_graph(seed):
    """A stem, one to three layers or residual blocks and an averaging classifier, on an image of up to 12 x 12 x 3."""
    rng = np.random.default_rng(seed)
    image = Image(int(rng.integers(6, 13)), int(rng.integers(6, 13)), int(rng.integers(1, 4)))
    layers = [random_conv(rng, "stem", "image", image.shape, 8, co=int(rng.integers(2, 20)), padding=1)]
    shape, planes = _shape(layers[0], image.shape), layers[0].planes
    for n in range(int(rng.integers(1, 4))):
        block = _averaged(rng, f"average{n}", layers[-1].name, shape, planes)
        layers += block
        shape, planes = _shape(block[-1], shape), block[-1].planes
    square = shape[0] == shape[1]
    layers.append(random_conv(
        rng, "classes", layers[-1].name, shape, planes, co=10, m=2, levels=0, channelwise=bool(rng.integers(2)),
        kernel=1 if square else shape[:2], average=shape[0] if square else 1))
    return Graph(f"residual{seed}", image, tuple(layers), tuple("0123456789"))


def _averaged(rng, name, source, shape, planes):
    """A layer behind an average pool that may leave pixels over."""
    average = int(rng.integers(1, min(3, *shape[:2]) + 1))
    kernel = int(rng.integers(1, min(2, min(shape[:2]) // average) + 1))
    return [random_conv(
        rng, name, source, shape, planes, co=int(rng.integers(1, 20)), kernel=kernel, average=average,
        m=int(rng.integers(1, 4)), levels=int(rng.integers(1, 5)), stride=int(rng.integers(1, 3)),
        binary=bool(rng.integers(2)))]


def _shape(layer, shape):
    """Rows, columns and channels of a layer's output."""
    return layer.output(*shape[:2])[2:5]
