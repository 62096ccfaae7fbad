"""From float network to integers: folding is exact, and what rounding does is bounded and reported."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from hw.arch import numerics
from hw.arch.isa import Padding
from sw import data
from sw.abcnet.architecture import Architecture, BlockSpec, head
from sw.abcnet.reference import reference
from sw.abcnet.schemes import scheme
from sw.export import ExportError, agreement, export, sum_bits
from sw.fixed_point import Moments, _settled, fixed_point, search_steps, threshold

BLOCKS = (BlockSpec(4, 3, padding=1), BlockSpec(6, 3, stride=2, padding=1, pool=2), BlockSpec(5, 0))


def network(M, N, *, channelwise=False, seed=0, blocks=BLOCKS):
    """A network with random statistics; normalisation scales of both signs (and one zero) where there is no pool."""
    torch.manual_seed(seed)
    using = scheme("abc", M=M, N=N, channelwise=channelwise)
    model = Architecture("x", (9, 8, 2), (*blocks, head(3)), using).build()
    with torch.no_grad():
        for block in model.block_list[:-1]:
            block.norm.running_mean.normal_(0, 0.3)
            block.norm.running_var.uniform_(0.5, 2)
            block.norm.weight.normal_(0, 1)
            block.norm.bias.normal_(0, 0.3)
            block.activation.beta.uniform_(0.3, 1.2)
            block.activation.v.add_(torch.randn(N) * 0.3)
        if blocks:
            model.block_list[0].norm.weight[1] = 0
    return model.double().eval()


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 9, 8, 2), dtype=np.uint8)


def float_logits(model, pixels):
    """Forward pass in float64, where the only difference left is the rounding of coefficients."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            return model(torch.tensor(pixels)).numpy()
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize(("M", "N"), [(1, 1), (2, 2), (3, 3), (2, 5)])
def test_wide_coefficients_give_the_float_logits(M, N, channelwise):
    """Both signs of the normalisation scale, a zero one, padding, stride, pool: all folded."""
    model = network(M, N, channelwise=channelwise, seed=M)
    graph = export(model, coefficient_bits=24, image_bits=24)
    pixels = images(20)
    integer = reference(graph, pixels, keep=False).logits * graph.scale
    assert np.abs(float_logits(model, pixels) - integer).max() < 1e-4


def test_shipped_widths_stay_close_and_within_their_bits():
    model = network(3, 3, seed=4)
    graph = export(model)
    first, *rest = graph.layers
    assert np.abs(first.coefficients[:, -1]).max() < 1 << 11
    assert all(np.abs(layer.coefficients).max() < 1 << 11 for layer in rest)
    assert (graph.metadata["coefficient_bits"], graph.metadata["image_coefficient_bits"]) == ("12", "12")
    assert graph.metadata["scheme"] == "abc 3x3"
    pixels = images(200)
    report = agreement(model.float(), graph, pixels, np.zeros(200, np.int64))
    assert report.images == 200
    assert report.argmax_agreement >= 0.97
    assert "200 images, float accuracy" in str(report)
    assert 0.97 <= report.double_agreement <= 1
    assert f"(of float32 with float64 {report.double_agreement:.4f})" in str(report)
    assert model.block_list[0].conv.weight.dtype == torch.float32
    assert agreement(model.double(), graph, pixels, np.zeros(200, np.int64)).double_agreement == 1


def test_agreement_counts():
    """A network that always says 2 against a graph that says 1 for bright images."""
    model = network(1, 1, blocks=())
    with torch.no_grad():
        model.blocks["head"].conv.weight.zero_()
        model.blocks["head"].conv.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    graph = export(model.float())
    labels = np.array([2, 2, 1, 0])
    report = agreement(model, graph, images(4), labels)
    assert (report.float_accuracy, report.integer_accuracy, report.argmax_agreement) == (0.5, 0.5, 1.0)
    other = network(1, 1, blocks=()).float()
    with torch.no_grad():
        other.blocks["head"].conv.weight.zero_()
        other.blocks["head"].conv.bias.copy_(torch.tensor([0.0, 3.0, 2.0]))
    report = agreement(other, graph, images(4), labels)
    assert (report.float_accuracy, report.argmax_agreement) == (0.25, 0.0)
    assert report.logit_deviation == pytest.approx(2.0, abs=0.01)


def test_shape_of_the_graph():
    graph = export(network(2, 3), classes=("a", "b", "c"), metadata={"seed": "0"})
    first, second, third, head = graph.layers
    assert [layer.source for layer in graph.layers] == ["image", "block0", "block1", "block2"]
    assert (first.pad, second.pad) == (Padding.LOW, Padding.SKIP)
    assert (second.stride, second.padding, second.pool, second.pool_stride) == (2, 1, 2, 2)
    assert np.array_equal(first.coefficients, first.coefficients[:, -1:] << np.arange(7, -1, -1))
    assert third.kernel == (2, 2)
    assert head.bias is not None
    assert graph.classes == ("a", "b", "c")
    assert int(graph.metadata["sum_bits"]) == sum_bits(graph.layers)


def test_code_is_a_thermometer_in_the_order_of_v():
    model = network(1, 3)
    with torch.no_grad():
        model.block_list[0].activation.v.copy_(torch.tensor([0.0, 2.0, 1.0]))
    assert export(model).layers[0].code.tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]]


