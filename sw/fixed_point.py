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

    beta float64 [n]; offset float64 [channels] or [1]. `fused`: planes of a binary number pass in one accumulation, so
    that their coefficients must be one factor's; else they are rounded one by one.
    """

    beta: np.ndarray
    offset: np.ndarray
    pad: Padding
    fused: bool = True

    @property
    def unit(self) -> float | None:
        """See `binary_unit`; None too if the planes are not fused."""
        return binary_unit(self.beta) if self.fused else None


def binary_unit(beta: np.ndarray) -> float | None:
    """The last beta, if each is twice the next: planes of a binary number. None if they are not."""
    even = len(beta) > 1 and np.allclose(beta[:-1], 2 * beta[1:], rtol=1e-12, atol=0)
    return float(beta[-1]) if even else None


@dataclass(eq=False)
class Sums:
    """Integer side of one layer: O_real[co] ~ slope[co] (O[co] + constant[co]) + offset[co].

    bits uint8 [m, co, ci, kh, kw]; coefficients int64 [co or 1, m, n]; the others float64 [co].
    """

    bits: np.ndarray
    coefficients: np.ndarray
    slope: np.ndarray
    constant: np.ndarray
    offset: np.ndarray

    @property
    def compact(self) -> np.ndarray:
        """Coefficients without a channel axis where all channels have the same."""
        return self.coefficients if len(self.coefficients) > 1 else self.coefficients[0]

    def flip(self, channels: np.ndarray) -> None:
        """Negate O of the channels [co] that are True: S(-W) = -S."""
        self.bits = np.where(channels[None, :, None, None, None], 1 - self.bits, self.bits)
        self.constant = np.where(channels, -self.constant, self.constant)
        self.offset = np.where(channels, -self.offset, self.offset)

    def scale(self, factor: int) -> None:
        """Multiply O by `factor`."""
        self.coefficients = self.coefficients * factor
        self.slope, self.constant = self.slope / factor, self.constant * factor


@dataclass(frozen=True, eq=False)
class Moments:
    """Statistics of a layer's sums over images: what its k terms, in the order of `sums`, add up from.

    mean float64 [co, k]; covariance float64 [co, k, k], None where only the means are known.
    """

    mean: np.ndarray
    covariance: np.ndarray | None


def sums(bits: np.ndarray, factors: np.ndarray, planes: Planes, width: int, *, grid: float | None = None,
         area: int = 1, common: bool = False, moments: Moments | None = None) -> Sums:
    """Coefficients factors[co or 1, m] * beta_j as integers of `width` bits, or on the `grid` given.

    Where the planes are a binary number it is the factors that are rounded, so coefficients stay exact powers of two
    of each other and the constant is the rounded factors'. area: pixels of the average pool before the layer. common:
    one fine scale for all channels, on which a bias can lie.

    With `moments`, scales are those at which rounding disturbs the sums of real images least, and slope and offset are
    the straight line through the real sums over the integer ones.
    """
    unit = planes.unit
    real = (factors[..., None] * planes.beta if unit is None else factors[..., None] * unit) / area
    flat = real.reshape(len(real), -1)
    if grid is not None:
        integers, scale = _settled(flat / grid, width, moments), np.full(len(real), grid)
    elif common or len(real) == 1:
        integers, single = fixed_point(flat, width, fine=common, metric=_metric(flat, moments))
        scale = np.full(len(real), single)
    else:
        covariance = None if moments is None else moments.covariance
        made = [fixed_point(row[None], width, metric=None if covariance is None else covariance[c:c + 1])
                for c, row in enumerate(flat)]
        integers, scale = np.concatenate([row for row, _ in made]), np.array([single for _, single in made])
    slope, offset = _line(flat, integers * scale[:, None], moments, common, grid is not None)
    signs = (bits.astype(np.int64) * 2 - 1).sum(axis=(3, 4))  # [m, co, ci]
    # Zeros outside the map are planes of -1, exactly: what remains of the offset is that of the values.
    low = planes.beta.sum() if unit is None and planes.pad is Padding.LOW else 0.0
    offsets = (signs * (planes.offset - low)).sum(axis=2).T  # [co, m]
    integers = integers.reshape(real.shape)
    if unit is None:
        constant = (factors * offsets).sum(axis=1) / scale
        if low:
            constant = constant + (integers.sum(axis=2) * signs.sum(axis=2).T).sum(axis=1) * area
    else:
        constant = (integers[..., 0] * offsets).sum(axis=1) * area / unit
        integers = integers << np.arange(len(planes.beta) - 1, -1, -1)
    offset = offset * area / (1.0 if unit is None else unit)
    channels = bits.shape[1]
    return Sums(bits, integers, np.broadcast_to(scale * slope, channels), constant, np.broadcast_to(offset, channels))


def _settled(values: np.ndarray, width: int, moments: Moments | None) -> np.ndarray:
    """Integers near values [co, k]: rounded, then moved one by one while that makes the error of the sums smaller."""
    integers = np.rint(values).astype(np.int64)
    if moments is None or moments.covariance is None or len(values) == 1:
        return integers
    limit, rows = (1 << (width - 1)) - 1, np.arange(len(values))
    diagonal = np.einsum("ckk->ck", moments.covariance)
    for _ in range(4 * values.shape[1]):
        slope = 2 * np.einsum("ckl,cl->ck", moments.covariance, integers - values)
        change = np.stack([np.where(integers < limit, diagonal + slope, np.inf),
                           np.where(integers > -limit, diagonal - slope, np.inf)], axis=2).reshape(len(values), -1)
        best = change.argmin(axis=1)
        better = change[rows, best] < -1e-9 * diagonal.max(axis=1)
        if not better.any():
            break
        integers[rows[better], best[better] // 2] += 1 - 2 * (best[better] % 2)
    return integers


def _metric(flat: np.ndarray, moments: Moments | None) -> np.ndarray | None:
    """Covariance of the terms relative to each channel's own variance; one for all channels if they share factors."""
    if moments is None or moments.covariance is None:
        return None
    variance = np.einsum("ck,ckl,cl->c", np.broadcast_to(flat, moments.mean.shape), moments.covariance,
                         np.broadcast_to(flat, moments.mean.shape))
    alive = variance > 0
    relative = np.zeros_like(moments.covariance)
    relative[alive] = moments.covariance[alive] / variance[alive, None, None]
    return relative.mean(axis=0, keepdims=True) if len(flat) == 1 else relative


