"""Layers of a quantised network. Each does one convolution per forward pass, whatever M and N are.

The paper's sum over M * N binary convolutions (eq 12) is Conv(sum_m alpha_m B_m, sum_n beta_n A_n) by linearity; that
is what runs here. The accelerator runs the sum. `binary = False` leaves a block in full precision, for pre-training.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .activations import ActivationQuantizer
from .weights import WeightQuantizer


class QuantConv2d(nn.Conv2d):
    """Convolution [B, ci, H, W] -> [B, co, H', W'] with weights through a quantiser; a bias stays real."""

    def __init__(self, ci: int, co: int, kernel: int | tuple[int, int], quantizer: WeightQuantizer, *, stride: int = 1,
                 padding: int = 0, bias: bool = False):
        super().__init__(ci, co, kernel, stride=stride, padding=padding, bias=bias)
        self.quantizer = quantizer
        self.binary = True

    def forward(self, x: Tensor) -> Tensor:
        weight = self.quantizer(self.weight) if self.binary else self.weight
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class PositiveBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose scale is |weight|.

    A block that pools before it normalises takes max over the window; with a negative scale it would have to be the
    minimum, which the accelerator does not have.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight.abs(), self.bias,
                            self.training, self.momentum or 0.0, self.eps)


class Block(nn.Module):
    """[average pool ->] conv -> max-pool -> batch norm [-> add] -> activation: the paper's order (section 3.3).

    Pooling before the activation, because the maximum of binary values is nearly always +1. `norm`: "after" the pool,
    "before" it, or "none" for a bias instead. `activation` None: a last layer or a shortcut. `relu`: in full precision
    the activation is ReLU, as ordinary networks have it, not the one that the quantiser is a step of.
    """

    def __init__(self, conv: QuantConv2d, activation: ActivationQuantizer | None, *, pool: int = 1,
                 pool_stride: int | None = None, pool_padding: int = 0, average: int = 1, norm: str = "after",
                 relu: bool = False):
        super().__init__()
        self.conv = conv
        self.activation = activation
        self.pool = (pool, pool_stride or pool, pool_padding)
        self.average = average
        self.norm_first = norm == "before"
        self.relu = relu
        self.binary = True
        kind = PositiveBatchNorm2d if norm == "after" and pool > 1 else nn.BatchNorm2d
        self.norm = None if norm == "none" else kind(conv.out_channels)

    def value(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The real value before the activation, `residual` added."""
        if self.average > 1:
            x = F.avg_pool2d(x, self.average)
        x = self.conv(x)
        if self.norm is not None and self.norm_first:
            x = self.norm(x)
        if self.pool != (1, 1, 0):
            x = F.max_pool2d(x, *self.pool)
        if self.norm is not None and not self.norm_first:
            x = self.norm(x)
        return x if residual is None else x + residual

    def activate(self, value: Tensor) -> Tensor:
        """What the next layers read: quantised, or real in full precision."""
        if self.activation is None:
            return value
        if self.binary:
            return self.activation(value)
        return F.relu(value) if self.relu else self.activation.soft(value)

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.value(x))


def set_binary(model: nn.Module, binary: bool) -> None:
    """Switch every layer of `model` between quantised and full precision."""
    for module in model.modules():
        if isinstance(module, (QuantConv2d, Block)):
            module.binary = binary
