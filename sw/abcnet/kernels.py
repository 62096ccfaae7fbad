"""Kernels of a training step: few operations, each on a piece that stays in the cache.

A layer of M x N planes is one convolution (see `layers`), so what its step takes beyond a plain convolution's is spent
here. Compares write 0.0 and 1.0 straight into a scratch tensor of all planes: no booleans to convert, no index per
element, and what is summed over planes or elements is a matrix-vector product.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PIECE = 1 << 16  # elements per CPU thread: an operation on fewer costs more to call than to do
DEVICE_PIECE = 1 << 22  # elsewhere only the memory for the scratch tensors counts


def piece(device: torch.device) -> int:
    """Elements worked on at once."""
    return PIECE * torch.get_num_threads() if device.type == "cpu" else DEVICE_PIECE


def steps(x: Tensor, beta: Tensor, v: Tensor) -> Tensor:
    """sum_n beta_n H(x + v_n - 0.5), H = +1 where its argument is >= 0, else -1. Contiguous, of x's shape and type."""
    x = x.contiguous()
    out = torch.empty_like(x)
    edges, heights, floor = (0.5 - v).unsqueeze(1), 2 * beta, -beta.sum()
    scratch = _scratch(x, len(v))
    for part, result in _flat(x, out):
        above = torch.ge(part, edges, out=scratch[:, :len(part)])
        torch.mv(above.T, heights, out=result).add_(floor)
    return out


def step_gradients(x: Tensor, grad: Tensor, beta: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Straight-through gradients of `steps` with respect to x, beta [N] and v [N], from `grad` of x's shape.

    With I_n = [0 <= x + v_n <= 1]: sum_n beta_n grad I_n;  sum grad H(x + v_n - 0.5);  beta_n sum grad I_n.
    """
    x, grad = x.contiguous(), grad.contiguous()
    out = torch.empty_like(x)
    start, edges, end = ((shift - v).unsqueeze(1) for shift in (0, 0.5, 1))
    above, inside, total = torch.zeros_like(beta), torch.zeros_like(beta), torch.zeros_like(beta[0])
    scratch = _scratch(x, 2 * len(v)).unflatten(0, (2, -1))
    for part, result, g in _flat(x, out, grad):
        low, high = scratch[:, :, :len(part)]
        above += torch.mv(torch.ge(part, edges, out=low), g)
        torch.ge(part, start, out=low).mul_(torch.le(part, end, out=high))
        inside += torch.mv(low, g)
        torch.mv(low.T, beta, out=result).mul_(g)
        total += g.sum()
    return out, 2 * above - total, beta * inside


def tally(rows: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Number and sum of the values above each edge, both float64 [groups, M]. rows [groups, K], edges [groups, M]."""
    counts = edges.new_zeros(edges.shape, dtype=torch.float64)
    sums = torch.zeros_like(counts)
    for groups, columns in _blocks(rows):
        above = _above(rows[groups, columns], edges[groups])
        counts[groups] += above.sum(2)
        sums[groups] += torch.bmm(above, rows[groups, columns].unsqueeze(2)).squeeze(2)
    return counts, sums


def combine(rows: Tensor, edges: Tensor, alpha: Tensor) -> Tensor:
    """sum_m alpha_m B_m with B_m = +1 above edge m, else -1: of rows' shape [groups, K]; edges, alpha [groups, M]."""
    out = torch.empty_like(rows)
    heights, floor = 2 * alpha.unsqueeze(1), -alpha.sum(1).view(-1, 1)
    for groups, columns in _blocks(rows):
        above = _above(rows[groups, columns], edges[groups])
        torch.add(torch.bmm(heights[groups], above).squeeze(1), floor[groups], out=out[groups, columns])
    return out


def nested_coefficients(counts: Tensor, totals: Tensor) -> Tensor:
    """Least squares for nested bases, in closed form: alpha float64 [groups, M], the base with most +1 first.

    Nested bases of +-1 split the weights into M + 1 cells: cell k is +1 in the first k bases. counts and totals
    [groups, M + 1] are number and sum of the weights of each cell; counts must not be 0 for cells 1..M-1, nor for both
    of the outer two. A combination gives cell k the value V_k = sum_{i<=k} alpha_i - sum_{i>k} alpha_i: any values
    with V_0 = -V_M. The best are the means of the cells, the outer two sharing theirs; alpha_k = (V_k - V_{k-1}) / 2.
    """
    outer = (totals[:, -1:] - totals[:, :1]) / (counts[:, -1:] + counts[:, :1])
    values = torch.cat([-outer, totals[:, 1:-1] / counts[:, 1:-1], outer], 1)
    return values.diff(dim=1) / 2


def _flat(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Flat views of contiguous tensors of one size, piece by piece."""
    size = piece(tensors[0].device)
    return zip(*(tensor.view(-1).split(size) for tensor in tensors), strict=True)


def _scratch(x: Tensor, count: int) -> Tensor:
    """Room for `count` values per element of a piece, taken once: fresh memory costs more than the arithmetic."""
    return x.new_empty(count, min(x.numel(), piece(x.device)))


def _blocks(rows: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and of columns whose blocks make up `rows` [groups, K]."""
    groups, count = rows.shape
    size = piece(rows.device)
    for first in range(0, groups, height := max(1, size // count)):
        for start in range(0, count, size):
            yield slice(first, first + height), slice(start, start + size)


def _above(rows: Tensor, edges: Tensor) -> Tensor:
    """1.0 where a value is above an edge, else 0.0: [groups, M, K]."""
    out = rows.new_empty(rows.shape[0], edges.shape[1], rows.shape[1])
    return torch.gt(rows.unsqueeze(1), edges.unsqueeze(2), out=out)
