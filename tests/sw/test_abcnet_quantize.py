"""Weight bases and binary activations: known numbers, gradients, and the failures that other implementations show."""

import math

import numpy as np
import pytest
import torch

from sw.abcnet.quantize import (
    Bases,
    BinaryActivation,
    QuantizeError,
    binarize,
    default_u,
    default_v,
    sign,
    soft_activation,
    solve,
)


def gaussian(count=200_000):
    """N(0, 1) without chance: its quantiles at the middles of `count` equal shares."""
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return math.sqrt(2) * torch.erfinv(2 * shares - 1)


@pytest.mark.parametrize(("u", "error"), [
    ((0.0,), 0.603), ((-1.0, 1.0), 0.512), ((-1.0, 0.0, 1.0), 0.343), (default_u(4), 0.297), (default_u(5), 0.278),
    ((-2.0, -1.0, 0.0, 1.0, 2.0), 0.282), ((-1.5, -0.75, 0.0, 0.75, 1.5), 0.243)])
def test_error_on_a_gaussian(u, error):
    w = gaussian()
    assert (w - Bases(u).approximate(w)).square().mean().sqrt().item() == pytest.approx(error, abs=6e-4)


@pytest.mark.parametrize(("u", "alpha"), [
    ((0.0,), [0.798]), ((-1.0, 0.0, 1.0), [0.533, 0.460, 0.533]), (default_u(5), [0.395, 0.245, 0.245, 0.245, 0.395])])
def test_alpha_of_a_gaussian(u, alpha):
    assert Bases(u).planes(gaussian())[1].squeeze(0).tolist() == pytest.approx(alpha, abs=6e-4)


def test_condition_of_five_bases():
    bases, _ = Bases(default_u(5)).planes(gaussian())
    assert torch.linalg.cond(bases.T).item() == pytest.approx(3.6, abs=0.05)


def test_sign_of_zero_is_minus_one():
    assert sign(torch.tensor([-2.0, -0.0, 0.0, 1e-30])).tolist() == [-1, -1, -1, 1]


def test_bases_by_hand():
    """mean 1, population deviation sqrt(2.5): w - mean + u std > 0."""
    bases, _ = Bases((-1.0, 0.0, 1.0)).planes(torch.tensor([1.0, 3.0, 1.0, -1.0, 2.0, 0.0]))
    assert bases.tolist() == [[-1, 1, -1, -1, -1, -1], [-1, 1, -1, -1, 1, -1], [1, 1, 1, -1, 1, 1]]


@pytest.mark.parametrize("M", range(1, 9))
@pytest.mark.parametrize("channelwise", [False, True])
def test_alpha_is_the_least_squares_solution_without_intercept(M, channelwise):
    w = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(M)) + 0.3
    bases, alpha = Bases(default_u(M), channelwise).planes(w)
    groups = 6 if channelwise else 1
    assert bases.shape == (M, 6, 3, 3, 3)
    assert alpha.shape == (groups, M)
    for g in range(groups):
        columns = bases.reshape(M, groups, -1)[:, g].T.double().numpy()
        if np.linalg.matrix_rank(columns) == M:
            best = np.linalg.lstsq(columns, w.reshape(groups, -1)[g].double().numpy(), rcond=None)[0]
            assert alpha[g].tolist() == pytest.approx(best.tolist(), rel=1e-4, abs=1e-6)


def test_one_basis_needs_no_division():
    assert default_u(1) == (0.0,)
    w = torch.tensor([0.5, -0.25, 1.0, -1.25])
    assert Bases(default_u(1)).approximate(w).tolist() == [0.75, -0.75, 0.75, -0.75]


@pytest.mark.parametrize("M", [2, 3, 5, 8])
def test_dependent_bases_are_solved_with_ridge(M):
    """Weights of two values make all bases equal; equal weights make them all -1."""
    for w in (torch.tensor([1.0, -1.0] * 8), torch.full((16,), 0.5)):
        bases = Bases(tuple(0.1 * i for i in range(M)))
        alpha = bases.planes(w)[1]
        assert torch.isfinite(alpha).all()
        assert alpha.max() - alpha.min() < 1e-9
        assert bases.approximate(w).tolist() == pytest.approx(w.tolist(), abs=2e-3)


def test_ridge_leaves_independent_bases_alone():
    bases = torch.tensor([[[1.0, 1.0, -1.0, -1.0]], [[1.0, -1.0, 1.0, -1.0]]])
    assert solve(bases, torch.tensor([[5.0, 1.0, -1.0, -5.0]])).tolist() == [[3.0, 2.0]]


