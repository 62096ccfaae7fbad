"""Published full-precision weights as the start of our networks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sw.data import Images
from sw.errors import AbacusError

from . import checkpoint
from .adapt import adapt
from .architecture import Network
from .convert import absorb_statistics

# ResNet-20 of github.com/akamaster/pytorch_resnet_cifar10 normalises its images so.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


ADAPTED_BY = 1000  # images


class PretrainedError(AbacusError):
    """Weights that cannot be used; the message is one sentence naming the file."""


def start_from(model: Network, path: str, images: Images) -> str:
    """Take over what a checkpoint (.npz) of the same network has, in whatever scheme, or published weights (.th), whose
    binary activations are placed by the first of `images` (`adapt`). Returns a name for this start.
    """
    if path.endswith(".th"):
        initialise_resnet20(model, path)
        if model.architecture.scheme.name != "real":  # whose activations and statistics are these weights' own
            adapt(model, np.asarray(images[:ADAPTED_BY]))
        return path
    weights = checkpoint.load(path).state_dict()
    state = model.state_dict()
    for name, value in model.named_parameters():
        if value.dim() > 1 and (name not in weights or weights[name].shape != value.shape):
            raise PretrainedError(f"checkpoint {path} must be of the network {model.architecture.name}, but lacks "
                                  f"{name} of shape {list(value.shape)}")
    model.load_state_dict({name: weights[name] if name in weights and weights[name].shape == value.shape else value
                           for name, value in state.items()})
    return path


def initialise_resnet20(network: Network, path: str | Path) -> None:
    """Fill a `resnet20` with the CIFAR-10 weights `resnet20-12fca82f.th` (91.7 %).

    Their shortcuts drop pixels and add channels of zeros; ours are 1 x 1 convolutions that start as the same.
    """
    if network.architecture.name != "resnet20":
        raise PretrainedError(f"weights {path} are of resnet20, not of {network.architecture.name}")
    state = _state(Path(path))
    names = {"stem": ("conv1", "bn1")}
    for stage in range(1, 4):
        for number in range(3):
            theirs, ours = f"layer{stage}.{number}.", f"layer{stage}_{number}"
            names |= {f"{ours}_conv1": (theirs + "conv1", theirs + "bn1"), ours: (theirs + "conv2", theirs + "bn2")}
    with torch.no_grad():
        for name, (conv, norm) in names.items():
            block: Any = network.blocks[name]
            weight = _take(path, state, f"{conv}.weight", block.conv.weight)
            if name == "stem":
                spec = network.architecture
                weight, bias = absorb_statistics(weight, (_MEAN, _STD), (spec.mean, spec.std))
            block.conv.weight.copy_(weight)
            for key in ("weight", "bias", "running_mean", "running_var"):
                getattr(block.norm, key).copy_(_take(path, state, f"{norm}.{key}", getattr(block.norm, key)))
            if name == "stem":
                block.norm.running_mean.sub_(bias)
        for name in ("layer2_0_short", "layer3_0_short"):
            _select(network.blocks[name])
        head: Any = network.blocks["head"].conv
        head.weight.copy_(_take(path, state, "linear.weight", head.weight[:, :, 0, 0])[:, :, None, None])
        head.bias.copy_(_take(path, state, "linear.bias", head.bias))


def _select(block: Any) -> None:
    """Channel c of the input goes to channel c + (co - ci) / 2, unchanged; the others are zero."""
    weight, norm = block.conv.weight, block.norm
    co, ci = weight.shape[:2]
    weight.zero_()
    for channel in range(ci):
        weight[channel + (co - ci) // 2, channel] = 1
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)


def _state(path: Path) -> dict[str, Tensor]:
    """The arrays of a checkpoint, names without the prefix of a parallel module."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise PretrainedError(f"weights {path} must exist") from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
        raise PretrainedError(f"weights {path} must be an undamaged PyTorch file of plain tensors") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise PretrainedError(f"weights {path} must hold a state_dict of tensors")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _take(path: str | Path, state: dict[str, Tensor], name: str, like: Tensor) -> Tensor:
    if name not in state or state[name].shape != like.shape or not bool(torch.isfinite(state[name]).all()):
        raise PretrainedError(f"weights {path} must hold finite {name} of shape {list(like.shape)}")
    return state[name].to(like.dtype)
