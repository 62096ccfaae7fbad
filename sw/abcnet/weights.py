"""Weight quantisers: one interface, one class per formula.

A quantiser replaces a weight tensor W (first axis: output channels) by What = sum_m alpha_m B_m of +-1 planes B_m. The
network computes with What; `planes` says what the accelerator gets. Gradients are straight-through.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .quantize import Bases, sign, solve, staircase

EIGHT_BITS = 8


class WeightQuantizer(nn.Module):
    """Base of all: `forward` gives What with its gradient, `planes` gives B and alpha of the same What."""

    def forward(self, weight: Tensor) -> Tensor:
        """What, of weight's shape."""
        raise NotImplementedError

    def planes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(B [m, *weight.shape] of +-1, alpha float64 [groups, m]); groups is 1 or the output channels."""
        raise NotImplementedError


class RealWeights(WeightQuantizer):
    """W itself: the full-precision baseline. On the accelerator it is the nearest value of `IntegerWeights`."""

    def __init__(self, bits: int = EIGHT_BITS):
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        return weight

    def planes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return _integer_planes(weight.detach(), self.bits)


class IntegerWeights(WeightQuantizer):
    """Evenly spaced values per output channel: What = s q, q odd in -(2^k - 1)..2^k - 1, s = max|W| / (2^k - 1).

    q = sum_j 2^j B_j over k planes, so any value is k binary planes with coefficients s 2^j.
    Gradient: dc/dW = dc/dWhat (straight-through, s constant).
    Source: symmetric integer quantisation, e.g. Jacob et al., CVPR 2018, on the grid that +-1 planes have.
    """

    def __init__(self, bits: int = EIGHT_BITS):
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        return Straight.apply(weight, combine(*self.planes(weight)), None)

    def planes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return _integer_planes(weight.detach(), self.bits)


class AbcWeights(WeightQuantizer):
    """What = sum_m alpha_m B_m, B_m = sign(W - mean + u_m std), alpha by least squares (`quantize.Bases`).

    `trained`: the shifts u are parameters, "or leave it to be trained by the network" (section 3.1.1). The paper gives
    no gradient for them. Here dc/du_m = alpha_m std sum dc/dWhat I_m with I_m = [|W - mean + u_m std| <= std / 2]: only
    weights near a threshold move it. Without the window all u would get the same gradient.

    `symmetric`: alpha_m = alpha_{M+1-m} in the order of u, by least squares under that constraint, so that fewer planes
    have the same values (3 -> 2, 5 -> 3, 7 -> 4): `planes` gives those (`quantize.staircase`).

    Gradient of W: dc/dW = (sum_m alpha_m) dc/dWhat. Source: Lin, Zhao, Pan, NIPS 2017, eq 1-3 and 7.
    """

    def __init__(self, u: tuple[float, ...], *, channelwise: bool = False, trained: bool = False,
                 symmetric: bool = False):
        super().__init__()
        self.bases = Bases(u, channelwise)
        self.symmetric = symmetric
        self.u = nn.Parameter(torch.tensor(u)) if trained else None

    def forward(self, weight: Tensor) -> Tensor:
        if self.u is None and not self.symmetric:
            return self.bases.approximate(weight)
        bases, alpha = self.factors(weight)
        slope = alpha.sum(1).to(weight.dtype).view(-1, *[1] * (weight.dim() - 1))
        value = Straight.apply(weight, combine(bases, alpha), slope)
        return value if self.u is None else value + self._shift_gradient(weight.detach(), alpha)

    def planes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        bases, alpha = self.factors(weight)
        if not self.symmetric or len(bases) < 3 or len(bases) % 2 == 0:
            return bases, alpha
        u = self.bases.u if self.u is None else self.u.detach().tolist()
        order = sorted(range(len(u)), key=lambda m: -u[m])
        code, fewer = staircase(alpha[:, order])
        return code.to(weight.dtype)[(bases > 0).sum(0)].movedim(-1, 0), fewer

    def factors(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(B [M, *weight.shape] of +-1, alpha float64 [groups, M]): the paper's bases, in the order of u as given."""
        bases, u = self.bases, self.bases.u
        if self.u is not None:
            u = tuple(self.u.detach().tolist())
            bases = Bases(u, bases.channelwise)
        planes, alpha = bases.planes(weight)
        if not self.symmetric or len(u) == 1:
            return planes, alpha
        w = weight.detach()
        rows = w.reshape(len(w) if bases.channelwise else 1, -1)
        return planes, _symmetric(planes.reshape(len(u), *rows.shape), rows, u)

    def _shift_gradient(self, w: Tensor, alpha: Tensor) -> Tensor:
        """Zero, with the gradient of u."""
        assert self.u is not None
        rows = w.reshape(len(alpha), -1)
        centred, deviation = rows - rows.mean(1, keepdim=True), rows.std(1, keepdim=True, correction=0)
        total = torch.zeros_like(rows)
        for m, u in enumerate(self.u):
            near = ((centred + u.detach() * deviation).abs() <= deviation / 2).to(w.dtype)
            total = total + (u - u.detach()) * (alpha[:, m : m + 1].to(w.dtype) * deviation * near)
        return total.view(w.shape)


