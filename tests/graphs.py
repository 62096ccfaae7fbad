"""Random integer graphs: the shapes a compiler meets, small enough to check against plain loops."""

import numpy as np

from hw.arch.config import preset
from hw.arch.isa import Padding
from sw.compiler import compile
from sw.graph import Conv, Graph, Image
from sw.plan import needs

# Configurations whose memories are too small for many of the graphs: with room for two parts of a layer, or for one.
_SHALLOW = {"tap_depth": 128, "coefficient_depth": 64, "threshold_depth": 80, "program_depth": 256}
STREAMED = {"tiny": preset("tiny").replace(weight_depth=320, **_SHALLOW),
            "tiny-2x2": preset("tiny-2x2").replace(weight_depth=160, **_SHALLOW)}
TIGHT = preset("tiny").replace(
    weight_depth=160, tap_depth=32, coefficient_depth=24, threshold_depth=40, program_depth=256)


def random_conv(
    rng, name, source, shape, planes, *, co, kernel=3, m=1, stride=1, padding=0, pool=1, pool_stride=1, levels=3,
    out_planes=2, channelwise=False, binary=False, scale=40, **options,
):
    """A layer on a tensor of shape (rows, columns, channels) with `planes` planes; `levels` 0 emits integers.

    `kernel` is its side, or (rows, columns); `options` are further ones of `Conv`.

    Thresholds are spread over the sums that random planes give, so that all levels occur; with `search` they are the
    `levels` steps of a binary search.
    """
    ci, size = shape[2], (kernel, kernel) if isinstance(kernel, int) else kernel
    image = source == "image"
    coefficients = rng.integers(-scale, scale + 1, (co, m, planes) if channelwise else (m, planes))
    if image or binary:
        coefficients = coefficients[..., -1:] << np.arange(planes - 1, -1, -1)
    spread = np.sqrt((coefficients.reshape(-1, m * planes) ** 2).sum(axis=1).mean() * ci * size[0] * size[1])
    spread *= options.get("average", 1)
    thresholds = code = bias = None
    if levels:
        thresholds = np.sort(rng.normal(0, spread, (co, levels)).astype(np.int64), axis=1)
        code = rng.integers(0, 2, (levels + 1, out_planes)).astype(np.uint8)
    if not levels:
        options.pop("search", None)
    elif options.get("search"):
        unit, powers = 4 * spread / (1 << levels) * rng.uniform(0.5, 2, (co, 1)), 2.0 ** np.arange(levels - 2, -1, -1)
        thresholds = np.concatenate([rng.normal(0, spread / 2, (co, 1)), unit * powers], axis=1).astype(np.int64)
        code = None
    if not levels:
        bias = rng.integers(-1000, 1000, co)
    elif options.get("keep") or options.get("add"):
        bias = np.rint(rng.normal(0, rng.choice((1, 1, 100)) * spread, co)).astype(np.int64)  # some values saturate
    options = {"pad": Padding.LOW if image else Padding.SKIP} | options
    return Conv(
        name=name, source=source, weights=rng.integers(0, 2, (m, co, ci, *size)).astype(np.uint8),
        coefficients=coefficients.astype(np.int64), stride=stride, padding=padding,
        pool=pool, pool_stride=pool_stride,
        thresholds=thresholds, code=code, bias=bias, **options,
    )


def random_graph(seed, search=False):
    """One to three convolutions with random options and a classifier, on an image of up to 12 x 12 x 3.

    With `search` their outputs are binary numbers of up to 8 bits.
    """
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(5, 13)), int(rng.integers(5, 13)), int(rng.integers(1, 4)))
    image, planes, layers, source = Image(*shape), 8, [], "image"
    for n in range(int(rng.integers(1, 4))):
        kernel = int(rng.integers(1, min(4, shape[0] + 1, shape[1] + 1)))
        padding = int(rng.integers(0, kernel // 2 + 1))
        stride = int(rng.integers(1, 3))
        inner = [(size + 2 * padding - kernel) // stride + 1 for size in shape[:2]]
        pool = int(rng.integers(1, min(3, *inner) + 1))
        levels = int(rng.integers(1, 9 if search else 8))
        layer = random_conv(
            rng, f"conv{n}", source, shape, planes, co=int(rng.integers(1, 20)), kernel=kernel,
            m=int(rng.integers(1, 4)), stride=stride, padding=padding, pool=pool,
            pool_stride=int(rng.integers(1, pool + 1)), levels=levels,
            out_planes=int(rng.integers(1, 4)), channelwise=bool(rng.integers(2)), binary=bool(rng.integers(2)),
            search=search,
        )
        layers.append(layer)
        out = layer.output(*shape[:2])
        shape, planes, source = (out.rows, out.columns, out.channels), out.planes, layer.name
    weights = rng.integers(0, 2, (2, 10, shape[2], *shape[:2])).astype(np.uint8)
    layers.append(Conv(
        name="classes", source=source, weights=weights, coefficients=rng.integers(-40, 41, (2, planes)),
        bias=rng.integers(-1000, 1000, 10)))
    return Graph(
        name=f"random{seed}", image=image, layers=tuple(layers), classes=tuple("0123456789"), scale=1.0, metadata={})


def random_images(graph, count, seed=0):
    """uint8 images [count, rows, columns, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (count, *graph.image.shape)).astype(np.uint8)


def larger_than_tiny():
    """Three layers on a 6 x 6 image whose weights are a little more than the preset `tiny` holds."""
    rng = np.random.default_rng(1)
    layers, shape, planes = [], (6, 6, 1), 8
    for name, co, kernel, options in (
        ("conv", 48, 3, {"padding": 1, "pool": 2, "pool_stride": 2}), ("wide", 140, 3, {}),
        ("classes", 10, 1, {"levels": 0, "m": 4}),
    ):
        source = layers[-1].name if layers else "image"
        layers.append(random_conv(rng, name, source, shape, planes, co=co, kernel=kernel, **options))
        out = layers[-1].output(*shape[:2])
        shape, planes = (out.rows, out.columns, out.channels), out.planes
    return Graph("larger", Image(6, 6, 1), tuple(layers), tuple("0123456789"))


def narrowed(graph, config, memories):
    """The configuration with depths of `memories`, numbers of words or shares of what the graph uses with room."""
    needed = needs(compile(graph, config.replace(weight_depth=65536)))
    return config.replace(**{
        name: depth if isinstance(depth, int) else int(depth * needed[name]) for name, depth in memories.items()})
