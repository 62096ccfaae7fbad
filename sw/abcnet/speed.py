"""`python -m sw bench --training`: what a training step of an M x N layer costs beside a plain convolution.

One step is forward and backward of activation and convolution, with the gradients of input, weights, beta and v. The
plain layer is the same convolution in fp32 alone, without an activation.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import QuantConv2d
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
    """(seconds of a plain step, step time of each M x N layer over it): the best of `rounds`, taken in turns."""
    x = torch.randn(shape.batch, shape.inputs, shape.size, shape.size, requires_grad=True)
    grad = torch.randn(shape.batch, shape.outputs, shape.size, shape.size)
    plain = nn.Conv2d(shape.inputs, shape.outputs, 3, padding=1, bias=False)
    layers: dict[tuple[int, int], nn.Module] = {(0, 0): plain}
    for m in PLANES:
        for n in PLANES:
            using = scheme("abc", M=m, N=n)
            conv = QuantConv2d(shape.inputs, shape.outputs, 3, using.weights(), padding=1)
            layers[m, n] = nn.Sequential(using.activations(), conv)
    best = dict.fromkeys(layers, float("inf"))
    for turn in range(rounds + 1):
        for key, layer in layers.items():
            seconds = _step(layer, x, grad)
            if turn:  # the first turn warms up
                best[key] = min(best[key], seconds)
    base = best.pop((0, 0))
    return base, {key: seconds / base for key, seconds in best.items()}


def _step(layer: nn.Module, x: Tensor, grad: Tensor) -> float:
    """Processor time, which other programs on the machine disturb least; one thread, so it is the time a step takes."""
    layer.zero_grad(set_to_none=True)
    x.grad = None
    start = time.process_time()
    layer(x).backward(grad)
    return time.process_time() - start


def run(args: argparse.Namespace) -> int:
    """Print the table of ratios of every shape; 1 if one is above the limit."""
    worst = 0.0
    torch.set_num_threads(1)
    print("step time of an M x N layer over a plain fp32 convolution, one CPU thread")
    for shape in SHAPES:
        seconds, table = ratios(shape, args.rounds)
        worst = max(worst, *table.values())
        print(f"\n{shape}: plain {1e3 * seconds:.2f} ms\n  M\\N" + "".join(f"{n:6}" for n in PLANES))
        for m in PLANES:
            print(f"{m:5}" + "".join(f"{table[m, n]:6.2f}" for n in PLANES))
    print(f"\nlargest ratio {worst:.2f}, at most {LIMIT} wanted")
    return 0 if worst <= LIMIT else 1