def test_negative_scale_flips_the_channels_weights():
    model = network(2, 1, seed=1)
    before = export(model).layers[0]
    with torch.no_grad():
        model.block_list[0].norm.weight.neg_()
    after = export(model).layers[0]
    assert np.array_equal(before.weights[:, [0, 2, 3]], 1 - after.weights[:, [0, 2, 3]])
    assert np.array_equal(before.weights[:, 1], after.weights[:, 1])  # scale 0 has no sign


@pytest.mark.parametrize("options", [{"coefficient_bits": 1}, {"coefficient_bits": 25}, {"image_bits": 0}])
def test_widths_out_of_range_are_refused(options):
    with pytest.raises(ExportError, match=r"_bits must be in 2..24, not "):
        export(network(1, 1), **options)


@pytest.mark.parametrize("seed", range(5))
def test_threshold_is_the_least_integer_that_reaches_the_target(seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        target, slope = float(rng.normal()), float(rng.uniform(0.001, 0.3))
        constant, bound = int(rng.integers(-50, 51)), 400
        limit = threshold(target, slope, constant, bound)
        for value in {-bound, bound, min(limit, bound), max(limit - 1, -bound)}:
            assert (value >= limit) == (Fraction(slope) * (value + constant) >= Fraction(target))


def test_threshold_of_a_constant_channel():
    assert threshold(0.0, 0.0, 5, 10) == threshold(-0.1, 0.0, 5, 10) == -10
    assert threshold(0.1, 0.0, 5, 10) == 11
    assert threshold(1e300, 1e-300, 0, 10) == 11


@pytest.mark.parametrize("width", [2, 8, 12, 24])
def test_fixed_point_uses_its_bits_and_is_near(width):
    values = np.random.default_rng(width).normal(size=(3, 3))
    integers, scale = fixed_point(values, width)
    assert (1 << (width - 2)) <= np.abs(integers).max() < 1 << (width - 1)
    assert np.abs(values - integers * scale).max() <= scale / 2 * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_integers_settle_where_correlated_terms_err_least(seed):
    """Terms that all follow one: errors of opposite sign cancel, which plain rounding leaves to chance."""
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=(5, 9, 400)) + 3 * rng.normal(size=(5, 1, 400))
    values, covariance = rng.uniform(-127, 127, (5, 9)), np.array([np.cov(channel, bias=True) for channel in terms])
    settled = _settled(values, 8, Moments(terms.mean(2), covariance))
    assert np.abs(settled).max() <= 127
    assert np.abs(settled - values).max() < 2
    error = {name: np.einsum("ck,ckl,cl->c", made - values, covariance, made - values)
             for name, made in (("rounded", np.rint(values)), ("settled", settled))}
    assert np.all(error["settled"] <= error["rounded"])
    assert error["settled"].mean() < 0.5 * error["rounded"].mean()


def test_fixed_point_finds_a_common_grid():
    values = np.array([0.9, 0.6, -0.3])
    for fine, expected in ((False, [3, 2, -1]), (True, [6, 4, -2])):
        integers, scale = fixed_point(values, 4, fine=fine)
        assert integers.tolist() == expected
        assert (integers * scale).tolist() == pytest.approx(values)
    assert fixed_point(np.zeros((1, 2)), 4) == (pytest.approx(np.zeros((1, 2))), 1.0)


def test_digits_network_is_the_same_in_integers():
    """Untrained, but on real pixels: nothing depends on training."""
    torch.manual_seed(5)
    pixels = data.load("digits").test_images
    blocks = (BlockSpec(4, 3, padding=1, pool=2), head(10))
    model = Architecture("d", (8, 8, 1), blocks, scheme("abc", M=2, N=2)).build()
    graph = export(model.eval(), coefficient_bits=16, image_bits=16)
    report = agreement(model, graph, pixels, np.zeros(len(pixels), np.int64))
    assert report.argmax_agreement >= 0.995
    assert math.isfinite(report.logit_deviation)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_search_steps_are_rounding(bits, seed):
    """level = round(level at the centre + slope (O - centre)), held to its bits; rounded steps err by a few sums."""
    rng = np.random.default_rng(seed)
    bound, top = 100_000, (1 << bits) - 1
    slope, centre, level = rng.uniform(0.3, 2) * top / 50_000, rng.uniform(-5e4, 5e4), rng.uniform(-0.2, 1) * top
    steps = search_steps(slope, centre, level, bits, bound, 28)
    assert len(steps) == bits and all(abs(step) < 1 << 27 for step in steps)
    for value in rng.integers(-bound, bound + 1, 2000).tolist():
        found = numerics.pack(numerics.search(value, steps)[::-1])
        lowest, highest = (min(max(math.floor(level + slope * (value + error - centre) + 0.5), 0), top)
                           for error in (-bits / 2 - 1, bits / 2 + 1))
        assert lowest <= found <= highest


@pytest.mark.parametrize(("level", "expected"), [(-3.0, 0), (77.2, 77), (1e9, 255)])
@pytest.mark.parametrize("slope", [0.0, 1e-12])
def test_channels_that_hardly_move_keep_their_level(slope, level, expected):
    steps = search_steps(slope, 1000.0, level, 8, 1 << 20, 28)
    assert max(map(abs, steps)) < 1 << 27
    for value in (-9000, 1000, 11_000):
        assert abs(numerics.pack(numerics.search(value, steps)[::-1]) - expected) <= (0 if expected in (0, 255) else 1)
