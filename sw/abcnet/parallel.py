"""Data-parallel training under torchrun: equal weights in all processes, each with its share of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .recipe import TrainError


@dataclass(frozen=True)
class Group:
    """Processes that train together; this one is `rank` of `world` and computes on `device`."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    def mean(self, tensors: list[Tensor]) -> None:
        """Replace floating-point tensors, which must have the same shapes everywhere, by their means over processes.

        All in one message of a fixed order, so that the same run sums in the same order. Not DistributedDataParallel,
        whose buckets depend on the step it began with, and which leaves the statistics of batch normalisation apart.
        """
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def total(self, count: int) -> int:
        """Sum of an integer over the processes."""
        if self.world == 1:
            return count
        value = torch.tensor(count, device=self.device)
        dist.all_reduce(value)
        return int(value)


def floating_buffers(model: nn.Module) -> list[Tensor]:
    """Statistics that differ between processes until they are averaged."""
    return [buffer for buffer in model.buffers() if buffer.is_floating_point()]


@contextmanager
def joined(device: str = "auto") -> Iterator[Group]:
    """The group that torchrun's environment describes, or this process alone. device: auto, cpu or cuda."""
    if device not in ("auto", "cpu", "cuda"):
        raise TrainError(f"device must be one of auto, cpu, cuda, not {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainError("device must be cpu on this machine, not cuda: PyTorch finds no CUDA device")
    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    rank, world, local = (int(os.environ.get(key, default)) for key, default in
                          (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    place = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(place)
    if world == 1:
        yield Group(device=place)
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Group(rank, world, place)
    finally:
        dist.destroy_process_group()
