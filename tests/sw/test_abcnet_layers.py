"""Layers, blocks and networks: one convolution for M x N, the paper's block order, and what cannot be built."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from sw.abcnet.activations import AbcActivations
from sw.abcnet.architecture import Architecture, BlockSpec, ModelError, head
from sw.abcnet.layers import Block, PositiveBatchNorm2d, QuantConv2d, set_binary
from sw.abcnet.models import MODELS, architecture
from sw.abcnet.quantize import binarize, default_u, default_v
from sw.abcnet.schemes import SCHEMES, scheme
from sw.abcnet.weights import AbcWeights


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(11)


def small(blocks, using=None, image=(8, 8, 1), **options):
    return Architecture("x", image, blocks, using or scheme("abc", M=2, N=2), **options)


@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize(("M", "N"), [(1, 1), (2, 3), (3, 2)])
def test_one_convolution_is_the_sum_over_all_pairs_of_planes(M, N, channelwise):
    """Eq 12, with zero padding of the +-1 planes."""
    conv = QuantConv2d(4, 6, 3, AbcWeights(default_u(M), channelwise=channelwise), stride=2, padding=1)
    activation = AbcActivations(default_v(N))
    with torch.no_grad():
        activation.beta.copy_(torch.rand(N) + 0.5)
    x = torch.randn(2, 4, 7, 7)
    bases, alpha = conv.quantizer.planes(conv.weight)
    total = sum(
        alpha[:, m].float().view(1, -1, 1, 1) * activation.beta[n]
        * F.conv2d(binarize(x, activation.v[n]), bases[m], stride=2, padding=1)
        for m in range(M) for n in range(N))
    assert torch.allclose(conv(activation(x)), total, atol=1e-4)


def test_forward_runs_one_convolution(monkeypatch):
    calls = []
    real = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *a, **k: calls.append(1) or real(*a, **k))
    block = Block(QuantConv2d(2, 2, 3, AbcWeights(default_u(5))), AbcActivations(default_v(5)))
    block(torch.randn(2, 2, 6, 6)).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize("norm", ["after", "before"])
def test_block_order(norm):
    block = Block(QuantConv2d(3, 5, 3, AbcWeights(default_u(2)), padding=1), AbcActivations(default_v(2)), pool=2,
                  norm=norm).eval()
    with torch.no_grad():
        block.norm.running_mean.uniform_(-1, 1)
        block.norm.weight.uniform_(-1, 1)
        block.norm.bias.uniform_(-1, 1)
    x = torch.randn(2, 3, 6, 6)
    order = [block.norm, lambda x: F.max_pool2d(x, 2)] if norm == "before" else [
        lambda x: F.max_pool2d(x, 2), block.norm]
    assert torch.equal(block(x), block.activation(order[1](order[0](block.conv(x)))))
    assert isinstance(block.norm, PositiveBatchNorm2d) == (norm == "after")


def test_a_block_that_pools_first_has_a_positive_scale():
    block = Block(QuantConv2d(1, 2, 1, AbcWeights((0.0,))), AbcActivations((0.5,)), pool=2)
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
    layer = QuantConv2d(5, 3, 1, AbcWeights(default_u(2)), bias=True)
    x = torch.randn(2, 5, 1, 1)
    binary = layer(x)
    set_binary(layer, False)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias))
    set_binary(layer, True)
    assert torch.equal(layer(x), binary)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_parameter_of_every_scheme_learns(name):
    """A missing straight-through gradient shows as a parameter without one. Residual, projection, pools, average."""
    blocks = (BlockSpec(6, 3, padding=1, pool=3, pool_stride=2, pool_padding=1, name="stem"),
              BlockSpec(8, 3, padding=1), BlockSpec(8, 1, name="short", source="stem", activate=False),
              BlockSpec(8, 3, padding=1, source="block1", add="short"), head(10, average=0))
    model = small(blocks, scheme(name)).build()
    images = torch.randint(0, 256, (16, 8, 8, 1), dtype=torch.uint8)
    F.cross_entropy(model(images), torch.arange(16) % 10).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().max() > 0, parameter


@pytest.mark.parametrize("name", [name for name in MODELS if name != "resnet50"])
def test_networks_take_pixels_and_give_a_logit_per_class(name):
    """The large ones on a smaller image, which changes no layer."""
    spec = architecture(name, classes=7, image=(64, 64, 3) if name in ("resnet18", "resnet34") else None)
    model = spec.build().eval()
    assert model(torch.zeros(2, *spec.image, dtype=torch.uint8)).shape == (2, 7)
    assert Architecture.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(("name", "parameters"), [
    ("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)])
def test_the_large_networks_have_their_published_sizes(name, parameters):
    """With 224 x 224 images; ours trains N shifts and N factors besides, at every activation."""
    spec = architecture(name, scheme("real"))
    assert spec.maps()["stem"][:3] == (56, 56, 64)
    with torch.device("meta"):
        assert sum(p.numel() for p in spec.build().parameters()) == parameters


def test_shortcut_adds_the_real_value_through_relu():
    blocks = (BlockSpec(4, 3, padding=1, name="stem"), BlockSpec(4, 3, padding=1, add="stem"), head(2, average=0))
    model = small(blocks).build().eval()
    stem, second, last = model.block_list
    images = torch.randint(0, 256, (3, 8, 8, 1), dtype=torch.uint8)
    value = stem.value(F.pad(images.permute(0, 3, 1, 2), (1,) * 4).float() / 255)
    inner = second.activate(second.value(stem.activate(value)) + F.relu(value))
    assert torch.allclose(model(images), last(inner).flatten(1), atol=1e-6)


def test_the_image_is_padded_with_black_and_then_normalised():
    model = small((BlockSpec(3, 3, padding=1), head(2)), mean=(0.4,), std=0.5).build().eval()
    images = torch.randint(0, 256, (2, 8, 8, 1), dtype=torch.uint8)
    padded = (F.pad(images.permute(0, 3, 1, 2).float(), (1,) * 4) / 255 - 0.4) / 0.5
    first, last = model.block_list
    assert torch.allclose(model(images), last(first(padded)).flatten(1), atol=1e-5)


def test_the_image_is_not_binarised():
    """The least bit of one pixel counts in every channel of the first layer."""
    model = architecture("digits").build().eval()
    images = torch.full((2, 8, 8, 1), 100, dtype=torch.uint8)
    images[1, 4, 4] = 101
    first = model.block_list[0]
    value = next(value for _, _, value in model.steps(images))
    scale = (first.norm.weight / (first.norm.running_var + first.norm.eps).sqrt()).view(-1, 1, 1)
    alpha = first.conv.quantizer(first.conv.weight)[:, 0, 1, 1].view(-1, 1, 1)
    assert torch.allclose((value[1] - value[0])[:, 4:5, 4:5], scale * alpha / 255, atol=1e-5)


def test_wide_ends_have_eight_planes():
    model = architecture("digits", wide=True).build()
    counts = [len(block.conv.quantizer.planes(block.conv.weight)[0]) for block in model.block_list]
    assert counts == [8, 2, 2, 8]


def test_unknown_network_is_refused():
    with pytest.raises(ModelError, match="model must be one of digits, fashion, .*, not 'alexnet'"):
        architecture("alexnet")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"blocks": [{"size": 3}]}'])
def test_text_that_is_no_architecture_is_refused(text):
    with pytest.raises(ModelError, match="architecture must be the JSON of an Architecture"):
        Architecture.from_json(text)


@pytest.mark.parametrize(("blocks", "message"), [
    ((BlockSpec(2, 3, pool=2), BlockSpec(2, 7), head(2)), "block block1 must leave a map of 1 x 1 or more, not -3 x"),
    ((BlockSpec(2, 3), BlockSpec(2, 3)), "the last block must have no activation"),
    ((), "the last block must have no activation"),
    ((BlockSpec(2, 3, name="a"), BlockSpec(2, 3, name="a"), head(2)), "block names must differ, but 'a' appears twice"),
    ((BlockSpec(2, 3), BlockSpec(2, 3, source="b"), head(2)), "block block1 must read an earlier block .*, not 'b'"),
    ((BlockSpec(2, 3), BlockSpec(2, 3, source="image"), head(2)), "must read an earlier block .*, not 'image'"),
    ((BlockSpec(2, 3), BlockSpec(2, 3, add="block0"), head(2)),
     r"block block1 must add an earlier block with an output of \(4, 4, 2\), not 'block0'"),
    ((BlockSpec(2, 3), replace(head(2), kernel=1)), "block head, the last, must have a 1 x 1 map and no shortcut"),
])
def test_blocks_that_do_not_fit_together_are_refused(blocks, message):
    with pytest.raises(ModelError, match=message):
        small(blocks)


@pytest.mark.parametrize(("change", "message"), [
    ({"image": (8, 8)}, r"image must be rows, columns and channels, not \(8, 8\)"),
    ({"image": (8, 8, 0)}, "image size must be an integer in 1..4096, not 0"),
    ({"mean": (0.5, 0.5)}, "image must have a mean for each of its 1 channels and a positive std"),
    ({"std": float("inf")}, "image mean and std must be finite numbers, not inf"),
])
def test_impossible_architectures_are_refused(change, message):
    with pytest.raises(ModelError, match=message):
        replace(architecture("digits"), **change)


@pytest.mark.parametrize(("options", "message"), [
    ({"stride": 0}, "block stride must be an integer in 1..64, not 0"),
    ({"name": "a.b"}, "block names must be 1 to 64 letters, digits and '_', not 'a.b'"),
    ({"norm": "layer"}, "block norm must be one of after, before, none, not 'layer'"),
    ({"wide": 1}, "block wide must be true or false, not 1"),
    ({"average": 2, "padding": 1}, "block padding must be 0 after an average pool, not 1"),
    ({"pool": 2, "pool_padding": 2}, "block pool_padding must be less than its pool of 2, not 2"),
])
def test_impossible_blocks_are_refused(options, message):
    with pytest.raises(ModelError, match=message):
        BlockSpec(4, 3, **options)
