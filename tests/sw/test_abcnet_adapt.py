"""Activations placed by images: the best even levels of ReLU, and statistics of the quantised network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sw.abcnet.adapt import adapt
from sw.abcnet.layers import set_binary
from sw.abcnet.models import architecture
from sw.abcnet.schemes import scheme


def network(using, seed=0):
    torch.manual_seed(seed)
    return replace(architecture("digits", using), relu=True).build()


def pixels(count, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1)).astype(np.uint8)


@pytest.mark.parametrize("planes", [1, 3, 5])
def test_levels_follow_relu(planes):
    model, images = network(scheme("abc", M=3, N=planes)), pixels(200)
    set_binary(model, False)
    model.eval()
    with torch.no_grad():
        real = {name: value for name, _, value in model.steps(torch.tensor(images))}
    adapt(model, images)
    for name, block in model.blocks.items():
        if block.activation is None:
            continue
        levels = block.activation.levels()
        step = 2 * levels.beta[0]
        np.testing.assert_allclose(levels.beta, step / 2, rtol=1e-6)
        np.testing.assert_allclose(levels.thresholds, (np.arange(planes) + 0.5) * step, rtol=1e-4)
        value = real[name]
        with torch.no_grad():
            error = float((block.activation(value) + block.activation.beta.sum() - F.relu(value)).square().mean())
            for factor in (0.8, 1.25):
                other = float(((F.relu(value) / (factor * step)).round().clamp(max=planes) * factor * step
                               - F.relu(value)).square().mean())
                assert error < 1.02 * other


def test_statistics_are_those_of_the_quantised_network():
    """One batch: in evaluation mode the network then gives what it gave in training mode."""
    model, images = network(scheme("abc", M=3, N=3)), pixels(128)
    momenta = [norm.momentum for norm in model.modules() if isinstance(norm, torch.nn.BatchNorm2d)]
    adapt(model, images)
    assert model.training
    assert momenta == [norm.momentum for norm in model.modules() if isinstance(norm, torch.nn.BatchNorm2d)]
    batch = torch.tensor(images)
    with torch.no_grad():
        training = model(batch).argmax(1)
        same = (model.eval()(batch).argmax(1) == training).float().mean()
    assert float(same) > 0.9  # not all: evaluation takes the unbiased variance


def test_other_activations_stay():
    model = network(scheme("dorefa"))
    adapt(model, pixels(64))
    assert model.blocks["block0"].activation.levels().thresholds[0] == pytest.approx(0.5 / 15)


@pytest.mark.parametrize("seed", [0, 1])
def test_full_precision_stays_as_it_is(seed):
    """Whatever statistics its normalisations have, of a channel of zeros too: with them a shortcut may only select."""
    model, images = network(scheme("real"), seed), pixels(128)
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.weight.uniform_(-2, 2)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.2, 5)
        model.blocks["block1"].conv.weight[:4] = 0
        batch = torch.tensor(images)
        before = model.eval()(batch)
        adapt(model, images)
        after = model.eval()(batch)
    assert float((after - before).abs().max()) < 0.05 * float(before.std())  # evaluation takes the unbiased variance
