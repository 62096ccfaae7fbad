"""Layers, blocks and networks: one convolution for M x N, the paper's block order, and what cannot be built."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from sw.abcnet.layers import ABCConv2d, ABCLinear, Activation, Block, PositiveBatchNorm2d, set_binary
from sw.abcnet.models import MODELS, Architecture, BlockSpec, ModelError, architecture
from sw.abcnet.quantize import Bases, QuantizeError, binarize, default_u, default_v


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(11)


@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize(("M", "N"), [(1, 1), (2, 3), (3, 2)])
def test_one_convolution_is_the_sum_over_all_pairs_of_planes(M, N, channelwise):
    """Eq 12, with zero padding of the +-1 planes."""
    conv = ABCConv2d(4, 6, 3, Bases(default_u(M), channelwise), stride=2, padding=1)
    activation = Activation(default_v(N))
    with torch.no_grad():
        activation.beta.copy_(torch.rand(N) + 0.5)
    x = torch.randn(2, 4, 7, 7)
    bases, alpha = conv.bases.planes(conv.weight)
    total = sum(
        alpha[:, m].float().view(1, -1, 1, 1) * activation.beta[n]
        * F.conv2d(binarize(x, activation.v[n]), bases[m], stride=2, padding=1)
        for m in range(M) for n in range(N))
    assert torch.allclose(conv(activation(x)), total, atol=1e-4)


def test_forward_runs_one_convolution(monkeypatch):
    calls = []
    real = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *a, **k: calls.append(1) or real(*a, **k))
    block = Block(ABCConv2d(2, 2, 3, Bases(default_u(5))), default_v(5))
    block(torch.randn(2, 2, 6, 6)).sum().backward()
    assert len(calls) == 1


def test_block_order_is_conv_pool_norm_activation():
    block = Block(ABCConv2d(3, 5, 3, Bases(default_u(2)), padding=1), default_v(2), pool=2).eval()
    with torch.no_grad():
        block.norm.running_mean.uniform_(-1, 1)
        block.norm.bias.uniform_(-1, 1)
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(block(x), block.activation(block.norm(F.max_pool2d(block.conv(x), 2))))


def test_a_block_that_pools_has_a_positive_scale():
    block = Block(ABCConv2d(1, 2, 1, Bases()), (0.5,), pool=2)
    assert isinstance(block.norm, PositiveBatchNorm2d)
    with torch.no_grad():
        block.norm.weight.copy_(torch.tensor([-2.0, 3.0]))
    plain = torch.nn.BatchNorm2d(2)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([2.0, 3.0]))
    x = torch.randn(4, 2, 3, 3)
    assert torch.equal(block.norm(x), plain(x))
    assert torch.equal(block.norm.running_var, plain.running_var)
    assert torch.equal(block.norm.eval()(x), plain.eval()(x))


def test_full_precision_uses_the_weights_themselves():
    layer = ABCLinear(5, 3, Bases(default_u(2)))
    x = torch.randn(2, 5)
    binary = layer(x)
    set_binary(layer, False)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    set_binary(layer, True)
    assert torch.equal(layer(x), binary)


def test_every_parameter_learns():
    """A missing straight-through gradient shows as a parameter without one."""
    model = architecture("digits").build()
    images = torch.randint(0, 256, (16, 8, 8, 1), dtype=torch.uint8)
    F.cross_entropy(model(images), torch.arange(16) % 10).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("name", MODELS)
def test_networks_take_pixels_and_give_a_logit_per_class(name):
    model = architecture(name).build()
    images = torch.zeros(2, *model.architecture.image, dtype=torch.uint8)
    assert model(images).shape == (2, 10)
    assert Architecture.from_json(model.architecture.to_json()) == model.architecture


def test_planes_of_a_network_can_be_chosen():
    spec = architecture("digits", 5, 1, channelwise=True)
    assert (spec.u, spec.v, spec.channelwise) == (default_u(5), default_v(1), True)


def test_unknown_network_is_refused():
    with pytest.raises(ModelError, match="model must be one of digits, fashion, not 'alexnet'"):
        architecture("alexnet")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"blocks": [{"size": 3}]}'])
def test_text_that_is_no_architecture_is_refused(text):
    with pytest.raises(ModelError, match="architecture must be the JSON of an Architecture"):
        Architecture.from_json(text)


def test_a_map_that_vanishes_is_refused():
    spec = Architecture("x", (4, 4, 1), (BlockSpec(2, 3, pool=2), BlockSpec(2, 3)), 2, (0.0,), (0.5,))
    with pytest.raises(ModelError, match="block 1 must leave a map of 1 x 1 or more, not -1 x -1"):
        spec.build()


@pytest.mark.parametrize("v", [(), (0.1,) * 9])
def test_activation_counts_out_of_range_are_refused(v):
    with pytest.raises(QuantizeError, match="N must be an integer in 1..8"):
        Activation(v)


@pytest.mark.parametrize(("change", "message"), [
    ({"image": (8, 8)}, r"image must be rows, columns and channels, not \(8, 8\)"),
    ({"image": (8, 8, 0)}, "image size must be an integer in 1..4096, not 0"),
    ({"classes": 10**6}, "classes must be an integer in 1..65536, not 1000000"),
    ({"u": ("a",)}, "shifts u and v must be finite numbers, not 'a'"),
    ({"v": (float("inf"),)}, "shifts u and v must be finite numbers, not inf"),
])
def test_impossible_architectures_are_refused(change, message):
    with pytest.raises(ModelError, match=message):
        replace(architecture("digits"), **change)


def test_impossible_blocks_are_refused():
    with pytest.raises(ModelError, match="block stride must be an integer in 1..64, not 0"):
        BlockSpec(4, 3, stride=0)