def _line(real: np.ndarray, rounded: np.ndarray, moments: Moments | None, common: bool,
          fixed: bool) -> tuple[np.ndarray, np.ndarray]:
    """(slope, offset) [co or 1] of the line through real sums over rounded ones; slope one for all if `common`."""
    if moments is None:
        return np.ones(1), np.zeros(1)
    real, rounded = (np.broadcast_to(values, moments.mean.shape) for values in (real, rounded))
    if fixed or moments.covariance is None:
        slope = np.ones(len(real))
    else:
        both, own = (np.einsum("ck,ckl,cl->c", values, moments.covariance, rounded) for values in (real, rounded))
        if common:
            both, own = both.sum(keepdims=True), own.sum(keepdims=True)
        slope = np.divide(both, own, out=np.ones_like(own), where=own > 0)
    return slope, ((real - slope[:, None] * rounded) * moments.mean).sum(axis=1)


def fixed_point(values: np.ndarray, width: int, *, fine: bool = False,
                metric: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """(integers int64, scale > 0) with values ~ scale * integers and integers of at most `width` bits, signed.

    Values [groups, k] on a common coarse grid get it, with the smallest integers, unless the grid must be `fine`
    because a bias is to lie on it. Else the scale is the best of many for which the largest integer takes at least half
    its range: a few values nearly fit a common grid much better than their width alone promises. Best is what has the
    least squared error or, with `metric` [groups, k, k], the least e' metric e of the error that no scale corrects.
    """
    largest, limit = float(np.abs(values).max()), (1 << (width - 1)) - 1
    if largest == 0:
        return np.zeros(values.shape, np.int64), 1.0
    for count in range(1, 0 if fine else min(limit, 16) + 1):
        if np.allclose(values * (count / largest), np.rint(values * (count / largest)), rtol=0, atol=1e-9):
            return np.rint(values * (count / largest)).astype(np.int64), largest / count
    scales = largest / np.linspace((limit + 1) // 2, limit, SCALES)
    if metric is not None:
        metric = _across(values, metric)
    errors = [_error(values, np.rint(values / scale) * scale, metric) for scale in scales]
    scale = float(scales[int(np.argmin(errors))])
    return np.rint(values / scale).astype(np.int64), scale


def _across(values: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """The metric without its part along the values themselves, which a scale corrects."""
    along = np.einsum("gkl,gl->gk", metric, values)
    length = np.einsum("gk,gk->g", along, values)
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return metric - along[:, :, None] * along[:, None, :] * inverse[:, None, None]


def _error(values: np.ndarray, rounded: np.ndarray, metric: np.ndarray | None) -> float:
    error = rounded - values
    if metric is None:
        return float(np.square(error).sum())
    return float(np.einsum("gk,gkl,gl->", error, metric, error))


def threshold(target: float, slope: float, constant: float, bound: int) -> int:
    """Least integer T with slope (T + constant) >= target, held to -bound..bound + 1 (always, never): |O| <= bound."""
    if slope == 0 or abs(target) >= slope * (bound + abs(constant) + 1):
        return -bound if target <= 0 else bound + 1
    whole = math.floor(constant)
    return min(max(math.ceil(target / slope - (constant - whole)) - whole, -bound), bound + 1)


def search_steps(slope: float, centre: float, level: float, bits: int, bound: int, width: int) -> list[int]:
    """Steps of a binary search for the level round(level + slope (O - centre)), held to `bits` bits; |O| <= bound.

    Steps have at most `width` bits, signed, or two more than the sums. A slope so small that they would not fit is made
    larger: seen from the centre the level then still hardly moves.
    """
    half, room = 1 << (bits - 1), max((1 << (width - 1)) - 1, 4 * bound) - bound
    unit = min(1 / slope if slope > 0 else math.inf, (room - 1) / half)
    middle = centre + (half - 0.5 - level) * unit
    first = math.ceil(min(max(middle, -bound - room), bound + room))
    return [first, *(round(unit * (1 << j)) for j in range(bits - 2, -1, -1))]
