"""Batches for training: order, shares of processes and augmentation, all functions of seed and position.

Nothing here has a memory. A run that goes on after a kill draws the same batches as one that was never killed, and
any number of processes draws the same images in the same steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sw.data import Images

from .recipe import Recipe


def seed_of(*parts: int) -> int:
    """A seed for random numbers that belong to this combination of non-negative integers alone."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def generator_of(*parts: int) -> torch.Generator:
    """A generator seeded with `seed_of`."""
    return torch.Generator().manual_seed(seed_of(*parts))


@dataclass(frozen=True, eq=False)
class Batches:
    """Training images in random order, another one in every epoch.

    images: uint8 [count, H, W, C], an array or anything that gives one for an array of indices. Of every batch this
    process takes the share `rank` of `world`.
    """

    images: Images
    labels: np.ndarray
    recipe: Recipe
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def steps(self) -> int:
        """Steps of an epoch. A last, smaller batch is left out: batch normalisation of a handful of images is noise."""
        return max(1, len(self.labels) // self.recipe.batch)

    def epoch(self, phase: int, epoch: int, first: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(step, uint8 images [b, H, W, C], labels [b]) from step `first` on; the next batch is made meanwhile."""
        order = torch.randperm(len(self.labels), generator=generator_of(self.seed, phase, epoch)).numpy()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self._batch, order, phase, epoch, first) if first < self.steps else None
            for step in range(first, self.steps):
                assert waiting is not None
                images, labels = waiting.result()
                if step + 1 < self.steps:
                    waiting = pool.submit(self._batch, order, phase, epoch, step + 1)
                yield step, images, labels

    def _batch(self, order: np.ndarray, phase: int, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        size = self.recipe.batch
        index = order[step * size : (step + 1) * size]
        share = slice(len(index) * self.rank // self.world, len(index) * (self.rank + 1) // self.world)
        # Random numbers are drawn for the whole batch, so that shares add up to the same images.
        moves = Moves.draw(len(index), self.recipe, generator_of(self.seed, phase, epoch, step))
        images = torch.from_numpy(np.ascontiguousarray(self.images[index[share]]))
        return moves.share(share).apply(images), torch.from_numpy(self.labels[index[share]])


@dataclass(frozen=True, eq=False)
class Moves:
    """What augmentation does to each image of a batch: mirrored bool [b], by (dy, dx) int64 [2, b] in 0..2 limit."""

    mirrored: Tensor
    shifts: Tensor
    limit: int

    @classmethod
    def draw(cls, count: int, recipe: Recipe, generator: torch.Generator) -> Moves:
        mirrored = torch.rand(count, generator=generator) < (0.5 if recipe.flip else 0.0)
        shifts = torch.randint(0, 2 * recipe.shift + 1, (2, count), generator=generator)
        return cls(mirrored, shifts, recipe.shift)

    def share(self, part: slice) -> Moves:
        """The moves of some of the images."""
        return Moves(self.mirrored[part], self.shifts[:, part], self.limit)

    def apply(self, images: Tensor) -> Tensor:
        """Moved and mirrored copies of uint8 [b, H, W, C]."""
        batch, rows, columns, _ = images.shape
        if self.mirrored.any():
            images = torch.where(self.mirrored[:, None, None, None], images.flip(2), images)
        if self.limit:
            dy, dx = self.shifts.unsqueeze(-1)
            y, x = dy + torch.arange(rows), dx + torch.arange(columns)
            padded = F.pad(images, (0, 0, *[self.limit] * 4))
            images = padded[torch.arange(batch)[:, None, None], y[:, :, None], x[:, None, :]]
        return images
