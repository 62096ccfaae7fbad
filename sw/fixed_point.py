"""Real coefficients, offsets and thresholds as integers: the arithmetic of the exporter. numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hw.arch.isa import Padding

SCALES = 4096  # candidates for the common scale of a layer's coefficients


@dataclass(frozen=True, eq=False)
class Planes:
    """What a layer reads: R = offset[c] + sum_j beta_j A_j of channel c, outside the map as `pad` says.

    beta float64 [n]; offset float64 [channels] or [1].
    """

    beta: np.ndarray
    offset: np.ndarray
    pad: Padding

    @property
    def unit(self) -> float | None:
        """The last beta, if each is twice the next: planes of a binary number. None if they are not."""
        even = len(self.beta) > 1 and np.allclose(self.beta[:-1], 2 * self.beta[1:], rtol=1e-12, atol=0)
        return float(self.beta[-1]) if even else None


@dataclass(eq=False)
class Sums:
    """Integer side of one layer: O_real[co] = scale * (O[co] + constant[co]).

    bits uint8 [m, co, ci, kh, kw]; coefficients int64 [co or 1, m, n]; constant float64 [co].
    """

    bits: np.ndarray
    coefficients: np.ndarray
    scale: float
    constant: np.ndarray

    def flip(self, channels: np.ndarray) -> None:
        """Negate O of the channels [co] that are True: S(-W) = -S."""
        self.bits = np.where(channels[None, :, None, None, None], 1 - self.bits, self.bits)
        self.constant = np.where(channels, -self.constant, self.constant)


def sums(bits: np.ndarray, factors: np.ndarray, planes: Planes, width: int, *, scale: float | None = None,
         area: int = 1, fine: bool = False) -> Sums:
    """Coefficients factors[co or 1, m] * beta_j as integers, on a scale that suits `width` bits or on the one given.

    Where the planes are a binary number it is the factors that are rounded, so coefficients stay exact powers of two
    of each other and the constant is the rounded factors'. area: pixels of the average pool before the layer. fine: see
    `fixed_point`.
    """
    unit = planes.unit
    real = (factors[..., None] * planes.beta if unit is None else factors[..., None] * unit) / area
    if scale is None:
        integers, scale = fixed_point(real, width, fine=fine)
    else:
        integers = np.rint(real / scale).astype(np.int64)
    signs = (bits.astype(np.int64) * 2 - 1).sum(axis=(3, 4))  # [m, co, ci]
    offsets = (signs * planes.offset).sum(axis=2).T  # [co, m]
    if unit is None:
        constant = (factors * offsets).sum(axis=1) / scale
    else:
        constant = (integers[..., 0] * offsets).sum(axis=1) * area / unit
        integers = integers << np.arange(len(planes.beta) - 1, -1, -1)
    return Sums(bits, integers, scale, constant)


def fixed_point(values: np.ndarray, width: int, *, fine: bool = False) -> tuple[np.ndarray, float]:
    """(integers int64, scale > 0) with values ~ scale * integers and integers of at most `width` bits, signed.

    Values on a common coarse grid get it, with the smallest integers, unless the grid must be `fine` because a bias is
    to lie on it. Else the scale is the best of many for which the
    largest integer takes at least half its range: a few values nearly fit a common grid much better than their width
    alone promises.
    """
    largest, limit = float(np.abs(values).max()), (1 << (width - 1)) - 1
    if largest == 0:
        return np.zeros(values.shape, np.int64), 1.0
    for count in range(1, 0 if fine else min(limit, 16) + 1):
        if np.allclose(values * (count / largest), np.rint(values * (count / largest)), rtol=0, atol=1e-9):
            return np.rint(values * (count / largest)).astype(np.int64), largest / count
    scales = largest / np.linspace((limit + 1) // 2, limit, SCALES)
    errors = [float(np.square(np.rint(values / scale) * scale - values).sum()) for scale in scales]
    scale = float(scales[int(np.argmin(errors))])
    return np.rint(values / scale).astype(np.int64), scale


def threshold(target: float, slope: float, constant: float, bound: int) -> int:
    """Least integer T with slope (T + constant) >= target, held to -bound..bound + 1 (always, never): |O| <= bound."""
    if slope == 0 or abs(target) >= slope * (bound + abs(constant) + 1):
        return -bound if target <= 0 else bound + 1
    whole = math.floor(constant)
    return min(max(math.ceil(target / slope - (constant - whole)) - whole, -bound), bound + 1)
