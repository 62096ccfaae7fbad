"""Kernels in pieces against the formulas written out, for sizes around a piece."""

import pytest
import torch

from sw.abcnet import kernels
from sw.abcnet.kernels import combine, nested_coefficients, step_gradients, steps, tally


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(kernels, "piece", lambda device: 32)


@pytest.mark.parametrize("N", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_activation(N, count):
    generator = torch.Generator().manual_seed(N * 100 + count)
    x, grad = torch.randn(2, count, generator=generator, dtype=torch.float64)
    beta, v = torch.rand(2, N, generator=generator, dtype=torch.float64)
    signs = torch.where(x >= 0.5 - v[:, None], 1.0, -1.0).double()
    inside = ((x + v[:, None] >= 0) & (x + v[:, None] <= 1)).double()
    assert torch.allclose(steps(x, beta, v), beta @ signs)
    dx, dbeta, dv = step_gradients(x, grad, beta, v)
    assert torch.allclose(dx, grad * (beta @ inside))
    assert torch.allclose(dbeta, signs @ grad)
    assert torch.allclose(dv, beta * (inside @ grad))


def test_activation_keeps_the_shape_of_strided_maps():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).permute(0, 3, 1, 2)
    beta, v = torch.tensor([1.0, 0.5]), torch.tensor([0.1, 0.9])
    expected = sum(b * torch.where(x >= 0.5 - s, 1.0, -1.0) for b, s in zip(beta, v, strict=True))
    assert torch.equal(steps(x, beta, v), expected)


@pytest.mark.parametrize("M", [1, 3, 5])
@pytest.mark.parametrize(("groups", "count"), [(1, 31), (1, 100), (5, 7), (3, 33), (2, 100)])
def test_weights(M, groups, count):
    generator = torch.Generator().manual_seed(M * 1000 + count)
    rows = torch.randn(groups, count, generator=generator, dtype=torch.float64)
    edges, alpha = torch.randn(2, groups, M, generator=generator, dtype=torch.float64)
    above = (rows[:, None] > edges[:, :, None]).double()
    counts, sums = tally(rows, edges)
    assert torch.equal(counts, above.sum(2))
    assert torch.allclose(sums, (above * rows[:, None]).sum(2))
    assert torch.allclose(combine(rows, edges, alpha), (alpha[:, :, None] * (2 * above - 1)).sum(1))


def test_coefficients_by_hand():
    """Cells -5, (-1, 1), 2, 3 and 3: outer values +-(3 + 3 + 5) / 3, then 0 and 2 between."""
    alpha = nested_coefficients(torch.tensor([[1.0, 2.0, 1.0, 2.0]]), torch.tensor([[-5.0, 0.0, 2.0, 6.0]]))
    a = 11 / 3
    assert alpha.tolist() == [pytest.approx([a / 2, 1.0, (a - 2) / 2])]
