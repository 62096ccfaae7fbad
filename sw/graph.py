"""The integer graph: what training exports and what the compiler reads. numpy only.

Everything an accelerator computes is one formula per layer, in integers (defined in `hw.arch.numerics`):

    O[co, p] = sum_i sum_j c[(co,) i, j] * S(W_i[co], A_j[p])      S = dot product of +-1 planes over the window
    P[co, q] = max of O[co, p] over the pool window of q
    level    = #{ t : P >= T[co, t] },   planes out = code[level]

The image is eight planes, most significant first (plane j holds bit 7 - j), each bit b standing for 2b - 1; so
sum_j 2^(7-j) plane_j = 2x - 255, and the constant is folded into thresholds and bias by whoever builds the graph.
A fully connected layer is a `Conv` whose kernel covers its whole input map.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from hw.arch.config import IMAGE_PLANES
from hw.arch.isa import Padding

from . import checks as check
from .checks import MAX_SUM, GraphError

IMAGE = "image"  # name of the graph's input as a layer's source
MAX_PLANES = 8
MAX_THRESHOLDS = 15
MAX_EXTENT = 4095  # rows or columns of a map, as the instruction set has it

__all__ = ["IMAGE", "MAX_SUM", "Conv", "Graph", "GraphError", "Image", "Shape"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SCALARS = ("stride", "padding", "pool", "pool_stride")
_ARRAYS = {"weights": np.uint8, "coefficients": np.int64, "thresholds": np.int64, "code": np.uint8, "bias": np.int64}


class Shape(NamedTuple):
    """Output of one layer: the convolution's map, the map after pooling, channels, and planes (0: integers)."""

    conv_rows: int
    conv_columns: int
    rows: int
    columns: int
    channels: int
    planes: int


@dataclass(frozen=True)
class Image:
    """The input: uint8 [rows, columns, channels]."""

    rows: int
    columns: int
    channels: int

    def __post_init__(self) -> None:
        for f in fields(self):
            check.integer(f"image {f.name}", getattr(self, f.name), 1, MAX_EXTENT)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.rows, self.columns, self.channels


