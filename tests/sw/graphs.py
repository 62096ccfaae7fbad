"""Small random graphs and their meaning spelt out by `hw.arch.numerics`."""

import numpy as np

from hw.arch import numerics
from hw.arch.isa import Padding
from sw.graph import Conv, Graph, Image


def random_layer(rng, name, source, shape, planes_in, *, channels, kernel, m, planes=0, channelwise=False, **options):
    """One layer with every value random; planes = 0 emits integers. `shape` is the source's rows, columns, channels."""
    weights = rng.integers(0, 2, (m, channels, shape[2], *kernel), dtype=np.uint8)
    if source == "image":
        coefficients = rng.integers(-40, 41, (channels, m) if channelwise else (m,))[..., None] << np.arange(7, -1, -1)
    else:
        coefficients = rng.integers(-40, 41, (channels, m, planes_in) if channelwise else (m, planes_in))
    spread = int(np.abs(coefficients).sum(axis=(-2, -1)).max()) * shape[2] * kernel[0] * kernel[1]
    if not planes:
        bias = rng.integers(-spread - 1, spread + 2, channels)
        return Conv(name, source, weights, coefficients, bias=bias, **options)
    levels = int(rng.integers(1, 6))
    thresholds = np.sort(rng.integers(-spread // 3 - 1, spread // 3 + 2, (channels, levels)), axis=1)
    code = rng.integers(0, 2, (levels + 1, planes), dtype=np.uint8)
    return Conv(name, source, weights, coefficients, thresholds=thresholds, code=code, **options)


def random_graph(seed):
    """Two convolutions and a fully connected layer, of random sizes, planes, strides, paddings and pools."""
    rng = np.random.default_rng(seed)

    def draw(low, high):
        return int(rng.integers(low, high + 1))

    image = Image(draw(5, 7), draw(5, 7), draw(1, 2))
    first = random_layer(
        rng, "first", "image", image.shape, 8, channels=draw(1, 4), kernel=(3, 2), m=draw(1, 3),
        planes=draw(1, 3), channelwise=bool(draw(0, 1)), padding=draw(0, 1), pad=Padding.LOW)
    out = first.output(image.rows, image.columns)
    second = random_layer(
        rng, "second", "first", out[2:5], first.planes, channels=draw(1, 4), kernel=(2, 3),
        m=draw(1, 3), planes=draw(1, 3), channelwise=bool(draw(0, 1)), padding=1,
        stride=draw(1, 2), pad=Padding(draw(0, 1)), pool=draw(1, 2), pool_stride=draw(1, 2))
    out = second.output(out.rows, out.columns)
    last = random_layer(rng, "last", "second", out[2:5], second.planes, channels=3, kernel=(out.rows, out.columns),
                        m=draw(1, 3), channelwise=bool(draw(0, 1)))
    return Graph(f"random{seed}", image, (first, second, last), ("a", "b", "c"))


def random_images(seed, graph, count):
    return np.random.default_rng(seed).integers(0, 256, (count, *graph.image.shape), dtype=np.uint8)


def by_numerics(graph, image):
    """({layer: integers [co][row][column]}, {layer: levels}, logits) of one image, in plain Python integers."""
    planes = {"image": [[[[numerics.image_planes(c)[j] for c in pixel] for j in range(8)] for pixel in row]
                        for row in image.tolist()]}
    integers, levels = {}, {}
    for layer in graph.layers:
        values = [numerics.pool(_channel(layer, planes[layer.source], co), layer.pool, layer.pool_stride)
                  for co in range(layer.channels)]
        integers[layer.name] = values
        if layer.thresholds is not None:
            level = [[[numerics.level(v, layer.thresholds[co].tolist()) for v in row] for row in channel]
                     for co, channel in enumerate(values)]
            levels[layer.name], code = level, layer.code.tolist()
            planes[layer.name] = [
                [[[numerics.encode(channel[y][x], code)[j] for channel in level] for j in range(layer.planes)]
                 for x in range(len(level[0][0]))] for y in range(len(level[0]))]
    last = graph.layers[-1]
    return integers, levels, [values[co][0][0] + int(last.bias[co]) for co in range(last.channels)]


def _channel(layer, planes, co):
    weights = layer.weights[:, co].transpose(2, 3, 0, 1).tolist()
    coefficients = (layer.coefficients[co] if layer.coefficients.ndim == 3 else layer.coefficients).tolist()
    return numerics.convolve(planes, weights, coefficients, stride=layer.stride, padding=layer.padding,
                             low=layer.pad is Padding.LOW)
