"""Random residual networks: values kept and added, projections, average pools, padded max-pools."""

from functools import partial

import numpy as np

from sw.graph import Graph, Image
from tests.graphs import random_conv

CLASSES = 10


def residual_graph(seed, search=False):
    """A stem, one to three blocks or averaging layers and a classifier, on an image of up to 12 x 12 x 3.

    With `search` the tensors between them are binary numbers.
    """
    rng = np.random.default_rng(seed)
    conv = partial(random_conv, rng, search=search)
    image = Image(int(rng.integers(6, 13)), int(rng.integers(6, 13)), int(rng.integers(1, 4)))
    layers = [conv(
        "stem", "image", image.shape, 8, co=int(rng.integers(2, 20)), padding=1, keep=True, shift=2,
        rectify=bool(rng.integers(2)), **({"pool": 3, "pool_stride": 2, "pool_padding": 1} if seed % 3 == 0 else {}))]
    shapes = {"stem": _shape(layers[0], image.shape)}
    for n in range(int(rng.integers(1, 4))):
        source = layers[-1]
        make = _block if source.keep and rng.integers(4) else (_averaged, _pooled)[int(rng.integers(2))]
        for layer in make(rng, conv, f"layer{n}", source, shapes[source.name]):
            layers.append(layer)
            shapes[layer.name] = _shape(layer, shapes[layer.source])
    source, shape = layers[-1], shapes[layers[-1].name]
    square = shape[0] == shape[1]
    layers.append(conv(
        "classes", source.name, shape, source.planes, co=CLASSES, m=2, levels=0,
        channelwise=bool(rng.integers(2)), kernel=1 if square else shape[:2], average=shape[0] if square else 1))
    return Graph(f"residual{seed}", image, tuple(layers), tuple("0123456789"))


def shortest_passes(seed):
    """Layers of one word per pass on a 5 x 7 map: groups follow each other as closely as they may."""
    rng = np.random.default_rng(seed)
    image, layers, shape = Image(5, 7, 1), [], (5, 7, 1)
    for name, source, planes, options in (
        ("stem", "image", 8, {"levels": 1}), ("one", "stem", 1, {"levels": 1}), ("two", "one", 1, {"levels": 2}),
        ("values", "two", 1, {"levels": 0, "keep": True}), ("sum", "two", 1, {"levels": 1, "add": "values"}),
        ("both", "sum", 1, {"levels": 1, "keep": True}),
    ):
        layers.append(random_conv(rng, name, source, shape, planes, co=9, kernel=1, out_planes=1, **options))
        shape = _shape(layers[-1], shape)
    layers.append(random_conv(rng, "classes", "both", shape, 1, co=3, kernel=(5, 7), levels=0))
    return Graph("shortest", image, tuple(layers), tuple("abc"))


def _shape(layer, shape):
    """Rows, columns and channels of a layer's output."""
    return layer.output(*shape[:2])[2:5]


def _averaged(rng, conv, name, source, shape):
    """A layer behind an average pool that may leave pixels over; it keeps values."""
    average = int(rng.integers(1, min(3, *shape[:2]) + 1))
    kernel = int(rng.integers(1, min(2, min(shape[:2]) // average) + 1))
    return [conv(
        name, source.name, shape, source.planes, co=int(rng.integers(1, 20)), kernel=kernel, average=average,
        m=int(rng.integers(1, 4)), levels=int(rng.integers(1, 5)), stride=int(rng.integers(1, 3)), keep=True,
        shift=int(rng.integers(0, 5)), binary=bool(rng.integers(2)))]


def _pooled(rng, conv, name, source, shape):
    """A layer with a padded max-pool, overlapping or not."""
    kernel = int(rng.choice((1, 2, 3)))
    padding = int(rng.integers(0, (kernel + 1) // 2))
    room = min(shape[:2]) + 2 * padding - kernel + 1
    if room < 1:
        return _averaged(rng, conv, name, source, shape)
    pool = int(rng.integers(2, 4)) if room > 1 else 2
    return [conv(
        name, source.name, shape, source.planes, co=int(rng.integers(1, 20)), kernel=kernel, padding=padding,
        stride=int(rng.integers(1, 3)), pool=pool, pool_stride=int(rng.integers(1, pool + 1)),
        pool_padding=int(rng.integers(1, pool)), levels=int(rng.integers(1, 5)), keep=bool(rng.integers(2)))]


def _block(rng, conv, name, source, shape):
    """A basic block on `source`, whose values it adds as they are or through a projection."""
    project, shift = bool(rng.integers(2)), source.shift
    co = int(rng.integers(1, 20)) if project else shape[2]
    stride = int(rng.integers(1, 3)) if project else 1
    inner = conv(
        f"{name}a", source.name, shape, source.planes, co=int(rng.integers(1, 12)), padding=1, stride=stride,
        levels=int(rng.integers(1, 4)), m=int(rng.integers(1, 3)))
    layers, added = [inner], source.name
    if project:
        added, shift = f"{name}p", int(rng.integers(0, 5))
        layers.append(conv(
            added, source.name, shape, source.planes, co=co, kernel=1, stride=stride, levels=0, keep=True,
            shift=shift, channelwise=True))
    layers.append(conv(
        name, inner.name, _shape(inner, shape), inner.planes, co=co, padding=1, levels=int(rng.integers(1, 8)),
        channelwise=bool(rng.integers(2)), add=added, keep=bool(rng.integers(3)), shift=shift))
    return layers
