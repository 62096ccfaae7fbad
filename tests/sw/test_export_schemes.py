"""Every scheme, on a network with everything in it: the graph computes what the float network does."""

import numpy as np
import pytest
import torch

from hw.arch.isa import Padding
from sw import data
from sw.abcnet.architecture import Architecture, BlockSpec, head
from sw.abcnet.reference import reference
from sw.abcnet.schemes import SCHEMES, scheme
from sw.calibration import calibrate, moments
from sw.export import COEFFICIENT_BITS, ExportError, export
from sw.fixed_point import Planes, sums

# Pool with padding, normalisation before a pool, identity and projected shortcuts, average pool.
BLOCKS = (
    BlockSpec(6, 3, padding=1, pool=3, pool_stride=2, pool_padding=1, name="stem", norm="before"),
    BlockSpec(6, 3, padding=1, name="one"),
    BlockSpec(6, 3, padding=1, name="two", add="stem"),
    BlockSpec(8, 1, stride=2, name="short", source="two", activate=False, rectify=False),
    BlockSpec(8, 3, stride=2, padding=1, name="three", source="two", add="short", rectify=False),
    BlockSpec(8, 1, name="four", add="three"),
    head(4, average=0),
)


def network(using, blocks=BLOCKS, seed=0, **options):
    """Random statistics, normalisation scales of both signs, in float64."""
    torch.manual_seed(seed)
    model = Architecture("x", (12, 12, 2), blocks, using, **options).build()
    with torch.no_grad():
        for block in model.block_list:
            if block.norm is not None:
                block.norm.running_mean.normal_(0, 0.3)
                block.norm.running_var.uniform_(0.5, 2)
                block.norm.weight.normal_(0, 1)
                block.norm.bias.normal_(0, 0.3)
    return model.double().eval()


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 2), dtype=np.uint8)


def float_logits(model, images):
    with torch.no_grad():
        return model(torch.tensor(images)).numpy()


