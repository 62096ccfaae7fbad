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


def moments(model: Network, images: np.ndarray) -> dict[str, Moments]:
    """Moments of every block's terms over uint8 images [B, H, W, C]: of S(W_i, A_j), j fastest, where the planes of
    the input are no binary number, else of S(W_i, R) with R the input.
    """
    model.eval()
    made: dict[str, _Accumulator] = {}
    weights = {name: block.conv.quantizer.planes(block.conv.weight)[0]
               for name, block in zip(model.architecture.names, model.block_list, strict=True)}
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.tensor(np.ascontiguousarray(images[start:start + BATCH]))
            for name, terms in _terms(model, batch, weights):
                made.setdefault(name, _Accumulator()).add(terms)
    return {name: accumulator.moments() for name, accumulator in made.items()}


def _terms(model: Network, images: Tensor, weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """(name, terms [co, k, positions]) of every block."""
    spec = model.architecture
    blocks = dict(zip(spec.names, model.block_list, strict=True))
    sources = dict(zip(spec.names, spec.sources, strict=True))
    planes: dict[str, Tensor] = {}  # [n, B, C, H, W] where they are no binary number
    for name, x, value in model.steps(images):
        block = blocks[name]
        inputs = planes.get(sources[name], x.unsqueeze(0))
        yield name, torch.stack([_convolve(block, a, b) for b in weights[name] for a in inputs], 1)
        levels = None if block.activation is None else block.activation.levels()
        if levels is not None and binary_unit(levels.beta) is None:
            level = torch.bucketize(value.double().contiguous(), torch.from_numpy(levels.thresholds), right=True)
            planes[name] = torch.from_numpy(levels.code * 2.0 - 1).to(value.dtype)[level].permute(4, 0, 1, 2, 3)


def _convolve(block: Block, x: Tensor, weight: Tensor) -> Tensor:
    """[co, positions]"""
    if block.average > 1:
        x = F.avg_pool2d(x, block.average)
    return F.conv2d(x, weight, stride=block.conv.stride, padding=block.conv.padding).transpose(0, 1).flatten(1)


def calibrate(model: Network, images: np.ndarray) -> None:
    """Set the ranges of full-precision activations to their largest values on uint8 images [B, H, W, C].

    What a shorter range would cut off disturbs logits more than its finer levels are worth.
    """
    model.eval()
    ranged = {name: block.activation for name, block in zip(model.architecture.names, model.block_list, strict=True)
              if isinstance(block.activation, RealActivations)}
    if not ranged:
        return
    largest = dict.fromkeys(ranged, 0.0)
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.tensor(np.ascontiguousarray(images[start:start + BATCH]))
            for name, _, value in model.steps(batch):
                if name in ranged:
                    largest[name] = max(largest[name], float(value.max()))
        for name, activation in ranged.items():
            activation.peak.fill_(largest[name] if largest[name] > 0 else 1.0)


class _Accumulator:
    """Sums over positions; moments are taken about the mean of the first batch, so that nothing cancels."""

    def __init__(self) -> None:
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
        covariance = self.square / self.count - mean @ mean.transpose(1, 2)
        return Moments((self.first + mean).squeeze(2).numpy(), covariance.numpy())
