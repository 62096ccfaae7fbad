"""Schemes: every quantiser equals the planes it names, its gradient is the published one, settings are checked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sw.abcnet.activations import AbcActivations, DorefaActivations, RealActivations, SignActivations
from sw.abcnet.quantize import QuantizeError, default_u, default_v
from sw.abcnet.schemes import SCHEMES, Scheme, scheme
from sw.abcnet.weights import (
    AbcWeights,
    DorefaWeights,
    IntegerWeights,
    RealWeights,
    ScaledSignWeights,
    SignWeights,
    combine,
)

WEIGHTS = {
    "abc": lambda: AbcWeights(default_u(3)), "channelwise": lambda: AbcWeights(default_u(3), channelwise=True),
    "trained": lambda: AbcWeights(default_u(3), trained=True),
    "symmetric": lambda: AbcWeights(default_u(5), symmetric=True),
    "symmetric channelwise": lambda: AbcWeights(default_u(3), channelwise=True, symmetric=True),
    "bwn": ScaledSignWeights, "bnn": SignWeights, "dorefa": DorefaWeights, "dorefa 3": lambda: DorefaWeights(3),
    "integer": IntegerWeights, "integer 4": lambda: IntegerWeights(4),
}
ACTIVATIONS = {
    "abc": lambda: AbcActivations(default_v(3)), "symmetric": lambda: AbcActivations((0.1, 2.0, -1.0), symmetric=True),
    "sign": SignActivations, "dorefa": DorefaActivations, "dorefa 2": lambda: DorefaActivations(2),
}


def weight(seed=0):
    return torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(seed), requires_grad=True)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_the_sum_of_their_planes(name, seed):
    w, quantizer = weight(seed), WEIGHTS[name]()
    bases, alpha = quantizer.planes(w)
    assert bases.shape[1:] == w.shape
    assert set(bases.unique().tolist()) <= {-1.0, 1.0}
    assert alpha.dtype == torch.float64 and alpha.shape in ((1, len(bases)), (6, len(bases)))
    quantizer.eval()
    assert torch.allclose(quantizer(w), combine(bases, alpha), atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_the_values_of_their_levels(name):
    quantizer = ACTIVATIONS[name]()
    if hasattr(quantizer, "beta"):
        with torch.no_grad():
            quantizer.beta.copy_(torch.tensor([0.4, 1.1, 0.7]))
    x = torch.linspace(-4, 4, 1001)
    levels = quantizer.levels()
    assert np.all(np.diff(levels.thresholds) >= 0)
    level = (x.double().numpy()[:, None] >= levels.thresholds).sum(1)
    value = levels.offset + (2.0 * levels.code[level] - 1) @ levels.beta
    assert quantizer(x).tolist() == pytest.approx(value.tolist(), abs=1e-6)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_levels_of_full_precision_are_within_half_a_step_of_relu(bits):
    exact, rounded = RealActivations(bits), RealActivations(bits, rounded=True)
    x = torch.linspace(-1, 5, 700)
    assert torch.equal(exact(x), x.clamp_min(0))
    rounded(x)
    levels, steps = rounded.levels(), (1 << bits) - 1
    assert levels.even and levels.code.shape == (1 << bits, bits)
    level = (x.double().numpy()[:, None] >= levels.thresholds).sum(1)
    value = levels.offset + (2.0 * levels.code[level] - 1) @ levels.beta
    assert np.abs(value - x.clamp_min(0).numpy()).max() <= 5 / steps / 2 + 1e-6
    assert levels.floor == pytest.approx(0)
    assert rounded(x).numpy() == pytest.approx(value, abs=1e-6)


def test_rounding_cuts_off_at_its_peak_and_passes_gradients_below():
    quantizer = RealActivations(2, rounded=True).train()
    quantizer(torch.tensor([3.0]))
    x = torch.tensor([-1.0, 0.0, 0.4, 0.5, 1.6, 2.9, 3.1], requires_grad=True)
    y = quantizer.eval()(x)
    assert y.tolist() == [0, 0, 0, 1, 2, 3, 3]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_without_images_rounding_is_relu():
    quantizer = RealActivations(rounded=True).eval()
    x = torch.tensor([-1.0, 0.3, 7.0], requires_grad=True)
    y = quantizer(x)
    assert torch.equal(y, torch.relu(x))
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1]


def test_the_peak_is_seen_in_training_only():
    quantizer = RealActivations()
    quantizer.eval()(torch.tensor([3.0]))
    with pytest.raises(QuantizeError, match="must have seen images before they are exported"):
        quantizer.levels()
    quantizer.train()(torch.tensor([2.0]))
    quantizer.eval()(torch.tensor([9.0]))
    assert quantizer.peak == 2


def slope(quantizer, w):
    """Gradient of What with respect to W where dc/dWhat = 1."""
    quantizer(w).sum().backward()
    return w.grad


def test_gradient_of_scaled_signs():
    w = weight()
    alpha = w.detach().abs().mean((1, 2, 3), keepdim=True)
    expected = 1 / 36 + alpha * (w.detach().abs() <= 1)
    assert torch.allclose(slope(ScaledSignWeights(), w), expected)


def test_gradient_of_signs_and_their_bound():
    w = (2 * weight().detach()).requires_grad_()
    before = w.detach().clone()
    quantizer = SignWeights().eval()
    assert torch.equal(slope(quantizer, w), (before.abs() <= 1).float())
    assert torch.equal(w, before)
    quantizer.train()(w)
    assert torch.equal(w, before.clamp(-1, 1))


def test_gradient_of_dorefa_weights():
    assert torch.equal(slope(DorefaWeights(1), weight()), torch.ones(6, 4, 3, 3))
    w = weight()
    reference = w.detach().clone().requires_grad_()
    (2 * (reference.tanh() / (2 * reference.tanh().abs().max().detach()) + 0.5) - 1).sum().backward()
    assert torch.allclose(slope(DorefaWeights(2), w), reference.grad, atol=1e-6)


@pytest.mark.parametrize("quantizer", [RealWeights(), IntegerWeights()])
def test_gradient_of_integer_and_real_weights_is_one(quantizer):
    assert torch.equal(slope(quantizer, weight()), torch.ones(6, 4, 3, 3))


@pytest.mark.parametrize(("M", "trained"), [(1, False), (2, True), (3, False), (3, True), (5, False)])
def test_symmetric_factors_mirror(M, trained):
    quantizer = AbcWeights(default_u(M), symmetric=True, trained=trained)
    _, alpha = quantizer.factors(weight() + 0.4)
    assert torch.equal(alpha, alpha.flip(1))
    plain = AbcWeights(default_u(M))
    w = weight(3).detach()
    w = torch.cat([w, -w])  # symmetric weights need no constraint
    assert torch.allclose(quantizer.factors(w)[1], plain.planes(w)[1], atol=1e-4)


@pytest.mark.parametrize(("count", "fewer"), [(1, 1), (2, 2), (3, 2), (4, 4), (5, 3), (6, 6), (7, 4)])
def test_symmetric_planes_are_fewer_and_their_values_stay(count, fewer):
    quantizer = AbcWeights(default_u(count)[::-1], symmetric=True, channelwise=True)
    w = weight(5).detach()
    bases, alpha = quantizer.planes(w)
    assert len(bases) == fewer
    assert torch.allclose(combine(bases, alpha), combine(*quantizer.factors(w)), atol=1e-6)
    activation = AbcActivations(default_v(count)[::-1], symmetric=True)
    assert activation.levels().code.shape == (count + 1, fewer)


def test_symmetric_factors_are_the_best_mirrored_ones():
    w = weight(4).detach() + 0.3
    quantizer = AbcWeights(default_u(3), symmetric=True)
    bases, alpha = quantizer.factors(w)
    error = (w - combine(bases, alpha)).square().sum()
    for change in ([1e-2, 0, 1e-2], [0, 1e-2, 0], [-1e-2, 0, -1e-2], [0, -1e-2, 0]):
        assert (w - combine(bases, alpha + torch.tensor([change]))).square().sum() > error


def test_symmetric_activations_mirror_in_the_order_of_v():
    quantizer = AbcActivations((1.0, -1.0, 0.0), symmetric=True)
    with torch.no_grad():
        quantizer.beta.copy_(torch.tensor([1.0, 3.0, 7.0]))
    assert quantizer.effective_beta().tolist() == [2, 2, 7]
    quantizer(torch.linspace(-3, 3, 50)).square().sum().backward()
    assert quantizer.beta.grad[0] == quantizer.beta.grad[1] != 0


def test_trained_shifts_move_by_the_weights_near_their_thresholds():
    quantizer = AbcWeights((-1.0, 1.0), trained=True)
    w = torch.tensor([[-2.0, -1.2, -0.9, 0.1, 1.1, 2.9]])
    seen = torch.tensor([[1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0]])
    (quantizer(w) * seen).sum().backward()
    deviation = w.std(correction=0)
    alpha = quantizer.planes(w)[1][0].float()
    near = [((w + u * deviation).abs() <= deviation / 2).float() for u in (-1, 1)]
    expected = [(alpha[m] * deviation * (seen * near[m]).sum()).item() for m in range(2)]
    assert quantizer.u.grad.tolist() == pytest.approx(expected)
    assert all(n.sum() > 0 for n in near)


@pytest.mark.parametrize("name", SCHEMES)
def test_schemes_survive_json(name):
    made = scheme(name)
    assert Scheme.from_json(made.to_json()) == made
    assert str(made).startswith(name)


def test_labels():
    assert str(scheme("abc", M=3, N=5, symmetric=True)) == "abc 3x5 symmetric"
    assert str(scheme("abc-real", M=2, channelwise=True)) == "abc-real 2xFP channelwise"
    assert str(scheme("dorefa")) == "dorefa W1A4"


@pytest.mark.parametrize(("call", "message"), [
    (lambda: scheme("ternary"), "scheme must be one of abc, abc-real, bwn, bnn, xnor, dorefa, real, not 'ternary'"),
    (lambda: scheme("bnn", M=3), "option of scheme bnn must be one of none, not 'M'"),
    (lambda: scheme("abc-real", N=3), "option of scheme abc-real must be one of M, channelwise, .*, not 'N'"),
    (lambda: scheme("abc", M=9), "M must be an integer in 1..8, not 9"),
    (lambda: scheme("abc", N=0), "N must be an integer in 1..8, not 0"),
    (lambda: scheme("dorefa", activation_bits=9), "activation bits must be an integer in 1..8, not 9"),
    (lambda: replace(scheme("abc"), u=("a",)), "shifts u and v must be finite numbers, not 'a'"),
    (lambda: replace(scheme("abc"), v=(float("inf"),)), "shifts u and v must be finite numbers, not inf"),
    (lambda: replace(scheme("abc"), symmetric=1), "symmetric must be true or false, not 1"),
    (lambda: Scheme("abc"), "M must be an integer in 1..8, not 0"),
    (lambda: Scheme.from_json([]), "scheme must be the data of a Scheme"),
    (lambda: Scheme.from_json({"name": "abc", "w": 1}), "scheme must be the data of a Scheme"),
])
def test_impossible_schemes_are_refused(call, message):
    with pytest.raises(QuantizeError, match=message):
        call()
