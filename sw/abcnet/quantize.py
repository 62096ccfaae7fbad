"""Binary bases of weights and binary activations: formulas and straight-through gradients of the ABC-Net paper.

Equation numbers are those of the paper. Where it is ambiguous the choice is stated with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sw.errors import AbacusError

MAX_PLANES = 8
RIDGE = 1e-3
RANK_TOLERANCE = 1e-5  # least eigenvalue of the Gram matrix, whose diagonal is 1


class QuantizeError(AbacusError):
    """Impossible quantiser settings; the message is one sentence."""


def sign(x: Tensor) -> Tensor:
    """+1 where x > 0 and -1 elsewhere, zero included (section 5.1; torch.sign would give 0 there)."""
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype)


def default_u(M: int) -> tuple[float, ...]:
    """Shifts u_i = -1 + 2(i - 1)/(M - 1), evenly over one standard deviation; (0,) for M = 1, as in table S4."""
    _planes("M", M)
    return (0.0,) if M == 1 else tuple(-1.0 + 2.0 * i / (M - 1) for i in range(M))


def default_v(N: int) -> tuple[float, ...]:
    """Initial activation shifts: thresholds 0.5 - v even and symmetric about 0, one apart where the derivative allows.

    Batch normalisation makes the input N(0, 1), and the straight-through window of every threshold is one wide, so
    neighbours one apart cover the input without gap. Two thresholds stand at +-0.6, the best of a three-level
    quantiser. All differ: equal v and beta get equal gradients and would stay tied for ever.
    """
    _planes("N", N)
    step = 1.2 if N == 2 else min(1.0, 4.0 / N)
    return tuple(0.5 + step * (n - (N - 1) / 2) for n in range(N))


@dataclass(frozen=True)
class Bases:
    """Weights as a linear combination of binary bases: W ~ sum_m alpha_m B_m (eq 1).

    B_m = sign(W - mean(W) + u_m std(W)) (eq 2) with the population standard deviation; alpha = argmin ||w - B a||^2
    (eq 3) with the un-centred w and no intercept, plus a ridge term where the bases are linearly dependent.
    Mean, deviation and alpha are those of the whole layer, or of each output channel when `channelwise`
    (section 3.1.2, where alpha gets a row per channel).

    Gradient (eq 7 with d B/d W = 1 and alpha constant): dc/dW = sum_m dc/dB_m = (sum_m alpha_m) dc/dWhat, one factor
    alpha; the printed form has it twice if dO/dB_m is read literally.
    """

    u: tuple[float, ...] = (0.0,)
    channelwise: bool = False

    def __post_init__(self) -> None:
        _planes("M", len(self.u))
        if not all(-100 <= u <= 100 for u in self.u):
            raise QuantizeError(f"u must be within -100..100, not {self.u}")

    @property
    def M(self) -> int:
        return len(self.u)

    def planes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(B [M, *weight.shape] of +-1, alpha float64 [groups, M]); groups is 1 or the output channels."""
        w = weight.detach()
        rows = w.reshape(w.shape[0] if self.channelwise else 1, -1)
        u = torch.tensor(self.u, dtype=w.dtype, device=w.device).view(-1, 1, 1)
        bases = sign(rows - rows.mean(1, keepdim=True) + u * rows.std(1, keepdim=True, correction=0))
        return bases.view(self.M, *w.shape), solve(bases, rows)

    def approximate(self, weight: Tensor) -> Tensor:
        """What = sum_m alpha_m B_m, of weight's shape, with the straight-through gradient. alpha is solved anew."""
        bases, alpha = self.planes(weight)
        groups = alpha.to(weight.dtype).T.reshape(self.M, -1, *[1] * (weight.dim() - 1))
        value, slope = (groups * bases).sum(0), groups.sum(0)
        return value + slope * (weight - weight.detach())


def solve(bases: Tensor, rows: Tensor) -> Tensor:
    """Least squares: alpha float64 [groups, M] minimising |rows_g - sum_m alpha_gm bases_mg|^2.

    bases [M, groups, K], rows [groups, K]. A group whose bases are linearly dependent is solved with ridge.
    """
    gram = torch.einsum("mgk,lgk->gml", bases, bases).double() / rows.shape[1]
    moment = torch.einsum("mgk,gk->gm", bases, rows).double() / rows.shape[1]
    dependent = torch.linalg.eigvalsh(gram)[:, :1, None] < RANK_TOLERANCE
    ridge = torch.where(dependent, RIDGE, 0.0) * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram + ridge, moment.unsqueeze(-1)).squeeze(-1)


class BinaryActivation(torch.autograd.Function):
    """R ~ sum_n beta_n A_n with A_n = H_{v_n}(R) = +1 where R >= 0.5 - v_n, else -1 (eq 8, 9, 11).

    Gradients, with g = dc/dRhat and I_n = [0 <= R + v_n <= 1], the support of clip(R + v_n, 0, 1):
    dc/dR = sum_n beta_n g I_n;  dc/dbeta_n = sum g A_n;  dc/dv_n = beta_n sum g I_n.
    The paper prints the window as 0 <= R - v <= 1 (eq 10), which would not contain the threshold.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: Tensor, v: Tensor) -> Tensor:
        """x of any shape, beta and v [N]; result of x's shape."""
        ctx.save_for_backward(x, beta, v)
        out = torch.zeros_like(x)
        for b, shift in zip(beta, v, strict=True):
            out += b * binarize(x, shift)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, beta, v = ctx.saved_tensors
        (grad,) = grads
        total, grad_beta, grad_v = torch.zeros_like(x), [], []
        for b, shift in zip(beta, v, strict=True):
            h = x + shift
            inside = grad * ((h >= 0) & (h <= 1))
            total += b * inside
            grad_v.append(b * inside.sum())
            grad_beta.append((grad * binarize(x, shift)).sum())
        return total, torch.stack(grad_beta), torch.stack(grad_v)


def binarize(x: Tensor, v: Tensor | float) -> Tensor:
    """H_v: +1 where x >= 0.5 - v, else -1 (equality gives +1)."""
    return torch.where(x >= 0.5 - v, 1.0, -1.0).to(x.dtype)


def soft_activation(x: Tensor, beta: Tensor, v: Tensor) -> Tensor:
    """sum_n beta_n (2 clip(x + v_n, 0, 1) - 1): what H_v is a step of, used while pre-training in full precision."""
    return sum((b * (2 * (x + shift).clamp(0, 1) - 1) for b, shift in zip(beta, v, strict=True)), torch.zeros_like(x))


def _planes(name: str, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_PLANES:
        raise QuantizeError(f"{name} must be an integer in 1..{MAX_PLANES}, not {count!r}")
