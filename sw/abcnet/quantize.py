"""Binary bases of weights and binary activations: formulas and straight-through gradients of the ABC-Net paper.

Equation numbers are those of the paper. Where it is ambiguous the choice is stated with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sw.errors import AbacusError

from .kernels import combine, nested_coefficients, step_gradients, steps, tally

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
    (eq 3) with the un-centred w and no intercept (`nested_coefficients`), with ridge where bases are dependent.
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
        rows, edges, alpha = self._solve(weight.detach())
        return sign(rows - edges.T.unsqueeze(2)).view(self.M, *weight.shape), alpha

    def approximate(self, weight: Tensor) -> Tensor:
        """What = sum_m alpha_m B_m, of weight's shape, with the straight-through gradient. alpha is solved anew."""
        rows, edges, alpha = self._solve(weight.detach())
        alpha = alpha.to(weight.dtype)
        slope = alpha.sum(1).view(-1, *[1] * (weight.dim() - 1))
        return _Straight.apply(weight, combine(rows, edges, alpha).view(weight.shape), slope)

    def _solve(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(centred weights [groups, K], edges [groups, M] above which base m is +1, alpha float64 [groups, M])."""
        rows = w.reshape(w.shape[0] if self.channelwise else 1, -1)
        count, mean = rows.shape[1], rows.mean(1, keepdim=True)
        rows = rows - mean
        deviation = torch.linalg.vector_norm(rows, dim=1, keepdim=True) / count**0.5
        edges = -torch.tensor(self.u, dtype=w.dtype, device=w.device) * deviation
        order = sorted(range(self.M), key=lambda m: -self.u[m])
        counts, sums = (values[:, order] for values in tally(rows, edges))
        sums += mean * counts
        counts = -_bracket(counts, torch.full_like(mean, count)).diff(dim=1)
        totals = -_bracket(sums, mean * count).diff(dim=1)
        alpha = torch.empty_like(sums)
        alpha[:, order] = nested_coefficients(counts, totals)
        dependent = (counts[:, 1:-1] == 0).any(1) | (counts[:, 0] + counts[:, -1] == 0)
        if dependent.any():
            bases = sign(rows[dependent] - edges[dependent].T.unsqueeze(2))
            alpha[dependent] = solve(bases, (rows + mean)[dependent])
        return rows, edges, alpha


def _bracket(above: Tensor, whole: Tensor) -> Tensor:
    """[groups, M] with `whole` [groups, 1] before and zero after."""
    return torch.cat([whole, above, torch.zeros_like(whole)], 1)


class _Straight(torch.autograd.Function):
    """`value` in place of `weight`; its gradient is weight's, times `slope`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.saved_tensors[0], None, None


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
        """x of any shape, beta and v [N]; result of x's shape. In the parameters' type, whatever autocast made of x."""
        x = x.to(beta.dtype)
        ctx.save_for_backward(x, beta, v)
        return steps(x, beta, v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, beta, v = ctx.saved_tensors
        return step_gradients(x, grads[0], beta, v)


def binarize(x: Tensor, v: Tensor | float) -> Tensor:
    """H_v: +1 where x >= 0.5 - v, else -1 (equality gives +1)."""
    return torch.where(x >= 0.5 - v, 1.0, -1.0).to(x.dtype)


def soft_activation(x: Tensor, beta: Tensor, v: Tensor) -> Tensor:
    """sum_n beta_n (2 clip(x + v_n, 0, 1) - 1): what H_v is a step of, used while pre-training in full precision."""
    return sum((b * (2 * (x + shift).clamp(0, 1) - 1) for b, shift in zip(beta, v, strict=True)), torch.zeros_like(x))


def staircase(factors: Tensor) -> tuple[Tensor, Tensor]:
    """Fewer planes for M nested ones with symmetric factors [groups, M], M odd and 3 or more, most often +1 first.

    Nested planes take M + 1 patterns, of values V_n = sum_{i<=n} c_i - sum_{i>n} c_i, n planes being +1, and
    V_n = -V_{M-n}. With h = (M + 1) / 2: all h planes +1 give the largest value; plane r = 1..h-1 alone at -1 gives the
    r-th positive value; the negative ones mirror. Returns (code int8 +-1 [M + 1, h] by n, factors [groups, h]).
    """
    M = factors.shape[1]
    h = (M + 1) // 2
    upper = torch.stack([factors[:, :n].sum(1) - factors[:, n:].sum(1) for n in range(h, M + 1)], 1)  # V_h .. V_M
    rest = (upper[:, -1:] - upper[:, :-1]) / 2
    code = torch.ones(h, h, dtype=torch.int8)
    for r in range(h - 1):
        code[r, r + 1] = -1
    return torch.cat([-code.flip(0), code]), torch.cat([upper[:, -1:] - rest.sum(1, keepdim=True), rest], 1)


def _planes(name: str, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_PLANES:
        raise QuantizeError(f"{name} must be an integer in 1..{MAX_PLANES}, not {count!r}")
