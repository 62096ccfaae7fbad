"""`python -m sw bench --training`: what a training step of an M x N layer costs beside a plain convolution.

One step is forward and backward of activation and convolution, with the gradients of input, weights, beta and v. The
plain layer is the same convolution in fp32 alone, without an activation.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from . import memory
from .layers import QuantConv2d
from .recipe import TrainError
from .schemes import scheme

PLANES = range(1, 6)
LIMIT = 1.6


@dataclass(frozen=True)
class Shape:
    """A 3 x 3 convolution, stride 1, padding 1, of `batch` square maps of `size`."""

    batch: int
    inputs: int
    outputs: int
    size: int

    def __str__(self) -> str:
        return f"{self.inputs} -> {self.outputs} channels, {self.size} x {self.size}, batch {self.batch}"


# Layers of CNV, of ResNet-18 and of ResNet-20 for CIFAR-10.
SHAPES = (Shape(16, 64, 64, 28), Shape(32, 128, 128, 14), Shape(32, 256, 256, 7), Shape(128, 32, 32, 16))


def ratios(shape: Shape, rounds: int) -> tuple[float, dict[tuple[int, int], float]]:
    """(seconds of a plain step, step time of each M x N layer over it).

    A plain step goes before every other one, and each ratio is the median over `rounds` of such pairs: the machine's
    clock and caches, which other programs change, are the same for both.
    """
    x = torch.randn(shape.batch, shape.inputs, shape.size, shape.size, requires_grad=True)
    grad = torch.randn(shape.batch, shape.outputs, shape.size, shape.size)
    plain = nn.Conv2d(shape.inputs, shape.outputs, 3, padding=1, bias=False)
    layers: dict[tuple[int, int], nn.Module] = {}
    for m in PLANES:
        for n in PLANES:
            using = scheme("abc", M=m, N=n)
            conv = QuantConv2d(shape.inputs, shape.outputs, 3, using.weights(), padding=1)
            layers[m, n] = nn.Sequential(using.activations(), conv)
    base: list[float] = []
    found: dict[tuple[int, int], list[float]] = {key: [] for key in layers}
    for turn in range(rounds + 1):
        for key, layer in layers.items():
            before, seconds = _step(plain, x, grad), _step(layer, x, grad)
            if turn:  # the first turn warms up
                base.append(before)
                found[key].append(seconds / before)
    return median(base), {key: median(values) for key, values in found.items()}


def _step(layer: nn.Module, x: Tensor, grad: Tensor) -> float:
    """Processor time, which other programs on the machine disturb least; one thread, so it is the time a step takes."""
    layer.zero_grad(set_to_none=True)
    x.grad = None
    start = time.process_time()
    layer(x).backward(grad)
    return time.process_time() - start


def table(shape: Shape, seconds: float, found: dict[tuple[int, int], float]) -> str:
    """The ratios of one layer as Markdown."""
    lines = [f"{shape}: plain {1e3 * seconds:.2f} ms, largest ratio {max(found.values()):.2f}", "",
             "| M \\ N | " + " | ".join(map(str, PLANES)) + " |", "|---|" + "---:|" * len(PLANES)]
    lines += [f"| {m} | " + " | ".join(f"{found[m, n]:.2f}" for n in PLANES) + " |" for m in PLANES]
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    """Print the table of every shape, and write them where `--output` says; 1 if a ratio is above the limit."""
    torch.set_num_threads(1)
    memory.keep()
    worst = 0.0
    parts = ["# Step times", f"Written by `python -m sw bench --training --rounds {args.rounds} "
             "--output FILE`: the step of an M x N layer, forward and backward, over that of a plain fp32 3 x 3 "
             f"convolution, one CPU thread. Medians of {args.rounds} pairs of steps, one right after the other."]
    for shape in SHAPES:
        seconds, found = ratios(shape, args.rounds)
        worst = max(worst, *found.values())
        parts.append(table(shape, seconds, found))
        print(f"{parts[-1]}\n", flush=True)
    parts.append(f"Largest ratio {worst:.2f}; at most {LIMIT} is wanted.")
    print(parts[-1])
    if args.output:
        try:
            Path(args.output).write_text("\n\n".join(parts) + "\n")
        except OSError as error:
            raise TrainError(f"--output {args.output} cannot be written: {error.strerror}") from None
    return 0 if worst <= LIMIT else 1