class ScaledSignWeights(WeightQuantizer):
    """What = alpha sign(W), alpha = mean |W| of each output channel: BWN, and the weights of XNOR-Net.

    Gradient: dc/dW = dc/dWhat (1 / n + alpha [|W| <= 1]), n weights to a channel.
    Source: Rastegari et al., XNOR-Net, ECCV 2016, eq 6 and section 3.1.
    """

    def forward(self, weight: Tensor) -> Tensor:
        bases, alpha = self.planes(weight)
        factor = alpha.to(weight.dtype).view(-1, *[1] * (weight.dim() - 1))
        slope = 1 / weight[0].numel() + factor * (weight.detach().abs() <= 1)
        return Straight.apply(weight, combine(bases, alpha), slope)

    def planes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        w = weight.detach()
        return sign(w).unsqueeze(0), w.abs().flatten(1).mean(1, dtype=torch.float64).unsqueeze(1)


class SignWeights(WeightQuantizer):
    """What = sign(W), W held to -1..1 while training: BNN.

    Gradient: dc/dW = dc/dWhat [|W| <= 1]; the bound keeps W inside. Source: Courbariaux et al., Binarized Neural
    Networks, NIPS 2016, section 1.3 and algorithm 1 (clip after the update; here before the next use).
    """

    def forward(self, weight: Tensor) -> Tensor:
        if self.training and weight.requires_grad:
            with torch.no_grad():
                weight.clamp_(-1, 1)
        inside = (weight.detach().abs() <= 1).to(weight.dtype)
        return Straight.apply(weight, sign(weight.detach()), inside)

    def planes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return sign(weight.detach()).unsqueeze(0), torch.ones(1, 1, dtype=torch.float64)


class DorefaWeights(WeightQuantizer):
    """DoReFa-Net's k-bit weights.

    k = 1: What = E sign(W), E = mean |W| of the layer. Gradient dc/dW = dc/dWhat.
    k > 1: What = 2 quantize_k(tanh(W) / (2 max |tanh(W)|) + 1/2) - 1, quantize_k(r) = round((2^k - 1) r) / (2^k - 1);
    gradient straight through quantize_k, exact through tanh with the maximum constant.
    Source: Zhou et al., DoReFa-Net, arXiv 1606.06160, eq 5, 8 and 9.
    """

    def __init__(self, bits: int = 1):
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        value, slope = combine(*self.planes(weight)), None
        if self.bits > 1:
            t = weight.detach().tanh()
            slope = (1 - t.square()) / t.abs().max().clamp_min(torch.finfo(t.dtype).tiny)
        return Straight.apply(weight, value, slope)

    def planes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        w = weight.detach()
        if self.bits == 1:
            return sign(w).unsqueeze(0), w.abs().mean(dtype=torch.float64).view(1, 1)
        t = w.tanh()
        steps = (1 << self.bits) - 1
        level = (steps * (t / (2 * t.abs().max().clamp_min(torch.finfo(t.dtype).tiny)) + 0.5)).round().long()
        powers = torch.arange(self.bits - 1, -1, -1)
        return _bit_planes(level, self.bits).to(w.dtype), (2.0 ** powers.double() / steps).unsqueeze(0)


class Straight(torch.autograd.Function):
    """`value` in place of `weight`; the gradient goes to weight, times `slope` (None: 1)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, value: Tensor, slope: Tensor | None) -> Tensor:
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (grads[0] if slope is None else grads[0] * slope), None, None


def combine(bases: Tensor, alpha: Tensor) -> Tensor:
    """sum_m alpha_m B_m from B [m, *shape] and alpha [groups, m]."""
    factors = alpha.to(bases.dtype).T.reshape(len(bases), -1, *[1] * (bases.dim() - 2))
    return (factors * bases).sum(0)


def _symmetric(bases: Tensor, rows: Tensor, u: tuple[float, ...]) -> Tensor:
    """alpha [groups, M] by least squares with the planes paired from both ends in the order of u; bases [M, g, K]."""
    order = sorted(range(len(u)), key=lambda m: u[m])
    pairs = [(order[k], order[-1 - k]) for k in range((len(u) + 1) // 2)]
    halves = torch.stack([(bases[low] + bases[high]) / 2 for low, high in pairs])
    solved = solve(halves, rows)
    alpha = torch.empty(len(solved), len(u), dtype=solved.dtype)
    for k, (low, high) in enumerate(pairs):
        alpha[:, low] = alpha[:, high] = solved[:, k] / (1 if low == high else 2)
    return alpha


def _integer_planes(w: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Planes, most significant first, and alpha [co, bits] of the nearest odd multiples of max|W| / (2^bits - 1)."""
    steps = (1 << bits) - 1
    largest = w.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest, 1.0) / steps
    level = ((w / scale.view(-1, *[1] * (w.dim() - 1)) + steps) / 2).round().clamp(0, steps).long()
    powers = torch.arange(bits - 1, -1, -1)
    return _bit_planes(level, bits).to(w.dtype), scale.double().unsqueeze(1) * 2.0 ** powers


def _bit_planes(level: Tensor, bits: int) -> Tensor:
    """+-1 planes [bits, *shape] of integers, most significant first."""
    return torch.stack([(level >> j & 1) * 2 - 1 for j in range(bits - 1, -1, -1)])
