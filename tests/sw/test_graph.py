"""The integer graph: what it accepts, its shapes, and its way to a file and back."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from hw.arch.isa import Padding
from sw.graph import Conv, Graph, GraphError, Image, Shape
from tests.sw.graphs import random_graph


def conv(**changes):
    """A valid layer on an 8-plane source of 2 channels, with `changes`."""
    values = {
        "name": "one", "source": "image", "weights": np.ones((2, 3, 2, 3, 3), np.uint8),
        "coefficients": np.ones((2, 8), np.int64), "padding": 1, "pad": Padding.LOW, "pool": 2, "pool_stride": 2,
        "thresholds": np.array([[0, 0, 5]] * 3), "code": np.eye(4, 2, dtype=np.uint8)}
    return Conv(**(values | changes))


def head(**changes):
    values = {"name": "two", "source": "one", "weights": np.zeros((1, 4, 3, 4, 3), np.uint8),
              "coefficients": np.ones((4, 1, 2), np.int64), "bias": np.arange(4)}
    return Conv(**(values | changes))


def graph(**changes):
    values = {"name": "small", "image": Image(8, 7, 2), "layers": (conv(), head()), "classes": ("a", "b", "c", "d"),
              "scale": 0.5, "metadata": {"seed": "1"}}
    return Graph(**(values | changes))


def test_shapes():
    assert graph().shapes() == (Shape(8, 7, 4, 3, 3, 2), Shape(1, 1, 1, 1, 4, 0))


def test_output_of_strides_and_overlapping_pools():
    layer = conv(stride=2, pool=3, pool_stride=2)
    assert layer.output(20, 15) == Shape(10, 8, 4, 3, 3, 2)


def test_output_of_padded_pools_and_averages():
    layer = conv(stride=1, pool=3, pool_stride=2, pool_padding=1)
    assert layer.output(16, 11) == Shape(16, 11, 8, 6, 3, 2)
    assert conv(padding=0, average=3, pool=1, pool_stride=1).output(11, 9) == Shape(1, 1, 1, 1, 3, 2)


def test_sum_bound_covers_added_values():
    layer = conv(keep=True, add="zero", shift=3, bias=np.array([5, -70, 6]))
    assert layer.sum_bound() == conv().sum_bound() + 70 + (1 << 18)


def test_sum_bound_is_reached_by_the_worst_input():
    assert conv(coefficients=np.array([[-3, 1] * 4] * 2)).sum_bound() == 2 * 4 * (3 + 1) * 2 * 9


def test_arrays_are_copied_and_read_only():
    weights = np.ones((2, 3, 2, 3, 3), np.uint8)
    layer = conv(weights=weights)
    weights[:] = 0
    assert layer.weights.all()
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0, 0, 0, 0] = 0


I64 = np.int64


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": "image"}, "layer name must be 1 to 64 .* not 'image'"),
    ({"name": "a/b"}, "layer name must be .* not 'a/b'"),
    ({"weights": np.ones((2, 3, 2, 3, 3))}, "one.weights must be an array of uint8, not float64"),
    ({"weights": None}, "one.weights must be an array of uint8, not NoneType"),
    ({"weights": np.ones((2, 3, 2, 3), np.uint8)}, r"one.weights must have shape \[m, co, ci, kh, kw\]"),
    ({"weights": np.ones((2, 3, 0, 3, 3), np.uint8)}, r"one.weights must have shape .* not \[2, 3, 0, 3, 3\]"),
    ({"weights": np.full((2, 3, 2, 3, 3), 2, np.uint8)}, "one.weights must be 0 or 1, not 2"),
    ({"weights": np.ones((9, 3, 2, 3, 3), np.uint8)}, r"one.weights planes must be an integer in 1..8, not 9"),
    ({"coefficients": np.ones((3, 8), I64)}, r"one.coefficients must have shape \[m, n\] = \[2, any\], not \[3, 8\]"),
    ({"coefficients": np.ones((2, 2, 8), I64)}, r"one.coefficients must have shape \[co, m, n\] = \[3, 2, any\]"),
    ({"coefficients": np.ones((2, 9), I64)}, "one.coefficients planes must be an integer in 1..8, not 9"),
    ({"coefficients": np.full((2, 8), 1 << 47)}, r"one.coefficients must be within \+-140737488355327, not 1407374883"),
    ({"coefficients": np.full((2, 8), 1 << 40)}, "one must have sums up to 140737488355327, not"),
    ({"stride": 0}, "one.stride must be an integer in 1..4095, not 0"),
    ({"pool": True}, "one.pool must be an integer in 1..4095, not True"),
    ({"padding": -1}, "one.padding must be an integer in 0..4095, not -1"),
    ({"pad": 1}, "one.pad must be a Padding, not 1"),
    ({"thresholds": None}, "one must have thresholds and code, or none of them"),
    ({"thresholds": None, "code": None, "bias": np.zeros(2, I64)}, r"one.bias must have shape \[co\] = \[3\]"),
    ({"code": None}, "one must have thresholds and code, or none of them"),
    ({"bias": np.zeros(3, I64)}, "one.bias must be part of the thresholds: no values are added or kept"),
    ({"average": 2}, "one.padding must be 0 after an average pool, not 1"),
    ({"pool_padding": 2}, "one.pool_padding must be an integer in 0..1, not 2"),
    ({"add": "a/b"}, "one.add must be the name of a layer or empty, not 'a/b'"),
    ({"keep": 1}, "one.keep must be true or false, not 1"),
    ({"shift": 1}, "one.shift must be an integer in 0..0, not 1"),
    ({"keep": True, "shift": 16}, "one.shift must be an integer in 0..15, not 16"),
    ({"rectify": True}, "one.rectify must come with keep"),
    ({"thresholds": np.array([[0, 0, 5], [0, 7, 5], [0, 0, 0]])}, r"must ascend per channel, not \[0, 7, 5\]"),
    ({"thresholds": np.zeros((2, 3), I64)}, r"one.thresholds must have shape \[co, t\] = \[3, any\]"),
    ({"thresholds": np.zeros((3, 16), I64)}, "one.thresholds per channel must be an integer in 1..15, not 16"),
    ({"search": True}, "one.search must come with thresholds and without code"),
    ({"search": True, "code": None, "thresholds": None}, "one.search must come with thresholds and without code"),
    ({"search": 1}, "one.search must be true or false, not 1"),
    ({"search": True, "code": None, "thresholds": np.zeros((3, 9), I64)},
     "one.thresholds per channel must be an integer in 1..8, not 9"),
    ({"search": True, "code": None, "thresholds": np.array([[-9, 4, -2]] * 3)},
     "one.thresholds of a search must not be negative but for the first, not -2"),
    ({"code": np.zeros((3, 2), np.uint8)}, r"one.code must have shape \[t \+ 1, planes\] = \[4, any\], not \[3, 2\]"),
    ({"code": np.zeros((4, 9), np.uint8)}, "one.code planes must be an integer in 1..8, not 9"),
    ({"code": np.full((4, 2), 3, np.uint8)}, "one.code must be 0 or 1, not 3"),
])
def test_bad_layers_are_refused(changes, message):
    with pytest.raises(GraphError, match=message):
        conv(**changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": ""}, "graph name must be 1 to 64"),
    ({"image": (8, 7, 2)}, "graph image must be an Image, not tuple"),
    ({"layers": ()}, "graph layers must be one or more Conv"),
    ({"scale": 0.0}, "graph scale must be a positive finite float, not 0.0"),
    ({"scale": float("nan")}, "graph scale must be a positive finite float, not nan"),
    ({"classes": ("a", "b", "c", 4)}, "graph classes must be text"),
    ({"metadata": {"seed": 1}}, "graph metadata must be text"),
    ({"classes": ("a", "b")}, r"two must have one channel per class \(2\), not 4"),
    ({"layers": (conv(),)}, "one must emit integers on a 1 x 1 map without residual"),
    ({"layers": (conv(), head(padding=1))}, "two must emit integers on a 1 x 1 map without residual"),
    ({"layers": (conv(), head(source="three"))}, "two.source must be 'image' or an earlier layer, not 'three'"),
    ({"layers": (conv(source="two"), head())}, "one.source must be 'image' or an earlier layer, not 'two'"),
    ({"layers": (conv(), conv(source="one"))}, "layer names must differ, but 'one' appears twice"),
    ({"layers": (conv(thresholds=None, code=None), head())}, "one must have thresholds or keep: only the last"),
    ({"layers": (conv(add="two"), head())}, "one.add must be an earlier layer with keep, not 'two'"),
    ({"layers": (conv(keep=True), conv(name="more", add="one", pool=1), head())},
     r"more.add must have the output \(4, 4, 3\) of its layer, not \(4, 3, 3\)"),
    ({"layers": (conv(), head(keep=True))}, "two must emit integers on a 1 x 1 map without residual"),
    ({"layers": (conv(), head(coefficients=np.ones((1, 3), I64)))}, "two must take 2 planes, as one has, not 3"),
    ({"image": Image(8, 7, 3)}, "one must take 3 channels, as image has, not 2"),
    ({"image": Image(3, 7, 2)}, "two kernel must have at most 1 rows, as its input, not 4"),
    ({"layers": (conv(pool=9), head())}, "one.pool must be at most 8, its rows before pooling, not 9"),
])
def test_bad_graphs_are_refused(changes, message):
    with pytest.raises(GraphError, match=message):
        graph(**changes)


@pytest.mark.parametrize("size", [(0, 1, 1), (1, 5000, 1), (1, 1, 1.5)])
def test_bad_image_sizes_are_refused(size):
    with pytest.raises(GraphError, match=r"image (rows|columns|channels) must be an integer in 1..4095"):
        Image(*size)


def equal(one, two):
    for a, b in zip(one.layers, two.layers, strict=True):
        for key, value in a.__dict__.items():
            assert np.array_equal(value, getattr(b, key)) if isinstance(value, np.ndarray) else value == getattr(b, key)
    fields = ("name", "image", "classes", "scale", "metadata")
    assert [getattr(one, f) for f in fields] == [getattr(two, f) for f in fields]


@pytest.mark.parametrize("seed", range(4))
def test_sections_and_back(seed):
    check_sections(replace(random_graph(seed), scale=0.1 + 0.2, metadata={"a": "b"}))


def test_sections_of_residual_layers_and_back():
    values = {"pool": 1, "pool_stride": 1, "keep": True, "shift": 4, "bias": np.arange(3)}
    one = conv(**values)
    two = conv(name="more", add="one", rectify=True, **values)
    last = head(source="more", average=2, weights=np.zeros((1, 4, 3, 4, 3), np.uint8))
    check_sections(graph(layers=(one, two, last)))


def check_sections(start):
    header, arrays = start.to_sections()
    equal(start, Graph.from_sections(json.loads(json.dumps(header)), arrays))


def damage(path, value):
    """A function that sets (or with `...` deletes) the entry at `path` of (header, arrays)."""
    def act(sections):
        *way, last = path
        place = sections
        for key in way:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return act


@pytest.mark.parametrize(("act", "message"), [
    (damage((0, "scale"), ...), "graph header must have exactly the keys"),
    (damage((0, "extra"), 1), "graph header must have exactly the keys"),
    (damage((0, "scale"), 1), "graph header scale must be of type float, not 1"),
    (damage((0, "image"), [8, 7]), r"graph image must be rows, columns and channels, not \[8, 7\]"),
    (damage((0, "image"), [8, 7, "2"]), "image channels must be an integer in 1..4095, not '2'"),
    (damage((0, "classes"), [1, 2, 3, 4]), "graph classes must be text"),
    (damage((0, "layers"), [7]), "layer header must have exactly the keys .* not int"),
    (damage((0, "layers", 0, "pad"), "HIGH"), "one.pad must be one of SKIP, LOW, not 'HIGH'"),
    (damage((0, "layers", 0, "pool"), True), "layer header pool must be of type int, not True"),
    (damage((0, "layers", 0, "keep"), 1), "layer header keep must be of type bool, not 1"),
    (damage((0, "layers", 0, "arrays"), ["weights"]), "one.arrays must be weights, coefficients and some of"),
    (damage((0, "layers", 0, "arrays"), ["weights", "coefficients", {}]), "one.arrays must be weights, coefficients"),
    (damage((0, "layers", 0, "shape"), [2, 3]), "one.weights shape must be m, co, ci, kh, kw"),
    (damage((0, "layers", 0, "shape"), [2, 3, 2, 3, -3]), "one.weights shape must be an integer in 1..1048576, not -3"),
    (damage((0, "layers", 0, "shape"), [2, 3, 2, 3, 4]), "one.weights must be 18 bytes for shape"),
    (damage((1, "one/weights"), np.full(14, 255, np.uint8)), "one.weights must end in zero bits after its 108 weights"),
    (damage((1, "one/weights"), np.zeros(14)), "one.weights must be 14 bytes"),
    (damage((1, "one/code"), ...), "graph array one/code must be present"),
    (damage((1, "one/code"), np.zeros((4, 2))), "one.code must be an array of uint8, not float64"),
    (damage((1, "three/code"), np.zeros(1)), "graph arrays must belong to a layer, but 'three/code' does not"),
])
def test_damaged_sections_are_refused(act, message):
    sections = graph().to_sections()
    sections = (copy.deepcopy(sections[0]), dict(sections[1]))
    act(sections)
    with pytest.raises(GraphError, match=message):
        Graph.from_sections(*sections)
