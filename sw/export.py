"""Trained PyTorch network -> integer graph.

Coefficients become fixed-point integers on a common scale s, O_real = s O; everything after the sum is folded into
integer thresholds, exactly for those coefficients: with y = a O_real + b the batch normalisation, plane n is +1 where
y >= theta_n, that is where O >= ceil((theta_n - b) / (a s)) for a > 0. For a < 0 the channel's weight bits are
flipped, which negates O, and a with it. For a = 0 the plane is constant.

Activations that are binary numbers come from a binary search, whose steps fold the same (`fixed_point.search_steps`).

Values that shortcuts add need one unit q in the whole network: there a and s / q go into coefficients of each channel.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from hw.arch.config import IMAGE_PLANES, VALUE_BITS
from hw.arch.isa import Padding

from .abcnet.architecture import IMAGE as SOURCE
from .abcnet.architecture import BlockSpec, Network
from .abcnet.inference import logits as float_logits
from .abcnet.layers import Block, PositiveBatchNorm2d
from .abcnet.reference import reference
from .calibration import calibrate, fused, moments
from .errors import AbacusError
from .fixed_point import Moments, Planes, Sums, search_steps, sums, threshold
from .graph import Conv, Graph, Image
from .node import MAX_SHIFT, MAX_THRESHOLDS

COEFFICIENT_BITS = 12  # what the presets hold
MOST_BITS = 16  # the widest coefficients chosen by themselves
AGREEMENT = 0.999  # share of images whose class stays
SUM_BITS = 28  # sums of residual layers stay within, as in the presets
MARGIN = 1.5  # times the largest value seen in a shortcut that one must hold
DEVIATIONS = 8  # standard deviations of a normalised value that a shortcut must hold


class ExportError(AbacusError):
    """A network that has no integer graph; the message is one sentence."""


@dataclass(frozen=True)
class Agreement:
    """Float network against integer graph on one set of images. Deviation is in units of float logits.

    double_agreement: share of images whose class stays if the float network computes in float64. Thresholds pass on
    rounding errors as whole steps: where float32 itself moves classes, integers of any practical width move more.
    """

    images: int
    float_accuracy: float
    integer_accuracy: float
    argmax_agreement: float
    logit_deviation: float
    double_agreement: float

    def __str__(self) -> str:
        return (f"{self.images} images, float accuracy {self.float_accuracy:.4f}, "
                f"integer accuracy {self.integer_accuracy:.4f}, "
                f"argmax agreement {self.argmax_agreement:.4f} "
                f"(of float32 with float64 {self.double_agreement:.4f}), "
                f"largest logit deviation {self.logit_deviation:.4g}")


def export(model: Network, *, images: np.ndarray | None = None, classes: tuple[str, ...] | None = None,
           coefficient_bits: int | None = None, image_bits: int | None = None,
           metadata: dict[str, str] | None = None) -> Graph:
    """The integer graph of `model`, whose coefficients have at most `coefficient_bits` bits, signed.

    images: uint8 [B, H, W, C] like those that the network was trained on, a thousand or so. Rounding then spares what
    counts for them, and its mean effect is taken out of thresholds and biases (`fixed_point.sums`). The ranges of
    full-precision activations are set by them too, in `model` itself (`calibration.calibrate`).
    coefficient_bits: None takes the least from COEFFICIENT_BITS on with which the classes of AGREEMENT of the images
    stay, at most MOST_BITS, and the least without images. What was chosen, and how it agrees, is in the metadata.
    image_bits limits the first layer's a_i, whose coefficients are a_i 2^(7-j). The hardware fuses the planes and holds
    a_i 2^(N-1) at most, with N planes side by side: None is one bit less than the others, but not below 12, because
    presets with N = 2 hold 13 bits. `ExportError` when out of range.
    """
    for name, bits in (("coefficient_bits", coefficient_bits), ("image_bits", image_bits)):
        if bits is not None and not 2 <= bits <= 24:
            raise ExportError(f"{name} must be in 2..24, not {bits}")
    facts = dict(metadata or {})
    statistics: dict[str, Moments] = {}
    reach = 0.0
    if images is not None:
        reach = MARGIN * calibrate(model, images)
        statistics = moments(model, images)

    def graph_of(bits: int) -> Graph:
        return _graph(_Exporter(model, bits, image_bits or _image_bits(bits), statistics, reach), classes, facts)

    if coefficient_bits is not None or images is None:
        return graph_of(coefficient_bits or COEFFICIENT_BITS)
    real, shares = float_logits(model, images).argmax(1), []
    for bits in range(COEFFICIENT_BITS, MOST_BITS + 1):
        graph = graph_of(bits)
        share = float((reference(graph, images, keep=False).logits.argmax(1) == real).mean())
        shares.append(f"{share:.4f} with {bits} bits")
        if share >= AGREEMENT:
            break
    return replace(graph, metadata=graph.metadata | {"calibration": f"{len(images)} images agree {', '.join(shares)}"})


def _image_bits(bits: int) -> int:
    return bits if bits <= COEFFICIENT_BITS else bits - 1


def _graph(exporter: _Exporter, classes: tuple[str, ...] | None, facts: dict[str, str]) -> Graph:
    spec = exporter.architecture
    layers = tuple(exporter.layer(name) for name in spec.names)
    names = tuple(map(str, range(spec.classes))) if classes is None else classes
    widths = {"scheme": str(spec.scheme), "coefficient_bits": str(exporter.coefficient_bits),
              "image_coefficient_bits": str(exporter.image_bits), "sum_bits": str(sum_bits(layers))}
    return Graph(spec.name, Image(*spec.image), layers, names, exporter.scale, facts | widths)


def agreement(model: nn.Module, graph: Graph, images: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare the float network and the graph's exact integers on uint8 images [B, H, W, C] with labels [B]."""
    real, double = float_logits(model, images), float_logits(copy.deepcopy(model).double(), images)
    integer = reference(graph, images, keep=False).logits
    return Agreement(
        len(images), float((real.argmax(1) == labels).mean()), float((integer.argmax(1) == labels).mean()),
        float((real.argmax(1) == integer.argmax(1)).mean()), float(np.abs(real - integer * graph.scale).max()),
        float((real.argmax(1) == double.argmax(1)).mean()))


