"""Exact integer inference of a graph in PyTorch, fast enough for whole test sets.

By linearity O = sum_j Conv(sum_i c_ij W_i, A_j): one convolution over the n activation planes side by side, with
integer kernels. It runs in float64, where PyTorch multiplies and adds plainly (no Winograd or FFT form). Every product
and partial sum, in whatever order, is an integer of at most `Conv.sum_bound()`, which `Graph` keeps below 2^47, and
float64 is exact up to 2^53; so the result is exactly the integers of `hw.arch.numerics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hw.arch.config import IMAGE_PLANES
from hw.arch.isa import Padding
from sw.graph import IMAGE, Conv, Graph, GraphError


@dataclass(frozen=True, eq=False)
class Result:
    """Outcome of `reference`.

    integers: pooled O of each kept layer, int64 [B, co, rows, columns]; levels: uint8, same shape, of each kept layer
    with thresholds; logits: int64 [B, classes], bias included.
    """

    integers: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    logits: np.ndarray


def reference(graph: Graph, images: np.ndarray, *, keep: bool = True, batch: int = 250) -> Result:
    """Run `graph` on uint8 images [B, H, W, C]. keep = False drops the layers' maps and returns logits only."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != graph.image.shape:
        given = f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
        raise GraphError(f"images must be uint8 [count, {', '.join(map(str, graph.image.shape))}], not {given}")
    integers: dict[str, list[np.ndarray]] = {layer.name: [] for layer in graph.layers}
    levels: dict[str, list[np.ndarray]] = {layer.name: [] for layer in graph.layers if layer.levels}
    logits = [np.zeros((0, len(graph.classes)), np.int64)]
    for start in range(0, len(images), batch):
        tensors = {IMAGE: image_planes(torch.tensor(np.ascontiguousarray(images[start:start + batch])))}
        for layer in graph.layers:
            value = sums(layer, tensors[layer.source])
            if keep:
                integers[layer.name].append(value.numpy())
            if layer.thresholds is not None and layer.code is not None:
                level = levels_of(value, layer.thresholds)
                signs = torch.from_numpy(layer.code.astype(np.int8) * 2 - 1)
                tensors[layer.name] = signs[level].permute(4, 0, 1, 2, 3)
                if keep:
                    levels[layer.name].append(level.to(torch.uint8).numpy())
        bias = graph.layers[-1].bias
        logits.append(value.flatten(1).numpy() + (0 if bias is None else bias))
    if not keep or not len(images):
        return Result({}, {}, np.concatenate(logits))
    return Result(_join(integers), _join(levels), np.concatenate(logits))


def _join(batches: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate(parts) for name, parts in batches.items()}


def image_planes(images: Tensor) -> Tensor:
    """int8 +-1 planes [8, B, C, H, W], most significant first, of uint8 [B, H, W, C]."""
    bits = torch.stack([images >> (IMAGE_PLANES - 1 - j) & 1 for j in range(IMAGE_PLANES)])
    return bits.to(torch.int8).mul(2).sub(1).permute(0, 1, 4, 2, 3)


def sums(layer: Conv, planes: Tensor) -> Tensor:
    """Pooled O, int64 [B, co, rows, columns], from int8 planes [n, B, ci, H, W]."""
    planes = planes.double()
    if layer.padding:
        planes = F.pad(planes, (layer.padding,) * 4, value=-1.0 if layer.pad is Padding.LOW else 0.0)
    signs = torch.from_numpy(layer.weights.astype(np.float64) * 2 - 1)
    coefficients = torch.from_numpy(layer.coefficients.astype(np.float64)).expand(layer.channels, -1, -1)
    n, batch, ci, rows, columns = planes.shape
    stacked = planes.transpose(0, 1).reshape(batch, n * ci, rows, columns)
    kernel = torch.einsum("oij,iockl->ojckl", coefficients, signs).reshape(layer.channels, n * ci, *layer.kernel)
    value = F.conv2d(stacked, kernel, stride=layer.stride)
    if layer.pool > 1 or layer.pool_stride > 1:
        value = F.max_pool2d(value, layer.pool, layer.pool_stride)
    return value.to(torch.int64)


def levels_of(value: Tensor, thresholds: np.ndarray) -> Tensor:
    """#{t : value >= T[co, t]}, int64 [B, co, rows, columns]."""
    level = torch.zeros_like(value)
    for column in torch.from_numpy(thresholds.copy()).T:
        level += value >= column.view(1, -1, 1, 1)
    return level
