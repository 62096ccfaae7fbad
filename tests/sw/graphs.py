"""Small random graphs with everything that a graph can say, and their meaning spelt out by `hw.arch.numerics`."""

import numpy as np

from hw.arch import numerics
from hw.arch.isa import Padding
from sw.graph import Graph, Image
from tests.graphs import random_conv


def random_graph(seed):
    """Rectangular kernels, strides, both paddings, pools with and without padding, average pools, kept and added
    values with and without thresholds, thresholds and steps of a search, one factor for all channels and one each. Maps
    of up to 7 x 7 x 4.
    """
    rng = np.random.default_rng(seed)

    def draw(low, high):
        return int(rng.integers(low, high + 1))

    def layer(name, source, shape, planes, **options):
        return random_conv(
            rng, name, source, shape, planes, m=draw(1, 3), channelwise=bool(draw(0, 1)),
            **{"levels": draw(1, 5), "out_planes": draw(1, 3), "search": bool(draw(0, 1))} | options)

    image = Image(draw(5, 7), draw(5, 7), draw(1, 2))
    first = layer("first", "image", image.shape, 8, co=draw(1, 4), kernel=(3, 2), padding=draw(0, 1))
    shape = first.output(image.rows, image.columns)[2:5]
    second = layer(
        "second", "first", shape, first.planes, co=draw(1, 4), kernel=(2, 3), padding=1, stride=draw(1, 2),
        pad=Padding(draw(0, 1)), pool=draw(1, 2), pool_stride=draw(1, 2), **residual(rng, keep=True))
    shape = second.output(*shape[:2])[2:5]
    third = layer("third", "second", shape, second.planes, co=shape[2], kernel=1, **residual(rng, "second"))
    side = layer("side", "third", shape, third.planes, co=draw(1, 3), kernel=3, padding=1, pool=3, levels=0,
                 pool_padding=draw(1, 2), pool_stride=draw(1, 3), **residual(rng, keep=True))
    fourth = layer("fourth", "third", shape, third.planes, co=side.channels, kernel=3, padding=1, pool=3,
                   pool_padding=side.pool_padding, pool_stride=side.pool_stride, **residual(rng, "side"))
    shape = fourth.output(*shape[:2])[2:5]
    average = draw(1, min(shape[:2]))
    last = layer("last", "fourth", shape, fourth.planes, co=3, levels=0, average=average,
                 kernel=(shape[0] // average, shape[1] // average))
    return Graph(f"random{seed}", image, (first, second, third, side, fourth, last), ("a", "b", "c"))


def residual(rng, add="", keep=False):
    """Options of a layer with values: shifts of the order of the sums, so that some saturate."""
    keep = keep or bool(rng.integers(2))
    return {"add": add, "keep": keep, "shift": int(rng.integers(0, 6)), "rectify": keep and bool(rng.integers(2))}


def by_numerics(graph, image):
    """({layer: X [co][row][column]}, {layer: levels}, {layer: V}, logits) of one image, in plain Python integers."""
    planes = {"image": [[[[numerics.image_planes(c)[j] for c in pixel] for j in range(8)] for pixel in row]
                        for row in image.tolist()]}
    integers, levels, kept = {}, {}, {}
    for layer in graph.layers:
        values = [_channel(layer, planes[layer.source], kept.get(layer.add), co) for co in range(layer.channels)]
        integers[layer.name] = values
        if layer.keep:
            kept[layer.name] = [[[numerics.keep(x, layer.shift, layer.rectify) for x in row] for row in channel]
                                for channel in values]
        if layer.thresholds is not None:
            bits = [[[_planes(layer, v, layer.thresholds[co].tolist()) for v in row] for row in channel]
                    for co, channel in enumerate(values)]
            levels[layer.name] = [[[level for level, _ in row] for row in channel] for channel in bits]
            planes[layer.name] = [
                [[[channel[y][x][1][j] for channel in bits] for j in range(layer.planes)]
                 for x in range(len(bits[0][0]))] for y in range(len(bits[0]))]
    last = graph.layers[-1]
    return integers, levels, kept, [values[co][0][0] + int(last.bias[co]) for co in range(last.channels)]


def _planes(layer, value, thresholds):
    """(level, planes) of one sum."""
    if layer.search:
        bits = numerics.search(value, thresholds)
        return numerics.pack(bits[::-1]), bits
    level = numerics.level(value, thresholds)
    return level, numerics.encode(level, layer.code.tolist())


def _channel(layer, planes, kept, co):
    """X of one channel."""
    weights = layer.weights[:, co].transpose(2, 3, 0, 1).tolist()
    coefficients = (layer.coefficients[co] if layer.coefficients.ndim == 3 else layer.coefficients).tolist()
    values = numerics.convolve(planes, weights, coefficients, stride=layer.stride, padding=layer.padding,
                               low=layer.pad is Padding.LOW, average=layer.average)
    pooled = numerics.pool(values, layer.pool, layer.pool_stride, layer.pool_padding)
    if not layer.residual:
        return pooled
    bias = 0 if layer.bias is None else int(layer.bias[co])
    return [[numerics.add(p, bias, kept[co][y][x] if kept else 0, layer.shift) for x, p in enumerate(row)]
            for y, row in enumerate(pooled)]
