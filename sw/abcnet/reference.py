"""Exact integer inference of a graph in PyTorch, fast enough for whole test sets.

By linearity O = sum_j Conv(sum_i c_ij W_i, A_j): one convolution over the n activation planes side by side, with
integer kernels. It runs in float64, where PyTorch multiplies and adds plainly (no Winograd or FFT form). Every product
and partial sum, in whatever order, is an integer of at most `Conv.sum_bound()`, which `Graph` keeps below 2^47, and
float64 is exact up to 2^53; so the result is exactly the integers of `hw.arch.numerics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hw.arch.config import IMAGE_PLANES, VALUE_BITS
from hw.arch.isa import Padding
from sw.graph import IMAGE, Conv, Graph, GraphError


@dataclass(frozen=True, eq=False)
class Result:
    """Outcome of `reference`.

    integers: X of each layer, int64 [B, co, rows, columns]; levels: uint8, same shape, of each layer with thresholds;
    values: V, int64, of each layer with `keep`; logits: int64 [B, classes], bias included.
    """

    integers: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    logits: np.ndarray


def reference(graph: Graph, images: np.ndarray, *, keep: bool = True, batch: int = 250) -> Result:
    """Run `graph` on uint8 images [B, H, W, C]. keep = False drops the layers' maps and returns logits only."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != graph.image.shape:
        given = f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
        raise GraphError(f"images must be uint8 [count, {', '.join(map(str, graph.image.shape))}], not {given}")
    kept: list[_Maps] = []
    logits = [np.zeros((0, len(graph.classes)), np.int64)]
    for start in range(0, len(images), batch):
        maps = _run(graph, torch.tensor(np.ascontiguousarray(images[start:start + batch])))
        last = graph.layers[-1]
        logits.append(maps.integers[last.name].flatten(1).numpy() + (0 if last.bias is None else last.bias))
        if keep:
            kept.append(maps)
    whole = np.concatenate(logits)
    return Result(_join([part.integers for part in kept]), _join([part.levels for part in kept]),
                  _join([part.values for part in kept]), whole)


class _Maps(NamedTuple):
    """Tensors of one batch by layer: X, level, V."""

    integers: dict[str, Tensor]
    levels: dict[str, Tensor]
    values: dict[str, Tensor]


def _run(graph: Graph, images: Tensor) -> _Maps:
    tensors, maps = {IMAGE: image_planes(images)}, _Maps({}, {}, {})
    for layer in graph.layers:
        value = sums(layer, tensors[layer.source])
        if layer.residual:
            if layer.bias is not None:
                value = value + torch.from_numpy(layer.bias.copy()).view(-1, 1, 1)
            if layer.add:
                value = value + (maps.values[layer.add] << layer.shift)
        maps.integers[layer.name] = value
        if layer.keep:
            top = (1 << (VALUE_BITS - 1)) - 1
            maps.values[layer.name] = (value >> layer.shift).clamp(0 if layer.rectify else -top - 1, top)
        if layer.thresholds is not None:
            level = (searched if layer.search else levels_of)(value, layer.thresholds)
            code = bits_of_levels(layer.levels) if layer.code is None else layer.code
            signs = torch.from_numpy(code.astype(np.int8) * 2 - 1)
            tensors[layer.name] = signs[level].permute(4, 0, 1, 2, 3)
            maps.levels[layer.name] = level.to(torch.uint8)
    return maps


def _join(batches: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    return {name: torch.cat([part[name] for part in batches]).numpy() for name in (batches[0] if batches else {})}


def image_planes(images: Tensor) -> Tensor:
    """int8 +-1 planes [8, B, C, H, W], most significant first, of uint8 [B, H, W, C]."""
    bits = torch.stack([images >> (IMAGE_PLANES - 1 - j) & 1 for j in range(IMAGE_PLANES)])
    return bits.to(torch.int8).mul(2).sub(1).permute(0, 1, 4, 2, 3)


def sums(layer: Conv, planes: Tensor) -> Tensor:
    """Pooled O, int64 [B, co, rows, columns], from int8 planes [n, B, ci, H, W]."""
    planes = planes.double()
    if layer.average > 1:
        planes = F.avg_pool2d(planes.flatten(0, 1), layer.average, divisor_override=1).unflatten(0, planes.shape[:2])
    if layer.padding:
        planes = F.pad(planes, (layer.padding,) * 4, value=-1.0 if layer.pad is Padding.LOW else 0.0)
    signs = torch.from_numpy(layer.weights.astype(np.float64) * 2 - 1)
    coefficients = torch.from_numpy(layer.coefficients.astype(np.float64)).expand(layer.channels, -1, -1)
    n, batch, ci, rows, columns = planes.shape
    stacked = planes.transpose(0, 1).reshape(batch, n * ci, rows, columns)
    kernel = torch.einsum("oij,iockl->ojckl", coefficients, signs).reshape(layer.channels, n * ci, *layer.kernel)
    value = F.conv2d(stacked, kernel, stride=layer.stride)
    if layer.pool > 1 or layer.pool_stride > 1:
        value = _max_pool(value, layer.pool, layer.pool_stride, layer.pool_padding)
    return value.to(torch.int64)


def _max_pool(value: Tensor, pool: int, stride: int, padding: int) -> Tensor:
    """Positions outside do not take part. Padded by hand: torch pads its own pools by at most half a window."""
    if padding:
        value = F.pad(value, (padding,) * 4, value=-torch.inf)
    return F.max_pool2d(value, pool, stride)


def levels_of(value: Tensor, thresholds: np.ndarray) -> Tensor:
    """#{t : value >= T[co, t]}, int64 [B, co, rows, columns]."""
    level = torch.zeros_like(value)
    for column in torch.from_numpy(thresholds.copy()).T:
        level += value >= column.view(1, -1, 1, 1)
    return level


def searched(value: Tensor, steps: np.ndarray) -> Tensor:
    """Levels by a binary search (`hw.arch.numerics.search`), int64 [B, co, rows, columns]."""
    level, sign = torch.zeros_like(value), -torch.ones_like(value)
    for step in torch.from_numpy(steps.copy()).T:
        value = value + sign * step.view(1, -1, 1, 1)
        level = 2 * level + (value >= 0)
        sign = torch.where(value >= 0, -1, 1)
    return level


def bits_of_levels(bits: int) -> np.ndarray:
    """uint8 [2^bits, bits]: every level's bits, most significant first."""
    return (np.arange(1 << bits)[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)
