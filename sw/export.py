"""Trained PyTorch network -> integer graph.

Coefficients become fixed-point integers on a common scale s, O_real = s O; everything after the sum is folded into
integer thresholds, exactly for those coefficients: with y = a O_real + b the batch normalisation, plane n is +1 where
y >= 0.5 - v_n, that is where O >= ceil((0.5 - v_n - b) / (a s)) for a > 0. For a < 0 the channel's weight bits are
flipped, which negates O, and a with it. For a = 0 the plane is constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hw.arch.config import IMAGE_PLANES
from hw.arch.isa import Padding

from .abcnet.inference import logits as float_logits
from .abcnet.layers import ABCConv2d, ABCLinear, Block, PositiveBatchNorm2d
from .abcnet.models import Network
from .abcnet.reference import reference
from .errors import AbacusError
from .graph import IMAGE, Conv, Graph, Image

COEFFICIENT_BITS = 12
# Width of an image layer's integers a_i. Its coefficients are a_i 2^(7-j), but the hardware fuses the planes and only
# holds a_i 2^(N-1) at most, N the activation planes it has side by side.
IMAGE_COEFFICIENT_BITS = 11
SCALES = 4096  # candidates for the common scale of a layer's coefficients


class ExportError(AbacusError):
    """A network that has no integer graph; the message is one sentence."""


@dataclass(frozen=True)
class Agreement:
    """Float network against integer graph on one set of images. Deviation is in units of float logits."""

    images: int
    float_accuracy: float
    integer_accuracy: float
    argmax_agreement: float
    logit_deviation: float

    def __str__(self) -> str:
        return (f"{self.images} images, float accuracy {self.float_accuracy:.4f}, "
                f"integer accuracy {self.integer_accuracy:.4f}, "
                f"argmax agreement {self.argmax_agreement:.4f}, largest logit deviation {self.logit_deviation:.4g}")


def export(model: Network, *, classes: tuple[str, ...] | None = None, coefficient_bits: int = COEFFICIENT_BITS,
           image_bits: int = IMAGE_COEFFICIENT_BITS, metadata: dict[str, str] | None = None) -> Graph:
    """The integer graph of `model`, whose coefficients have at most `coefficient_bits` bits, signed.

    `image_bits` limits the first layer's a_i, whose coefficients are a_i 2^(7-j). `ExportError` when out of range.
    """
    for name, bits in (("coefficient_bits", coefficient_bits), ("image_bits", image_bits)):
        if not 2 <= bits <= 24:
            raise ExportError(f"{name} must be in 2..24, not {bits}")
    spec = model.architecture
    shape = spec.image
    layers: list[Conv] = []
    beta = None
    for index, block in enumerate(model.block_list):
        weights, alpha = _planes(block.conv, block.conv.weight)
        sums = _Sums(weights, alpha, beta, image_bits if beta is None else coefficient_bits)
        layer = _threshold_layer(f"block{index}", layers, block, sums)
        layers.append(layer)
        shape = layer.output(shape[0], shape[1])[2:5]
        beta = block.activation.beta.detach().double().numpy()
    head, scale = _head(layers, model.head, shape, beta, coefficient_bits if layers else image_bits)
    layers.append(head)
    names = tuple(map(str, range(spec.classes))) if classes is None else classes
    widths = {"coefficient_bits": str(coefficient_bits), "image_coefficient_bits": str(image_bits),
              "sum_bits": str(sum_bits(layers))}
    return Graph(spec.name, Image(*spec.image), tuple(layers), names, scale, (metadata or {}) | widths)


def agreement(model: nn.Module, graph: Graph, images: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare the float network and the graph's exact integers on uint8 images [B, H, W, C] with labels [B]."""
    real = float_logits(model, images)
    integer = reference(graph, images, keep=False).logits
    return Agreement(
        len(images), float((real.argmax(1) == labels).mean()), float((integer.argmax(1) == labels).mean()),
        float((real.argmax(1) == integer.argmax(1)).mean()), float(np.abs(real - integer * graph.scale).max()))


def sum_bits(layers: list[Conv]) -> int:
    """Signed bits that hold every sum and threshold of `layers`."""
    return max(layer.sum_bound() + 1 for layer in layers).bit_length() + 1


