"""Activation quantisers: one interface, one class per formula.

A quantiser replaces a real tensor R by Rhat = offset + sum_n beta_n A_n of +-1 planes A_n; which planes are +1 follows
from thresholds on R. The network computes with Rhat; `levels` says what the accelerator gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .quantize import MAX_PLANES, BinaryActivation, QuantizeError, soft_activation, staircase


@dataclass(frozen=True, eq=False)
class Levels:
    """Rhat = offset + sum_n beta_n (2 code[level] - 1)_n with level = #{t : R >= thresholds[t]}.

    thresholds float64 [t], ascending; code uint8 [t + 1, n]; beta float64 [n]. `even`: the thresholds are evenly spaced
    and the code is the level as a binary number, most significant plane first.
    """

    thresholds: np.ndarray
    code: np.ndarray
    beta: np.ndarray
    offset: float = 0.0
    even: bool = False

    @property
    def floor(self) -> float:
        """The value of all planes -1."""
        return float(self.offset - self.beta.sum())

    @staticmethod
    def binary(bits: int, top: float) -> Levels:
        """2^bits values from 0 to `top`, evenly spaced, rounded to the nearest; planes most significant first."""
        steps = (1 << bits) - 1
        powers = np.arange(bits - 1, -1, -1)
        code = (np.arange(steps + 1)[:, None] >> powers & 1).astype(np.uint8)
        return Levels((np.arange(steps) + 0.5) * top / steps, code, 2.0 ** powers * top / steps / 2, top / 2, even=True)


class ActivationQuantizer(nn.Module):
    """Base of all: `forward` gives Rhat with its gradient, `soft` what it is a step of, `levels` its planes."""

    def forward(self, x: Tensor) -> Tensor:
        """Rhat, of x's shape."""
        raise NotImplementedError

    def soft(self, x: Tensor) -> Tensor:
        """The function without steps, for pre-training in full precision."""
        raise NotImplementedError

    def levels(self) -> Levels:
        """Thresholds, code and values of `forward`."""
        raise NotImplementedError


