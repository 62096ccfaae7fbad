"""Statistics of a network's sums over images, by which the exporter rounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .abcnet.activations import RealActivations
from .abcnet.architecture import Network
from .abcnet.layers import Block
from .fixed_point import Moments, binary_unit

BATCH = 16
ACCUMULATOR_BITS = 14  # of the presets: what planes that pass in one accumulation may count to


def fused(block: Block, planes: int) -> bool:
    """Whether the planes of the binary number that a block reads, if not the image, pass in one accumulation."""
    terms = block.conv.weight[0].numel() * block.average**2
    return not terms * ((1 << planes) - 1) >> ACCUMULATOR_BITS


def moments(model: Network, images: np.ndarray) -> dict[str, Moments]:
    """Moments of every block's terms over uint8 images [B, H, W, C]: of S(W_i, A_j), j fastest, where the planes of
    the input are no binary number, else of S(W_i, R) with R the input. Where planes of a binary number are not `fused`,
    of S(W_i, A_j + 1), which is 0 for a number of 0, and without covariance: how they are rounded hardly matters.
    """
    model.eval()
    made: dict[str, _Accumulator] = {}
    weights = {name: block.conv.quantizer.planes(block.conv.weight)[0]
               for name, block in zip(model.architecture.names, model.block_list, strict=True)}
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.tensor(np.ascontiguousarray(images[start:start + BATCH]))
            for name, terms, means in _terms(model, batch, weights):
                made.setdefault(name, _Accumulator(means)).add(terms)
    return {name: accumulator.moments() for name, accumulator in made.items()}


def _terms(model: Network, images: Tensor, weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, bool]]:
    """(name, terms [co, k, positions], whether they are means over the images) of every block."""
    spec = model.architecture
    blocks = dict(zip(spec.names, model.block_list, strict=True))
    sources, binary = dict(zip(spec.names, spec.sources, strict=True)), set[str]()
    planes: dict[str, Tensor] = {}  # A_j [n, B, C, H, W], of binary numbers mean A_j + 1 [n, 1, C, H, W]
    for name, x, value in model.steps(images):
        block = blocks[name]
        activation, source = block.activation, sources[name]
        means = source in binary and not fused(block, len(planes[source]))
        inputs = planes[source] if means or source in planes and source not in binary else x.unsqueeze(0)
        yield name, torch.stack([_convolve(block, a, b) for b in weights[name] for a in inputs], 1), means
        if activation is None:
            continue
        levels = activation.levels()
        level = torch.bucketize(value.double().contiguous(), torch.from_numpy(levels.thresholds), right=True)
        bits = torch.from_numpy(levels.code).to(value.dtype)[level].permute(4, 0, 1, 2, 3)
        if binary_unit(levels.beta) is None:
            planes[name] = 2 * bits - 1
        else:
            planes[name] = 2 * bits.mean(1, keepdim=True)
            binary.add(name)


def _convolve(block: Block, x: Tensor, weight: Tensor) -> Tensor:
    """[co, positions]"""
    if block.average > 1:
        x = F.avg_pool2d(x, block.average)
    return F.conv2d(x, weight, stride=block.conv.stride, padding=block.conv.padding).transpose(0, 1).flatten(1)


def calibrate(model: Network, images: np.ndarray) -> float:
    """Set the ranges of full-precision activations to their largest values on uint8 images [B, H, W, C].

    What a shorter range would cut off disturbs logits more than its finer levels are worth. Returns the largest
    magnitude of a value that a shortcut carries; 0 without shortcuts.
    """
    model.eval()
    spec, kept = model.architecture, model.architecture.kept
    ranged = {name: block.activation for name, block in zip(spec.names, model.block_list, strict=True)
              if isinstance(block.activation, RealActivations)}
    if not ranged and not kept:
        return 0.0
    largest, reach = dict.fromkeys(ranged, 0.0), 0.0
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.tensor(np.ascontiguousarray(images[start:start + BATCH]))
            for name, _, value in model.steps(batch):
                if name in ranged:
                    largest[name] = max(largest[name], float(value.max()))
                if name in kept:
                    reach = max(reach, float(value.abs().max()))
        for name, activation in ranged.items():
            activation.peak.fill_(largest[name] if largest[name] > 0 else 1.0)
    return reach


class _Accumulator:
    """Sums over positions; moments are taken about the mean of the first batch, so that nothing cancels."""

    def __init__(self, means: bool) -> None:
        self.means = means
        self.count, self.first, self.total, self.square = 0, torch.empty(0), torch.empty(0), torch.empty(0)

    def add(self, terms: Tensor) -> None:
        terms = terms.double()
        if not self.count:
            self.first = terms.mean(2, keepdim=True)
            self.total, self.square = torch.zeros_like(self.first), torch.zeros(*terms.shape[:2], terms.shape[1])
        terms = terms - self.first
        self.count += terms.shape[2]
        self.total = self.total + terms.sum(2, keepdim=True)
        self.square = self.square + terms @ terms.transpose(1, 2)

    def moments(self) -> Moments:
        mean = self.total / self.count
        covariance = None if self.means else (self.square / self.count - mean @ mean.transpose(1, 2)).numpy()
        return Moments((self.first + mean).squeeze(2).numpy(), covariance)