def fixed_point(values: np.ndarray, width: int) -> tuple[np.ndarray, float]:
    """(integers int64, scale > 0) with values ~ scale * integers and integers of at most `width` bits, signed.

    The scale is the best of many for which the largest integer takes at least half its range: a few values nearly fit
    a common grid much better than their width alone promises.
    """
    largest, limit = float(np.abs(values).max()), (1 << (width - 1)) - 1
    if largest == 0:
        return np.zeros(values.shape, np.int64), 1.0
    scales = largest / np.linspace((limit + 1) // 2, limit, SCALES)
    errors = [float(np.square(np.rint(values / scale) * scale - values).sum()) for scale in scales]
    scale = float(scales[int(np.argmin(errors))])
    return np.rint(values / scale).astype(np.int64), scale


class _Sums:
    """Integer side of one layer: weight bits [m, co, ci, kh, kw], coefficients, scale s, and the image's constant.

    O_real[co] = s (O[co] + constant[co]).
    """

    def __init__(self, bits: np.ndarray, alpha: np.ndarray, beta: np.ndarray | None, width: int):
        factors = alpha[..., None] * (np.ones(1) if beta is None else beta)  # [groups, m, n]
        integers, self.scale = fixed_point(factors, width)
        self.bits = bits
        self.pad = Padding.LOW if beta is None else Padding.SKIP
        if beta is None:
            # sum_j 2^(7-j) plane_j = 2x - 255, of which x / 255 is meant: O_real = s / 510 (O + 255 sum_i a_i sum W_i).
            self.scale /= 510
            signs = (bits.astype(np.int64) * 2 - 1).sum(axis=(2, 3, 4)).T  # [co, m]
            self.constant = 255 * (integers[..., 0] * signs).sum(axis=1)
            integers = integers * (1 << np.arange(IMAGE_PLANES - 1, -1, -1))
        else:
            self.constant = np.zeros(bits.shape[1], np.int64)
        self.coefficients = integers if len(integers) > 1 else integers[0]

    def flip(self, channels: np.ndarray) -> None:
        """Negate O of the channels [co] that are True."""
        self.bits = np.where(channels[None, :, None, None, None], 1 - self.bits, self.bits)
        self.constant = np.where(channels, -self.constant, self.constant)


def _planes(layer: ABCConv2d | ABCLinear, weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Weight bits uint8 [m, *weight.shape] and alpha [groups, m], as the layer's forward pass has them."""
    bases, alpha = layer.bases.planes(weight)
    return (bases > 0).to(torch.uint8).numpy(), alpha.numpy()


def _threshold_layer(name: str, before: list[Conv], block: Block, sums: _Sums) -> Conv:
    scale, offset = _normalisation(block.norm)
    if block.pool > 1 and np.any(scale < 0):
        raise ExportError(f"{name} pools, so its batch normalisation scale must be >= 0, not {scale.min():.4g}")
    sums.flip(scale < 0)
    v = block.activation.v.detach().double().numpy()
    order = np.argsort(-v, kind="stable")  # the plane with the largest v is the first to become +1
    code = np.zeros((len(v) + 1, len(v)), np.uint8)
    for level in range(1, len(v) + 1):
        code[level, order[:level]] = 1
    layer = Conv(
        name=name, source=before[-1].name if before else IMAGE, weights=sums.bits, coefficients=sums.coefficients,
        stride=block.conv.stride[0], padding=int(block.conv.padding[0]), pad=sums.pad, pool=block.pool,
        pool_stride=block.pool, thresholds=np.zeros((len(sums.constant), len(v)), np.int64), code=code)
    bound = layer.sum_bound()
    thresholds = [[_threshold(0.5 - shift - b, abs(a) * sums.scale, int(constant), bound) for shift in v[order]]
                  for a, b, constant in zip(scale, offset, sums.constant, strict=True)]
    return Conv(**{**layer.__dict__, "thresholds": np.array(thresholds, np.int64)})


def _threshold(target: float, slope: float, constant: int, bound: int) -> int:
    """Least integer T with slope (T + constant) >= target, held to -bound..bound + 1 (always, never): |O| <= bound."""
    if slope == 0 or abs(target) >= slope * (bound + abs(constant) + 1):
        return -bound if target <= 0 else bound + 1
    return min(max(math.ceil(target / slope) - constant, -bound), bound + 1)


def _normalisation(norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """a and b [co] of y = a O_real + b."""
    weight = norm.weight.abs() if isinstance(norm, PositiveBatchNorm2d) else norm.weight
    gamma, shift, mean, variance = (
        t.detach().double().numpy() for t in (weight, norm.bias, norm.running_mean, norm.running_var) if t is not None)
    scale = gamma / np.sqrt(variance + norm.eps)
    return scale, shift - scale * mean


def _head(before: list[Conv], head: ABCLinear, shape: tuple[int, ...], beta: np.ndarray | None,
          width: int) -> tuple[Conv, float]:
    """The last layer as a convolution over its whole input map (rows, columns, channels), and the logits' scale."""
    rows, columns, channels = shape
    bits, alpha = _planes(head, head.weight)
    sums = _Sums(bits.reshape(len(bits), -1, channels, rows, columns), alpha, beta, width)
    bias = np.rint(head.bias.detach().double().numpy() / sums.scale).astype(np.int64) + sums.constant
    layer = Conv(name="head", source=before[-1].name if before else IMAGE, weights=sums.bits,
                 coefficients=sums.coefficients, pad=sums.pad, bias=bias)
    return layer, sums.scale
