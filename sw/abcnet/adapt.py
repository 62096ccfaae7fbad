"""A network that starts from the weights of an ordinary one: activations placed where its ReLUs have their values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activations import AbcActivations
from .architecture import Network
from .layers import PositiveBatchNorm2d, set_binary

BATCH = 128
SAMPLE = 8192  # values of one batch and layer
TOPS = 200  # ranges tried


def adapt(model: Network, images: np.ndarray) -> None:
    """Fit binary activations and batch statistics of `model` to what its weights do to uint8 images [B, H, W, C].

    N binary activations become the N + 1 even levels from 0 on with the least squared error to ReLU of the values that
    the network in full precision has: thresholds half-way, v_n = 0.5 - threshold, all beta alike. They lack a
    constant, half of the largest level, which batch normalisation takes out of the sums; its statistics are those of
    the quantised network afterwards. Its weights and biases first become those with which the network in full precision
    stays as it is on the statistics of these images: a normalisation that was none, as in a shortcut that only selects,
    would start to scale. Other activations stay. Leaves the network quantised and in training mode.
    """
    blocks = dict(zip(model.architecture.names, model.block_list, strict=True))
    values: dict[str, list[Tensor]] = {
        name: [] for name, block in blocks.items() if isinstance(block.activation, AbcActivations)}
    batches = [torch.tensor(np.ascontiguousarray(images[start:start + BATCH]))
               for start in range(0, len(images), BATCH)]
    with torch.no_grad():
        set_binary(model, False)
        model.eval()
        own = [block.relu for block in model.block_list]
        for block in model.block_list:
            block.relu = True
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        seen = [_Statistics(norm) for norm in norms]
        for batch in batches:
            for name, _, value in model.steps(batch):
                if name in values:
                    flat = F.relu(value).flatten()
                    values[name].append(flat[:: -(-len(flat) // SAMPLE)])
        for statistics in seen:
            statistics.settle()
        for block, relu in zip(model.block_list, own, strict=True):
            block.relu = relu
        for name, found in values.items():
            activation = blocks[name].activation
            assert isinstance(activation, AbcActivations)
            step = _step(torch.cat(found), len(activation.v))
            order = torch.argsort(activation.v, descending=True)  # the first to become +1
            activation.v[order] = 0.5 - (torch.arange(len(order)) + 0.5) * step
            activation.beta.fill_(step / 2)
        set_binary(model, True)
        model.train()
        momenta = [norm.momentum for norm in norms]
        for count, batch in enumerate(batches, 1):
            for norm in norms:
                norm.momentum = 1 / count
            model(batch)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class _Statistics:
    """Mean and variance of what a batch normalisation gets, per channel, from now on until `settle`."""

    def __init__(self, norm: nn.BatchNorm2d):
        self.norm, self.count = norm, 0
        self.total = torch.zeros(norm.num_features, dtype=torch.float64)
        self.square = torch.zeros(norm.num_features, dtype=torch.float64)
        self.hook = norm.register_forward_pre_hook(self._add)

    def _add(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        self.count += x.numel() // x.shape[1]
        self.total += x.sum((0, 2, 3))
        self.square += x.square().sum((0, 2, 3))

    def settle(self) -> None:
        """Make them the normalisation's own, with the weight and bias that leave its function as it was."""
        self.hook.remove()
        norm, mean = self.norm, self.total / self.count
        assert norm.running_mean is not None and norm.running_var is not None
        weight = norm.weight.abs() if isinstance(norm, PositiveBatchNorm2d) else norm.weight
        scale = weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        variance = (self.square / self.count - mean.square()).clamp(min=0)
        norm.bias.add_((mean - norm.running_mean.double()) * scale)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _step(values: Tensor, levels: int) -> float:
    """Distance of `levels` even levels above zero with the least squared error to values that are not negative."""
    largest = float(values.max())
    if largest <= 0:
        return 1.0
    steps = [largest / levels * top / TOPS for top in range(1, TOPS + 1)]
    errors = [float(((values / step).round().clamp(max=levels) * step - values).square().sum()) for step in steps]
    return steps[int(np.argmin(errors))]
