"""Layers of an ABC-Net. Each does one convolution per forward pass, whatever M and N are.

The paper's sum over M * N binary convolutions (eq 12) is Conv(sum_m alpha_m B_m, sum_n beta_n A_n) by linearity; that
is what runs here. The accelerator runs the sum. `binary = False` on a layer leaves it in full precision, for
pre-training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .quantize import Bases, BinaryActivation, QuantizeError, soft_activation


class ABCConv2d(nn.Conv2d):
    """Convolution [B, ci, H, W] -> [B, co, H', W'] with weights approximated by binary bases. No bias: BN follows."""

    def __init__(self, ci: int, co: int, kernel: int | tuple[int, int], bases: Bases, *, stride: int = 1,
                 padding: int = 0):
        super().__init__(ci, co, kernel, stride=stride, padding=padding, bias=False)
        self.bases = bases
        self.binary = True

    def forward(self, x: Tensor) -> Tensor:
        weight = self.bases.approximate(self.weight) if self.binary else self.weight
        return F.conv2d(x, weight, None, self.stride, self.padding)


class ABCLinear(nn.Linear):
    """Fully connected layer [B, ci] -> [B, co] with weights approximated by binary bases; the bias stays real."""

    def __init__(self, ci: int, co: int, bases: Bases):
        super().__init__(ci, co)
        self.bases = bases
        self.binary = True

    def forward(self, x: Tensor) -> Tensor:
        weight = self.bases.approximate(self.weight) if self.binary else self.weight
        return F.linear(x, weight, self.bias)


class Activation(nn.Module):
    """N binary activations with trainable beta (initially 1) and v, one pair per activation and layer."""

    def __init__(self, v: tuple[float, ...]):
        super().__init__()
        if not 1 <= len(v) <= 8:
            raise QuantizeError(f"N must be an integer in 1..8, not {len(v)}")
        self.v = nn.Parameter(torch.tensor(v))
        self.beta = nn.Parameter(torch.ones(len(v)))
        self.binary = True

    def forward(self, x: Tensor) -> Tensor:
        if self.binary:
            return BinaryActivation.apply(x, self.beta, self.v)
        return soft_activation(x, self.beta, self.v)


class PositiveBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose scale is |weight|.

    A block that pools before it normalises takes max over the window; with a negative scale it would have to be the
    minimum, which the accelerator does not have.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight.abs(), self.bias,
                            self.training, self.momentum or 0.0, self.eps)


class Block(nn.Module):
    """conv -> max-pool -> batch normalisation -> activation: the paper's order (section 3.3).

    Pooling before the activation, because the maximum of binary values is nearly always +1.
    """

    def __init__(self, conv: ABCConv2d, v: tuple[float, ...], *, pool: int = 1):
        super().__init__()
        self.conv = conv
        self.pool = pool
        self.norm = (PositiveBatchNorm2d if pool > 1 else nn.BatchNorm2d)(conv.out_channels)
        self.activation = Activation(v)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.pool > 1:
            x = F.max_pool2d(x, self.pool)
        return self.activation(self.norm(x))


def set_binary(model: nn.Module, binary: bool) -> None:
    """Switch every ABC layer of `model` between binary and full precision."""
    for module in model.modules():
        if isinstance(module, (ABCConv2d, ABCLinear, Activation)):
            module.binary = binary