class AbcActivations(ActivationQuantizer):
    """Rhat = sum_n beta_n A_n, A_n = +1 where R >= 0.5 - v_n else -1; beta_n (initially 1) and v_n are trained.

    `symmetric`: beta_n = beta_{N+1-n} in the order of v, as the mean of each pair, so that fewer planes have the same
    values (3 -> 2, 5 -> 3, 7 -> 4): `levels` gives those. Formula, gradients and source: `quantize.BinaryActivation`.
    """

    def __init__(self, v: tuple[float, ...], *, symmetric: bool = False):
        super().__init__()
        if not 1 <= len(v) <= MAX_PLANES:
            raise QuantizeError(f"N must be an integer in 1..{MAX_PLANES}, not {len(v)}")
        self.v = nn.Parameter(torch.tensor(v))
        self.beta = nn.Parameter(torch.ones(len(v)))
        self.symmetric = symmetric

    def effective_beta(self) -> Tensor:
        """beta as it is used, [N]."""
        if not self.symmetric:
            return self.beta
        order = torch.argsort(self.v.detach(), stable=True)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        ordered = self.beta[order]
        return ((ordered + ordered.flip(0)) / 2)[back]

    def forward(self, x: Tensor) -> Tensor:
        return BinaryActivation.apply(x, self.effective_beta(), self.v)

    def soft(self, x: Tensor) -> Tensor:
        return soft_activation(x, self.effective_beta(), self.v)

    def levels(self) -> Levels:
        v, beta = (t.detach().double().cpu().numpy() for t in (self.v, self.effective_beta()))
        order = np.argsort(-v, kind="stable")  # the plane with the largest v is the first to become +1
        if self.symmetric and len(v) % 2 and len(v) >= 3:
            signs, fewer = staircase(torch.from_numpy(beta[order]).unsqueeze(0))
            return Levels(0.5 - v[order], ((signs.numpy() + 1) // 2).astype(np.uint8), fewer[0].numpy())
        code = np.zeros((len(v) + 1, len(v)), np.uint8)
        for level in range(1, len(v) + 1):
            code[level, order[:level]] = 1
        return Levels(0.5 - v[order], code, beta)


class SignActivations(ActivationQuantizer):
    """Rhat = +1 where R >= 0 else -1: BNN and XNOR-Net.

    Gradient: dc/dR = dc/dRhat [|R| <= 1]. Source: Courbariaux et al., NIPS 2016, eq 4; Rastegari et al., ECCV 2016.
    XNOR-Net's map K of input scales is left out: it depends on the image at every pixel, and the paper finds that it
    adds less than one point (section 4.3).
    """

    def forward(self, x: Tensor) -> Tensor:
        return _Sign.apply(x)

    def soft(self, x: Tensor) -> Tensor:
        return x.clamp(-1, 1)

    def levels(self) -> Levels:
        return Levels(np.zeros(1), np.array([[0], [1]], np.uint8), np.ones(1))


class DorefaActivations(ActivationQuantizer):
    """Rhat = quantize_k(clip(R, 0, 1)), quantize_k(r) = round((2^k - 1) r) / (2^k - 1): DoReFa-Net.

    Gradient: dc/dR = dc/dRhat [0 <= R <= 1]. Source: Zhou et al., arXiv 1606.06160, eq 5 and section 2.4.
    """

    def __init__(self, bits: int = 4):
        super().__init__()
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        return _Even.apply(x, float((1 << self.bits) - 1))

    def soft(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    def levels(self) -> Levels:
        return Levels.binary(self.bits, 1.0)


class RealActivations(ActivationQuantizer):
    """Rhat = max(0, R): full-precision activations, on the accelerator 2^bits even levels from 0 to `peak`.

    `rounded`: Rhat is what the accelerator has, round(min(max(0, R), peak) / s) s with s = peak / (2^bits - 1);
    dc/dR = dc/dRhat [0 <= R <= peak]. Else Rhat and its gradient are exact. `peak`, a buffer, follows the largest value
    while training, so that nothing is cut off, and `sw.calibration` sets it to the largest one on images.
    """

    peak: Tensor

    def __init__(self, bits: int = MAX_PLANES, *, rounded: bool = False):
        super().__init__()
        self.bits, self.rounded = bits, rounded
        self.register_buffer("peak", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        real = self.soft(x)
        return _Rounded.apply(x, self.peak, float((1 << self.bits) - 1)) if self.rounded else real

    def soft(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        if self.training:
            with torch.no_grad():
                self.peak.copy_(torch.maximum(0.999 * self.peak, x.detach().max()))
        return x

    def levels(self) -> Levels:
        if not self.peak > 0:
            raise QuantizeError("full-precision activations must have seen images before they are exported: train, "
                                "or calibrate")
        return Levels.binary(self.bits, float(self.peak))


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * (x.abs() <= 1)


class _Even(torch.autograd.Function):
    """round(steps clip(x, 0, 1)) / steps, halves up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: float) -> Tensor:
        ctx.save_for_backward(x)
        return (x.clamp(0, 1) * steps + 0.5).floor() / steps

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ((x >= 0) & (x <= 1)), None


class _Rounded(torch.autograd.Function):
    """The nearest of `steps` + 1 even values from 0 to `peak`, halves up; max(0, x) while there is no peak."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, peak: Tensor, steps: float) -> Tensor:
        x = x.to(peak.dtype)
        ctx.save_for_backward(x, peak.clone())
        step = peak / steps
        return torch.where(peak > 0, (torch.minimum(x.clamp(min=0), peak) / step + 0.5).floor() * step, x.clamp(min=0))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, peak = ctx.saved_tensors
        return grads[0] * ((x >= 0) & ((x <= peak) | (peak <= 0))), None, None