@dataclass(frozen=True, eq=False)
class Conv:
    """One layer. Arrays are copied and made read-only; a bad value raises `GraphError`.

    Parameters
    ----------
    name, source: own name, and "image" or the name of an earlier layer.
    weights: uint8 {0, 1} [m, co, ci, kh, kw]; 1 stands for +1, 0 for -1. m in 1..8.
    coefficients: int64 [m, n], or [co, m, n] when channels differ; n = planes of the source.
    stride, padding: in pixels, both axes; `padding` on every side.
    pad: what a tap outside the map contributes: SKIP nothing, LOW planes of all -1 (pixel value 0 of an image).
    pool, pool_stride: square max-pool window over O, never padded; 1 is none.
    thresholds: int64 [co, t], ascending along t, t in 1..15. None: the layer emits integers.
    code: uint8 {0, 1} [t + 1, planes out]: planes of each level, plane 0 first.
    bias: int64 [co], added to the integers by the host; only for a layer that emits integers.
    """

    name: str
    source: str
    weights: np.ndarray
    coefficients: np.ndarray
    stride: int = 1
    padding: int = 0
    pad: Padding = Padding.SKIP
    pool: int = 1
    pool_stride: int = 1
    thresholds: np.ndarray | None = None
    code: np.ndarray | None = None
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name == IMAGE:
            raise GraphError(f"layer name must be 1 to 64 letters, digits or '_.-' and not 'image', not {self.name!r}")
        for key, dtype in _ARRAYS.items():
            object.__setattr__(self, key, check.array(f"{self.name}.{key}", getattr(self, key), dtype))
        for key in _SCALARS:
            check.integer(f"{self.name}.{key}", getattr(self, key), 0 if key == "padding" else 1, MAX_EXTENT)
        if not isinstance(self.pad, Padding):
            raise GraphError(f"{self.name}.pad must be a Padding, not {self.pad!r}")
        self._check_arithmetic()
        self._check_output()
        if self.sum_bound() > MAX_SUM:
            raise GraphError(f"{self.name} must have sums up to {MAX_SUM}, not {self.sum_bound()}")

    def _check_arithmetic(self) -> None:
        check.shape(f"{self.name}.weights", self.weights, (None,) * 5, "[m, co, ci, kh, kw]")
        check.bits(f"{self.name}.weights", self.weights)
        check.integer(f"{self.name}.weights planes", len(self.weights), 1, MAX_PLANES)
        if self.coefficients.ndim == 3:
            wanted = (self.channels, self.weight_planes, None)
            check.shape(f"{self.name}.coefficients", self.coefficients, wanted, "[co, m, n]")
        else:
            check.shape(f"{self.name}.coefficients", self.coefficients, (self.weight_planes, None), "[m, n]")
        check.integer(f"{self.name}.coefficients planes", self.source_planes, 1, MAX_PLANES)
        check.within(f"{self.name}.coefficients", self.coefficients)

    def _check_output(self) -> None:
        if self.thresholds is None:
            if self.code is not None:
                raise GraphError(f"{self.name}.code must come with thresholds")
            if self.bias is not None:
                check.shape(f"{self.name}.bias", self.bias, (self.channels,), "[co]")
                check.within(f"{self.name}.bias", self.bias)
            return
        if self.code is None or self.bias is not None:
            raise GraphError(f"{self.name} must have thresholds and code without bias, or none of thresholds and code")
        check.shape(f"{self.name}.thresholds", self.thresholds, (self.channels, None), "[co, t]")
        check.integer(f"{self.name}.thresholds per channel", self.thresholds.shape[1], 1, MAX_THRESHOLDS)
        check.within(f"{self.name}.thresholds", self.thresholds)
        if np.any(np.diff(self.thresholds, axis=1) < 0):
            channel = int(np.argwhere(np.diff(self.thresholds, axis=1) < 0)[0, 0])
            raise GraphError(f"{self.name}.thresholds must ascend per channel, not {self.thresholds[channel].tolist()}")
        check.shape(f"{self.name}.code", self.code, (self.thresholds.shape[1] + 1, None), "[t + 1, planes]")
        check.integer(f"{self.name}.code planes", self.code.shape[1], 1, MAX_PLANES)
        check.bits(f"{self.name}.code", self.code)

    @property
    def weight_planes(self) -> int:
        """m."""
        return int(self.weights.shape[0])

    @property
    def channels(self) -> int:
        """Output channels."""
        return int(self.weights.shape[1])

    @property
    def source_channels(self) -> int:
        """Input channels."""
        return int(self.weights.shape[2])

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the kernel."""
        return int(self.weights.shape[3]), int(self.weights.shape[4])

    @property
    def source_planes(self) -> int:
        """n."""
        return int(self.coefficients.shape[-1])

    @property
    def planes(self) -> int:
        """Planes out; 0 for a layer that emits integers."""
        return 0 if self.code is None else int(self.code.shape[1])

    @property
    def levels(self) -> int:
        """Thresholds per channel; 0 for a layer that emits integers."""
        return 0 if self.thresholds is None else int(self.thresholds.shape[1])

    def sum_bound(self) -> int:
        """Upper bound of |O|, whatever the input: taps times channels times the sum of |coefficients|."""
        rows, columns = self.kernel
        total = np.abs(self.coefficients).sum(axis=(-2, -1)).max()
        return int(total) * self.source_channels * rows * columns

    def output(self, rows: int, columns: int) -> Shape:
        """Output of this layer on a map of `rows` x `columns`; `GraphError` where window or pool does not fit."""
        sizes = []
        for axis, size, kernel in zip(("rows", "columns"), (rows, columns), self.kernel, strict=True):
            padded = size + 2 * self.padding
            if kernel > padded:
                raise GraphError(f"{self.name} kernel must have at most {padded} {axis}, as its input, not {kernel}")
            conv = (padded - kernel) // self.stride + 1
            if self.pool > conv:
                raise GraphError(f"{self.name}.pool must be at most {conv}, its {axis} before pooling, not {self.pool}")
            sizes.append((conv, (conv - self.pool) // self.pool_stride + 1))
        (conv_rows, out_rows), (conv_columns, out_columns) = sizes
        return Shape(conv_rows, conv_columns, out_rows, out_columns, self.channels, self.planes)


@dataclass(frozen=True, eq=False)
class Graph:
    """A network. The last layer, and only that, emits integers: one per class; float logit = integer * scale.

    Raises `GraphError` when layers do not fit together.
    """

    name: str
    image: Image
    layers: tuple[Conv, ...]
    classes: tuple[str, ...]
    scale: float = 1.0
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise GraphError(f"graph name must be 1 to 64 letters, digits or '_.-', not {self.name!r}")
        if not isinstance(self.image, Image):
            raise GraphError(f"graph image must be an Image, not {type(self.image).__name__}")
        if not self.layers or not all(isinstance(layer, Conv) for layer in self.layers):
            raise GraphError("graph layers must be one or more Conv")
        if not isinstance(self.scale, float) or not math.isfinite(self.scale) or self.scale <= 0:
            raise GraphError(f"graph scale must be a positive finite float, not {self.scale!r}")
        for what, texts in (("classes", self.classes), ("metadata", (*self.metadata, *self.metadata.values()))):
            if not all(isinstance(text, str) for text in texts):
                raise GraphError(f"graph {what} must be text")
        for layer in self.layers[:-1]:
            if layer.thresholds is None:
                raise GraphError(f"{layer.name} must have thresholds: only the last layer emits integers")
        last, shape = self.layers[-1], self.shapes()[-1]
        if last.thresholds is not None or (shape.rows, shape.columns) != (1, 1):
            raise GraphError(f"{last.name} must emit integers on a 1 x 1 map, as the last layer")
        if shape.channels != len(self.classes):
            raise GraphError(f"{last.name} must have one channel per class ({len(self.classes)}), not {shape.channels}")

    def shapes(self) -> tuple[Shape, ...]:
        """Output shape of every layer, in order."""
        known = {IMAGE: Shape(*self.image.shape[:2], *self.image.shape, IMAGE_PLANES)}
        for layer in self.layers:
            if layer.name in known:
                raise GraphError(f"layer names must differ, but {layer.name!r} appears twice")
            if layer.source not in known:
                raise GraphError(f"{layer.name}.source must be 'image' or an earlier layer, not {layer.source!r}")
            source = known[layer.source]
            for what, have, want in (("channels", layer.source_channels, source.channels),
                                     ("planes", layer.source_planes, source.planes)):
                if have != want:
                    raise GraphError(f"{layer.name} must take {want} {what}, as {layer.source} has, not {have}")
            known[layer.name] = layer.output(source.rows, source.columns)
        return tuple(known.values())[1:]

    def to_sections(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """(JSON-able header, arrays by name). Weights are packed eight to a byte, first bit most significant."""
        arrays, layers = {}, []
        for layer in self.layers:
            entry: dict[str, Any] = {"name": layer.name, "source": layer.source, "pad": layer.pad.name}
            entry |= {key: getattr(layer, key) for key in _SCALARS} | {"shape": list(layer.weights.shape)}
            entry["arrays"] = [key for key in _ARRAYS if getattr(layer, key) is not None]
            layers.append(entry)
            for key in entry["arrays"]:
                value = getattr(layer, key)
                arrays[f"{layer.name}/{key}"] = np.packbits(value) if key == "weights" else value
        header = {"name": self.name, "image": list(self.image.shape), "layers": layers, "classes": list(self.classes),
                  "scale": self.scale, "metadata": dict(self.metadata)}
        return header, arrays

    @classmethod
    def from_sections(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Graph:
        """Inverse of `to_sections`; anything missing, surplus or of the wrong type raises `GraphError`."""
        kinds = {"name": str, "image": list, "layers": list, "classes": list, "scale": float, "metadata": dict}
        check.keys("graph header", header, kinds)
        rest = dict(arrays)
        layers = tuple(_layer(entry, rest) for entry in header["layers"])
        if rest:
            raise GraphError(f"graph arrays must belong to a layer, but {sorted(rest)[0]!r} does not")
        if len(header["image"]) != 3:
            raise GraphError(f"graph image must be rows, columns and channels, not {header['image']!r}")
        image, classes = Image(*header["image"]), tuple(header["classes"])
        return cls(header["name"], image, layers, classes, header["scale"], header["metadata"])


def _layer(entry: Any, arrays: dict[str, np.ndarray]) -> Conv:
    """One layer from its header entry; its arrays are taken out of `arrays`."""
    kinds = {"name": str, "source": str, "pad": str, "shape": list, "arrays": list} | dict.fromkeys(_SCALARS, int)
    check.keys("layer header", entry, kinds)
    name = entry["name"]
    if entry["pad"] not in Padding.__members__:
        raise GraphError(f"{name}.pad must be one of {', '.join(Padding.__members__)}, not {entry['pad']!r}")
    if not {"weights", "coefficients"} <= set(map(str, entry["arrays"])) <= set(_ARRAYS):
        known = ", ".join(_ARRAYS)
        raise GraphError(f"{name}.arrays must be weights, coefficients and some of {known}, not {entry['arrays']!r}")
    found: dict[str, Any] = {}
    for key in dict.fromkeys(entry["arrays"]):
        if f"{name}/{key}" not in arrays:
            raise GraphError(f"graph array {name}/{key} must be present")
        found[key] = arrays.pop(f"{name}/{key}")
    found["weights"] = check.unpack(f"{name}.weights", found["weights"], entry["shape"])
    scalars = {key: entry[key] for key in _SCALARS}
    return Conv(name=name, source=entry["source"], pad=Padding[entry["pad"]], **scalars, **found)