@pytest.mark.parametrize("channelwise", [False, True])
def test_weight_gradient_has_one_factor_alpha(channelwise):
    w = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    bases = Bases(default_u(3), channelwise)
    seen = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(2))
    (bases.approximate(w) * seen).sum().backward()
    total = bases.planes(w)[1].sum(1).float().view(-1, 1, 1, 1)
    assert torch.allclose(w.grad, total * seen)


def test_alpha_is_solved_in_every_forward_pass():
    w = torch.randn(64, generator=torch.Generator().manual_seed(0))
    bases = Bases(default_u(3))
    assert torch.allclose(bases.approximate(2 * w), 2 * bases.approximate(w))


@pytest.mark.parametrize(("N", "v"), [(1, (0.5,)), (2, (-0.1, 1.1)), (3, (-0.5, 0.5, 1.5))])
def test_default_shifts_put_thresholds_symmetric_about_zero(N, v):
    assert default_v(N) == pytest.approx(v)


@pytest.mark.parametrize("N", range(1, 9))
def test_default_shifts_are_not_tied(N):
    assert len(set(default_v(N))) == N


def test_activation_by_hand():
    """v = 0 and -1 put the thresholds at 0.5 and 1.5, equality included."""
    x = torch.tensor([-1.0, 0.49, 0.5, 1.0, 1.5, 2.0])
    out = BinaryActivation.apply(x, torch.tensor([1.0, 10.0]), torch.tensor([0.0, -1.0]))
    assert out.tolist() == [-11, -11, -9, -9, 11, 11]


def test_activation_gradients_by_hand():
    """Windows 0 <= x + v <= 1 hold their threshold: [0, 1] for v = 0, [1, 2] for v = -1, both ends included."""
    x = torch.tensor([-0.01, 0.0, 0.5, 1.0, 1.5, 2.0, 2.01], requires_grad=True)
    beta, v = torch.tensor([2.0, 30.0], requires_grad=True), torch.tensor([0.0, -1.0], requires_grad=True)
    seen = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    (BinaryActivation.apply(x, beta, v) * seen).sum().backward()
    assert x.grad.tolist() == [0, 2 * 2, 2 * 3, 32 * 4, 30 * 5, 30 * 6, 0]
    assert v.grad.tolist() == [2 * (2 + 3 + 4), 30 * (4 + 5 + 6)]
    assert beta.grad.tolist() == [-1 - 2 + 3 + 4 + 5 + 6 + 7, -1 - 2 - 3 - 4 + 5 + 6 + 7]


def test_tied_shifts_get_equal_gradients():
    """Why initial v must differ: activations with equal v and beta could never part."""
    x = torch.randn(50, generator=torch.Generator().manual_seed(3))
    beta, v = torch.ones(2, requires_grad=True), torch.full((2,), 0.2, requires_grad=True)
    (BinaryActivation.apply(x, beta, v) * x.exp()).sum().backward()
    assert v.grad[0] == v.grad[1] != 0
    assert beta.grad[0] == beta.grad[1] != 0


def test_soft_activation_meets_the_binary_one_far_from_thresholds():
    x, beta, v = torch.tensor([-9.0, 9.0]), torch.tensor([1.0, 0.5]), torch.tensor([-0.5, 1.5])
    assert soft_activation(x, beta, v).tolist() == BinaryActivation.apply(x, beta, v).tolist() == [-1.5, 1.5]
    assert soft_activation(torch.tensor([0.5 - 1.5]), beta[1:], v[1:]).tolist() == [0.0]


def test_binarize_takes_equality_as_plus_one():
    assert binarize(torch.tensor([0.25, 0.26]), 0.25).tolist() == [1, 1]
    assert binarize(torch.tensor([0.24]), 0.25).tolist() == [-1]


@pytest.mark.parametrize("count", [0, 9, 1.5, True])
def test_plane_counts_out_of_range_are_refused(count):
    with pytest.raises(QuantizeError, match=f"M must be an integer in 1..8, not {count}"):
        default_u(count)
    with pytest.raises(QuantizeError, match=f"N must be an integer in 1..8, not {count}"):
        default_v(count)


def test_shifts_out_of_range_are_refused():
    with pytest.raises(QuantizeError, match=r"M must be an integer in 1..8, not 0"):
        Bases(())
    with pytest.raises(QuantizeError, match=r"u must be within -100..100, not \(nan,\)"):
        Bases((math.nan,))