def sum_bits(layers: tuple[Conv, ...]) -> int:
    """Signed bits that hold every sum and threshold of `layers`."""
    steps = [int(np.abs(layer.thresholds).max()) for layer in layers if layer.search and layer.thresholds is not None]
    return max(*(layer.sum_bound() + 1 for layer in layers), *steps, 1).bit_length() + 1


class _Exporter:
    """Blocks of one network become layers, one after the other."""

    def __init__(self, model: Network, coefficient_bits: int, image_bits: int, statistics: dict[str, Moments],
                 reach: float):
        spec = self.architecture = model.architecture
        self.coefficient_bits, self.image_bits, self.moments = coefficient_bits, image_bits, statistics
        self.blocks = dict(zip(spec.names, model.block_list, strict=True))
        self.specs = dict(zip(spec.names, spec.blocks, strict=True))
        self.sources = dict(zip(spec.names, spec.sources, strict=True))
        self.scale = 1.0  # of the logits, known after the last layer
        self.unit = self._value_unit(reach)  # q: what 1 stands for in a shortcut

    def layer(self, name: str) -> Conv:
        """The layer of one block."""
        block, spec, source = self.blocks[name], self.specs[name], self.sources[name]
        planes = self._planes(source)
        planes = replace(planes, fused=source == SOURCE or fused(block, len(planes.beta)))
        bases, alpha = block.conv.quantizer.planes(block.conv.weight)
        bits, factors = (bases > 0).to(torch.uint8).cpu().numpy(), alpha.double().cpu().numpy()
        common: dict[str, Any] = {
            "name": name, "source": source, "stride": spec.stride, "padding": spec.padding, "pad": planes.pad,
            "pool": spec.pool, "pool_stride": spec.pool_stride or spec.pool, "pool_padding": spec.pool_padding,
            "average": block.average}
        slope, offset, mean = _normalisation(block)
        if name in self.architecture.kept or spec.add:
            return self._residual(common, block, spec, bits, factors, planes, slope, offset)
        made = sums(bits, factors, planes, self._width(source, planes), area=block.average**2,
                    common=block.activation is None, moments=self.moments.get(name))
        if block.activation is None:
            self.scale = float(made.slope[0])
            bias = np.rint((offset + made.offset) / self.scale + made.constant).astype(np.int64)
            return Conv(**common, weights=made.bits, coefficients=made.compact, bias=bias)
        if block.activation.levels().even:
            return self._search(common, block, planes, made, slope, offset, mean)
        return self._thresholds(common, block, made, slope, offset)

    def _planes(self, source: str) -> Planes:
        """What the tensor `source` stands for."""
        if source == SOURCE:
            # sum_j 2^(7-j) plane_j = 2x - 255, so x / 255 = 1/2 + that / 510. Outside, all planes are -1: x = 0.
            spec = self.architecture
            mean = np.array(spec.mean or [0.0] * spec.image[2])
            powers = 2.0 ** np.arange(IMAGE_PLANES - 1, -1, -1)
            return Planes(powers / 510 / spec.std, (0.5 - mean) / spec.std, Padding.LOW)
        activation = self.blocks[source].activation
        assert activation is not None
        levels = activation.levels()
        return Planes(levels.beta, np.array([levels.offset]), Padding.LOW if levels.offset else Padding.SKIP)

    def _width(self, source: str, planes: Planes) -> int:
        """Bits of the integers that are rounded: of planes that are fused, the last one's."""
        return self.image_bits if source == SOURCE else self.coefficient_bits

    def _thresholds(self, common: dict[str, Any], block: Block, made: Sums, slope: np.ndarray,
                    offset: np.ndarray) -> Conv:
        """A layer whose normalisation is in its thresholds."""
        thresholds, code = _levels(common["name"], block)
        made.flip(slope < 0)
        layer = Conv(**common, weights=made.bits, coefficients=made.compact,
                     thresholds=np.zeros((len(slope), len(thresholds)), np.int64), code=code)
        bound = layer.sum_bound()
        integers = [[threshold(theta - b - a * shift, a * scale, float(constant), bound) for theta in thresholds]
                    for a, b, scale, shift, constant in zip(
                        np.abs(slope), offset, made.slope, made.offset, made.constant, strict=True)]
        return Conv(**{**layer.__dict__, "thresholds": np.array(integers, np.int64)})

    def _search(self, common: dict[str, Any], block: Block, planes: Planes, made: Sums, slope: np.ndarray,
                offset: np.ndarray, mean: np.ndarray) -> Conv:
        """A layer whose normalisation is in the steps of its search; in sums as fine as they may be."""
        assert block.activation is not None
        levels = block.activation.levels()
        made.flip(slope < 0)
        draft = Conv(**common, weights=made.bits, coefficients=made.compact,
                     thresholds=np.zeros((len(slope), 1), np.int64), search=True)
        rounded = made.coefficients[..., -1] if planes.unit is not None else made.coefficients
        limit = (1 << (self._width(common["source"], planes) - 1)) - 1
        largest = max(1, int(np.abs(rounded).max()))
        made.scale(max(1, min(limit // largest, (1 << (SUM_BITS - 3)) // draft.sum_bound())))
        layer = replace(draft, coefficients=made.compact)
        step, bits = 2 * levels.beta[-1], levels.code.shape[1]
        thresholds = [
            search_steps(abs(a) * scale / step, (math.copysign(m, m * a) - shift) / scale - constant,
                         (a * m + b) / step, bits, layer.sum_bound(), SUM_BITS)
            for a, b, m, scale, shift, constant in zip(
                slope, offset, mean, made.slope, made.offset, made.constant, strict=True)]
        return replace(layer, thresholds=np.array(thresholds, np.int64))

    def _residual(self, common: dict[str, Any], block: Block, spec: BlockSpec, bits: np.ndarray, factors: np.ndarray,
                  planes: Planes, slope: np.ndarray, offset: np.ndarray) -> Conv:
        """A layer whose normalised sums lie on the grid of values."""
        flipped = slope < 0 if spec.pool > 1 else np.zeros(len(slope), bool)
        factors = np.where(flipped, -slope, slope)[:, None] * factors
        largest = np.abs(factors).max() * (planes.unit or np.abs(planes.beta).max()) / block.average**2
        limit = (1 << (self._width(common["source"], planes) - 1)) - 1
        # Values are rounded down, by half of a unit on average; not those that ReLU made zero, about half of them.
        half = (0.25 if self.specs[spec.add].rectify else 0.5) if spec.add else 0.0
        for shift in range(MAX_SHIFT, -1, -1):
            grid = self.unit / (1 << shift)
            if largest / grid > limit + 0.5 and shift:
                continue
            made = sums(bits, factors, planes, self._width(common["source"], planes), grid=grid, area=block.average**2,
                        moments=self.moments.get(common["name"]))
            made.flip(flipped)
            bias = np.rint(made.constant + (offset + made.offset) / grid + half * (1 << shift)).astype(np.int64)
            row, code = (None, None) if block.activation is None else self._row(common["name"], block, grid)
            layer = Conv(
                **common, weights=made.bits, coefficients=made.compact, bias=bias,
                thresholds=None if row is None else np.tile(row, (len(slope), 1)), code=code,
                search=row is not None and code is None, add=spec.add, shift=shift,
                keep=common["name"] in self.architecture.kept,
                rectify=common["name"] in self.architecture.kept and spec.rectify)
            if layer.sum_bound() < 1 << (SUM_BITS - 1) or not shift:
                return layer
        raise AssertionError("the last shift is always taken")

    def _row(self, name: str, block: Block, grid: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Thresholds int64 [t] and code of sums on a grid; steps of a search and None."""
        assert block.activation is not None
        levels = block.activation.levels()
        if not levels.even:
            thresholds, code = _levels(name, block)
            return np.ceil(thresholds / grid).astype(np.int64), code
        steps = search_steps(grid / (2 * levels.beta[-1]), 0.0, 0.0, levels.code.shape[1], 0, SUM_BITS)
        return np.array(steps, np.int64), None

    def _value_unit(self, known: float) -> float:
        """q such that values up to `known` fit VALUE_BITS; if that is 0, by the statistics of normalised values."""
        reach: dict[str, float] = {}
        for name, spec in self.specs.items():
            if name not in self.architecture.kept and not spec.add:
                continue
            norm = self.blocks[name].norm
            if norm is None:
                raise ExportError(f"block {name} must have a batch normalisation, as it is part of a shortcut")
            own = float((DEVIATIONS * norm.weight.abs() + norm.bias.abs()).detach().max())
            reach[name] = own + (reach[spec.add] if spec.add else 0.0)
        return (known or max(reach.values(), default=1.0)) / ((1 << (VALUE_BITS - 1)) - 1)


def _levels(name: str, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds float64 [t] and code of a block's activation."""
    assert block.activation is not None
    levels = block.activation.levels()
    if len(levels.thresholds) > MAX_THRESHOLDS:
        raise ExportError(f"block {name} must have activations of at most {MAX_THRESHOLDS + 1} levels, "
                          f"not {len(levels.thresholds) + 1}")
    return levels.thresholds, levels.code


def _normalisation(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a and b [co] of y = a O_real + b, the convolution's bias included, and the mean of O_real."""
    norm, conv = block.norm, block.conv
    bias = np.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().double().cpu().numpy()
    if norm is None:
        return np.ones(conv.out_channels), bias, np.zeros(conv.out_channels)
    weight = norm.weight.abs() if isinstance(norm, PositiveBatchNorm2d) else norm.weight
    gamma, shift, mean, variance = (
        t.detach().double().cpu().numpy()
        for t in (weight, norm.bias, norm.running_mean, norm.running_var) if t is not None)
    scale = gamma / np.sqrt(variance + norm.eps)
    return scale, shift + scale * (bias - mean), mean - bias
