"""The nodes of the integer graph: the image and the layers. numpy only.

One layer computes, in integers (defined in `hw.arch.numerics`):

    O[co, p] = sum_i sum_j c[(co,) i, j] * S(W_i[co], A_j[p])      S = dot product of +-1 planes over the window
    P[co, q] = max of O[co, p] over the pool window of q
    X        = P + bias + (V of the layer named by `add`) * 2^shift
    level    = #{ t : X >= T[co, t] },   planes out = code[level];  with `search`, the bits of a binary search
    V        = X / 2^shift, rounded down, saturated to `VALUE_BITS` bits, and max(0, V) if `rectify`

X, V and the bias inside the layer are for layers with `add` or `keep`: residual connections. For the others X = P.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from hw.arch.config import VALUE_BITS
from hw.arch.isa import MOST_STEPS, Padding

from . import checks as check
from .checks import MAX_SUM, GraphError

IMAGE = "image"  # name of the graph's input as a layer's source
MAX_PLANES = 8
MAX_THRESHOLDS = 15
MAX_EXTENT = 4095  # rows or columns of a map, as the instruction set has it
MAX_SHIFT = 15

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
SCALARS = ("stride", "padding", "pool", "pool_stride")
# Absent from a file when they have these values.
OPTIONS: dict[str, int | str | bool] = {
    "pool_padding": 0, "average": 1, "add": "", "keep": False, "shift": 0, "rectify": False, "search": False}
ARRAYS = {"weights": np.uint8, "coefficients": np.int64, "thresholds": np.int64, "code": np.uint8, "bias": np.int64}


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
    average: the source is first summed over windows of average x average pixels side by side (an average pool times
        its area; pixels left over at the end do not count). The kernel then reads that map. Without padding only.
    pool, pool_stride, pool_padding: square max-pool window over O; 1 is none. Positions outside the map of O, up to
        pool_padding < pool on every side, do not take part.
    add: name of an earlier layer with `keep` and the same output; "" for none.
    keep: the values V are kept for layers that `add` them.
    shift: the grid of values, V counts 2^shift, 0..15; only with add or keep.
    rectify: kept values are at least 0.
    thresholds: int64 [co, t], ascending along t, t in 1..15. None: the layer emits integers, or with `keep` only
        makes values.
    code: uint8 {0, 1} [t + 1, planes out]: planes of each level, plane 0 first. None with `search`.
    search: the thresholds are the steps of a binary search (`hw.arch.numerics.search`), t in 1..8, all but the first
        not negative, and the planes out are the bits of the level, most significant first.
    bias: int64 [co]. With add or keep it is part of X; else only for a layer that emits integers, added by the host.
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
    average: int = 1
    pool_padding: int = 0
    add: str = ""
    keep: bool = False
    shift: int = 0
    rectify: bool = False
    search: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name) or self.name == IMAGE:
            raise GraphError(f"layer name must be 1 to 64 letters, digits or '_.-' and not 'image', not {self.name!r}")
        for key, dtype in ARRAYS.items():
            object.__setattr__(self, key, check.array(f"{self.name}.{key}", getattr(self, key), dtype))
        for key in SCALARS:
            check.integer(f"{self.name}.{key}", getattr(self, key), 0 if key == "padding" else 1, MAX_EXTENT)
        if not isinstance(self.pad, Padding):
            raise GraphError(f"{self.name}.pad must be a Padding, not {self.pad!r}")
        self._check_windows()
        self._check_values()
        self._check_arithmetic()
        self._check_output()
        if self.sum_bound() > MAX_SUM:
            raise GraphError(f"{self.name} must have sums up to {MAX_SUM}, not {self.sum_bound()}")

    def _check_windows(self) -> None:
        check.integer(f"{self.name}.average", self.average, 1, MAX_EXTENT)
        if self.average > 1 and self.padding:
            raise GraphError(f"{self.name}.padding must be 0 after an average pool, not {self.padding}")
        check.integer(f"{self.name}.pool_padding", self.pool_padding, 0, self.pool - 1)

    def _check_values(self) -> None:
        if not isinstance(self.add, str) or (self.add and not NAME.fullmatch(self.add)):
            raise GraphError(f"{self.name}.add must be the name of a layer or empty, not {self.add!r}")
        for key in ("keep", "rectify", "search"):
            if not isinstance(getattr(self, key), bool):
                raise GraphError(f"{self.name}.{key} must be true or false, not {getattr(self, key)!r}")
        check.integer(f"{self.name}.shift", self.shift, 0, MAX_SHIFT if self.residual else 0)
        if self.rectify and not self.keep:
            raise GraphError(f"{self.name}.rectify must come with keep")

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
        if self.bias is not None:
            if self.thresholds is not None and not self.residual:
                raise GraphError(f"{self.name}.bias must be part of the thresholds: no values are added or kept")
            check.shape(f"{self.name}.bias", self.bias, (self.channels,), "[co]")
            check.within(f"{self.name}.bias", self.bias)
        if self.search and (self.thresholds is None or self.code is not None):
            raise GraphError(f"{self.name}.search must come with thresholds and without code")
        if not self.search and (self.thresholds is None) != (self.code is None):
            raise GraphError(f"{self.name} must have thresholds and code, or none of them")
        if self.thresholds is None:
            return
        check.shape(f"{self.name}.thresholds", self.thresholds, (self.channels, None), "[co, t]")
        most = MOST_STEPS if self.search else MAX_THRESHOLDS
        check.integer(f"{self.name}.thresholds per channel", self.thresholds.shape[1], 1, most)
        check.within(f"{self.name}.thresholds", self.thresholds)
        if self.code is None:
            if self.levels > 1 and (least := int(self.thresholds[:, 1:].min())) < 0:
                raise GraphError(f"{self.name}.thresholds of a search must not be negative but for the first, "
                                 f"not {least}")
            return
        if np.any(np.diff(self.thresholds, axis=1) < 0):
            channel = int(np.argwhere(np.diff(self.thresholds, axis=1) < 0)[0, 0])
            raise GraphError(f"{self.name}.thresholds must ascend per channel, not {self.thresholds[channel].tolist()}")
        check.shape(f"{self.name}.code", self.code, (self.thresholds.shape[1] + 1, None), "[t + 1, planes]")
        check.integer(f"{self.name}.code planes", self.code.shape[1], 1, MAX_PLANES)
        check.bits(f"{self.name}.code", self.code)

    @property
    def residual(self) -> bool:
        """Values are added or kept."""
        return self.keep or bool(self.add)

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
        if self.search:
            return self.levels
        return 0 if self.code is None else int(self.code.shape[1])

    @property
    def levels(self) -> int:
        """Thresholds or steps per channel; 0 for a layer that emits integers."""
        return 0 if self.thresholds is None else int(self.thresholds.shape[1])

    def sum_bound(self) -> int:
        """Upper bound of |X|, whatever the input: taps times channels times the sum of |coefficients|, and so on."""
        rows, columns = self.kernel
        total = np.abs(self.coefficients).sum(axis=(-2, -1)).max()
        bound = int(total) * self.source_channels * rows * columns * self.average**2
        if self.residual and self.bias is not None:
            bound += int(np.abs(self.bias).max())
        return bound + (1 << (VALUE_BITS - 1) + self.shift if self.add else 0)

    def output(self, rows: int, columns: int) -> Shape:
        """Output of this layer on a map of `rows` x `columns`; `GraphError` where window or pool does not fit."""
        sizes = []
        for axis, size, kernel in zip(("rows", "columns"), (rows, columns), self.kernel, strict=True):
            padded = size // self.average + 2 * self.padding
            if kernel > padded:
                raise GraphError(f"{self.name} kernel must have at most {padded} {axis}, as its input, not {kernel}")
            conv = (padded - kernel) // self.stride + 1
            room = conv + 2 * self.pool_padding
            if self.pool > room:
                raise GraphError(f"{self.name}.pool must be at most {room}, its {axis} before pooling, not {self.pool}")
            sizes.append((conv, (room - self.pool) // self.pool_stride + 1))
        (conv_rows, out_rows), (conv_columns, out_columns) = sizes
        return Shape(conv_rows, conv_columns, out_rows, out_columns, self.channels, self.planes)