class Rounded(torch.nn.Module):
    """A full-precision activation as the accelerator has it."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer
        self.levels = quantizer.levels

    def forward(self, x):
        levels = self.levels()
        level = (x.unsqueeze(-1) >= torch.from_numpy(levels.thresholds)).sum(-1)
        return torch.from_numpy(levels.offset + (2.0 * levels.code - 1) @ levels.beta)[level]


def as_on_hardware(model, images):
    """The float network with 8-bit activations and 8-bit weights where it has real ones."""
    if any(hasattr(block.activation, "peak") for block in model.block_list):
        calibrate(model, images)
        for block in model.block_list:
            block.activation = None if block.activation is None else Rounded(block.activation)
    for block in model.block_list:
        if type(block.conv.quantizer).__name__ == "RealWeights":
            bases, alpha = block.conv.quantizer.planes(block.conv.weight)
            with torch.no_grad():
                block.conv.weight.copy_((alpha.T.reshape(len(bases), -1, 1, 1, 1) * bases).sum(0))
    return model


OPTIONS = [{}, {"channelwise": True, "trained": True}, {"symmetric": True}]
ALL = [(name, {}) for name in SCHEMES] + [("abc", options) for options in OPTIONS[1:]]


@pytest.mark.parametrize("with_images", [False, True])
@pytest.mark.parametrize(("name", "options"), ALL)
def test_wide_coefficients_give_the_float_logits(name, options, with_images):
    """But for sums next to a threshold, which the 16-bit grid of shortcuts carries across now and then."""
    images = pixels(40)
    model = as_on_hardware(network(scheme(name, **options)), images)
    graph = export(model, images=images if with_images else None, coefficient_bits=24, image_bits=16)
    integer = reference(graph, images, keep=False).logits * graph.scale
    real = float_logits(model, images)
    deviation = np.abs(real - integer).max(1) / np.ptp(real)
    assert np.quantile(deviation, 0.7) < 0.01
    assert (real.argmax(1) == integer.argmax(1)).mean() >= 0.95


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "least"), [("abc", 0.9), ("abc-real", 0.998), ("real", 0.998)])
def test_shipped_widths_hold_residual_networks(name, least, seed):
    """Logits follow the float ones where sums and shortcuts reach far: statistics as training leaves them, far from 0
    and 1, on real images. Steps of thresholds scatter those of ABC-Nets, a saturated shortcut those of all.
    """
    images = np.asarray(data.load("digits").test_images[:150])
    blocks = (*(BlockSpec(8, 3, padding=1, name=name, add=add) for name, add in (("a", ""), ("b", ""), ("c", "a"))),
              BlockSpec(16, 1, stride=2, name="short", source="c", activate=False),
              BlockSpec(16, 3, stride=2, padding=1, name="d", source="c"),
              BlockSpec(16, 3, padding=1, name="e", add="short", rectify=False),
              BlockSpec(16, 3, padding=1, name="f"), BlockSpec(16, 3, padding=1, add="e"), head(10))
    torch.manual_seed(seed)
    model = Architecture("x", (8, 8, 1), blocks, scheme(name)).build()
    with torch.no_grad():
        for block in model.block_list:
            block.conv.weight.mul_(20)
            if block.norm is not None:
                block.norm.weight.uniform_(0.3, 2)
                block.norm.bias.normal_()
                block.norm.momentum = None
        model(torch.tensor(images))
    graph = export(model, images=images[:100], coefficient_bits=COEFFICIENT_BITS)
    real, integer = float_logits(model, images), reference(graph, images, keep=False).logits
    real, integer = real - real.mean(0), integer - integer.mean(0)
    assert np.corrcoef(real.ravel(), integer.ravel())[0, 1] >= least


@pytest.mark.parametrize("norm", ["before", "after"])
@pytest.mark.parametrize("residual", [False, True])
def test_negative_scale_before_a_pool_flips_the_channels_weights(norm, residual):
    """max of -O is what the flipped weights make; `after` holds scales positive by itself."""
    blocks = (BlockSpec(5, 3, pool=2, name="a", norm=norm), BlockSpec(5, 1, name="b", add="a" if residual else ""),
              head(3, average=0))
    model = network(scheme("abc"), blocks)
    with torch.no_grad():
        model.blocks["a"].norm.weight.copy_(torch.tensor([-1.0, 1.0, -0.5, 2.0, -3.0]))
    graph = export(model, coefficient_bits=24, image_bits=18)
    bits = model.blocks["a"].conv.quantizer.planes(model.blocks["a"].conv.weight)[0].numpy() > 0
    flipped = [c for c in range(5) if not np.array_equal(graph.layers[0].weights[:, c], bits[:, c])]
    assert flipped == ([0, 2, 4] if norm == "before" else [])
    images = pixels(30)
    deviation = np.abs(float_logits(model, images) - reference(graph, images, keep=False).logits * graph.scale).max(1)
    assert np.quantile(deviation, 0.8) < 1e-3


def test_image_statistics_are_in_the_first_layer():
    model = network(scheme("abc"), (BlockSpec(6, 3, padding=1), head(3)), mean=(0.4, 0.6), std=0.25)
    graph = export(model, coefficient_bits=20, image_bits=20)
    images = pixels(30)
    deviation = np.abs(float_logits(model, images) - reference(graph, images, keep=False).logits * graph.scale).max(1)
    assert np.quantile(deviation, 0.8) < 1e-3


def test_coefficients_and_sums_use_their_bits_and_no_more():
    """Residual layers take shifts of the grid, so they use at least a quarter of the range; the image's a_i as well."""
    first, *rest = export(network(scheme("abc", M=5, N=5)), images=pixels(20)).layers
    for layer, largest in ((first, first.coefficients[..., -1]), *((layer, layer.coefficients) for layer in rest)):
        assert 1 << 9 <= np.abs(largest).max() < 1 << 11, layer.name
        assert layer.sum_bound() < 1 << 27, layer.name


def test_one_by_one_planes_are_plain_counts():
    graph = export(network(scheme("bnn"), (BlockSpec(4, 3), BlockSpec(4, 3), head(3))))
    assert graph.layers[0].coefficients.tolist() == [[128, 64, 32, 16, 8, 4, 2, 1]]
    assert graph.layers[1].coefficients.tolist() == [[1]]


def test_shortcut_without_normalisation_is_refused():
    blocks = (BlockSpec(4, 3, padding=1, name="a", norm="none"), BlockSpec(4, 1, add="a"), head(3))
    with pytest.raises(ExportError, match="block a must have a batch normalisation, as it is part of a shortcut"):
        export(network(scheme("abc"), blocks))


def test_rounding_by_images_disturbs_their_sums_less():
    """The real sums of a layer against its integers, with and without statistics."""
    model, images = network(scheme("abc", channelwise=True), (BlockSpec(6, 3), BlockSpec(8, 3), head(3))), pixels(60)
    error = {}
    for key, given in (("without", None), ("with", images)):
        graph = export(model, images=given, coefficient_bits=8, image_bits=8)
        integer = reference(graph, images, keep=False).logits * graph.scale
        error[key] = np.abs(float_logits(model, images) - integer).mean()
    assert error["with"] < 0.8 * error["without"]


def test_moments_are_those_of_the_planes_sums():
    model, images = network(scheme("abc", M=2, N=2), (BlockSpec(3, 3), BlockSpec(4, 3), head(3))), pixels(20)
    model = model.float()
    found = moments(model, images)["block1"]
    first, second, _ = model.block_list
    value = next(v for name, _, v in model.steps(torch.tensor(images)) if name == "block0")
    levels = first.activation.levels()
    level = (value.detach().double().unsqueeze(-1) >= torch.from_numpy(levels.thresholds)).sum(-1)
    planes = torch.from_numpy(levels.code * 2.0 - 1)[level]
    bases = second.conv.quantizer.planes(second.conv.weight)[0].double()
    sums = torch.stack([torch.nn.functional.conv2d(planes[..., j], bases[i]) for i in range(2) for j in range(2)])
    flat = sums.permute(2, 0, 1, 3, 4).flatten(2).numpy()
    assert found.mean == pytest.approx(flat.mean(2), abs=1e-6)
    for channel in range(4):
        assert found.covariance[channel] == pytest.approx(np.cov(flat[channel], bias=True), abs=1e-6)


def test_ranges_reach_to_the_largest_values_and_shortcuts_too():
    model, images = network(scheme("abc-real", M=2)), pixels(30)
    reach = calibrate(model, images)
    with torch.no_grad():
        values = {name: value for name, _, value in model.steps(torch.tensor(images))}
    for name, block in model.blocks.items():
        if block.activation is not None:
            assert float(block.activation.peak) == pytest.approx(float(values[name].max()), rel=0.05)
    assert reach == pytest.approx(max(float(values[name].abs().max()) for name in model.architecture.kept), rel=0.05)
    assert calibrate(network(scheme("bnn"), (BlockSpec(4, 3), head(3))), images) == 0


def test_planes_too_many_for_one_accumulation_keep_zero_and_mean():
    """Coefficients of seven bits err; where the input is zero, and in the mean of the images, the levels do not."""
    blocks = (BlockSpec(12, 3, padding=1), BlockSpec(16, 3, padding=1), head(3))
    model, images = network(scheme("abc-real", M=3), blocks).float(), pixels(80)
    graph = export(model, images=images, coefficient_bits=7, image_bits=12)
    middle, found = graph.layers[1], moments(model, images)["block1"]
    assert not np.array_equal(middle.coefficients[..., :-1], 2 * middle.coefficients[..., 1:])
    assert found.covariance is None and found.mean.shape == (16, 3 * 8)
    with torch.no_grad():
        values = {name: value.double().numpy() for name, _, value in model.steps(torch.tensor(images))}["block1"]
    levels = model.blocks["block1"].activation.levels()
    real = (values[..., None] >= levels.thresholds).sum(-1)
    error = reference(graph, images).levels["block1"].astype(int) - real
    assert np.abs(error).max() > 1
    assert np.abs(error.mean((0, 2, 3))).max() < 0.5

    planes = Planes(2.0 ** np.arange(7, -1, -1) / 2, np.array([127.5]), Padding.LOW, fused=False)
    bits = np.random.default_rng(1).integers(0, 2, (3, 5, 4, 3, 3)).astype(np.uint8)
    made = sums(bits, np.array([[0.31, 0.22, 0.13]]), planes, 7)
    nothing = -(made.coefficients[0].sum(1) * (2.0 * bits - 1).sum((2, 3, 4)).T).sum(1)
    assert (nothing + made.constant).tolist() == [0] * 5
