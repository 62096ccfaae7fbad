"""Networks: a description as plain data, and the module built from it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sw.errors import AbacusError

from .layers import ABCConv2d, ABCLinear, Block
from .quantize import Bases, default_u, default_v


class ModelError(AbacusError):
    """A network that cannot be built; the message is one sentence."""


def _integer(what: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ModelError(f"{what} must be an integer in {low}..{high}, not {value!r}")


@dataclass(frozen=True)
class BlockSpec:
    """One block; `kernel` 0 covers the whole input map, which makes the block fully connected."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (("channels", 1, 4096), ("kernel", 0, 64), ("stride", 1, 64), ("padding", 0, 64),
                                ("pool", 1, 64)):
            _integer(f"block {name}", getattr(self, name), low, high)


@dataclass(frozen=True)
class Architecture:
    """A convolutional ABC-Net: blocks, then one linear layer with a logit per class.

    `image` is rows, columns, channels of uint8 pixels. Every layer, first and last included, has binary-plane
    weights (u: M shifts); every block N = len(v) binary activations.
    """

    name: str
    image: tuple[int, int, int]
    blocks: tuple[BlockSpec, ...]
    classes: int
    u: tuple[float, ...]
    v: tuple[float, ...]
    channelwise: bool = False

    def __post_init__(self) -> None:
        if len(self.image) != 3:
            raise ModelError(f"image must be rows, columns and channels, not {self.image!r}")
        for size in self.image:
            _integer("image size", size, 1, 4096)
        _integer("classes", self.classes, 1, 65_536)
        for shift in (*self.u, *self.v):
            if isinstance(shift, bool) or not isinstance(shift, (int, float)) or not math.isfinite(shift):
                raise ModelError(f"shifts u and v must be finite numbers, not {shift!r}")

    def to_json(self) -> str:
        """Canonical JSON; `from_json` inverts it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Inverse of `to_json`; `ModelError` for anything else."""
        try:
            values: dict[str, Any] = json.loads(text)
            values["blocks"] = tuple(BlockSpec(**block) for block in values["blocks"])
            for key in ("image", "u", "v"):
                values[key] = tuple(values[key])
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"architecture must be the JSON of an Architecture: {error}") from None

    def build(self) -> Network:
        """The module, freshly initialised from torch's random state."""
        return Network(self)


class Network(nn.Module):
    """The module of an `Architecture`. Input: uint8 [B, rows, columns, channels]; output: float logits [B, classes]."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        bases = Bases(architecture.u, architecture.channelwise)
        rows, columns, channels = architecture.image
        blocks = []
        for index, spec in enumerate(architecture.blocks):
            kernel = (spec.kernel or rows, spec.kernel or columns)
            conv = ABCConv2d(channels, spec.channels, kernel, bases, stride=spec.stride, padding=spec.padding)
            blocks.append(Block(conv, architecture.v, pool=spec.pool))
            sizes = [((size + 2 * spec.padding - k) // spec.stride + 1) // spec.pool
                     for size, k in zip((rows, columns), kernel, strict=True)]
            rows, columns, channels = *sizes, spec.channels
            if min(sizes) < 1:
                raise ModelError(f"block {index} must leave a map of 1 x 1 or more, not {rows} x {columns}")
        self.blocks = nn.Sequential(*blocks)
        self.head = ABCLinear(channels * rows * columns, architecture.classes, bases)

    @property
    def block_list(self) -> list[Block]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).to(torch.get_default_dtype()) / 255
        return self.head(self.blocks(x).flatten(1))


def architecture(name: str, M: int | None = None, N: int | None = None, *, channelwise: bool = False) -> Architecture:
    """The architecture called `name` with M weight and N activation planes (each network has its own default)."""
    if name not in _NETWORKS:
        raise ModelError(f"model must be one of {', '.join(_NETWORKS)}, not {name!r}")
    image, blocks, classes, default = _NETWORKS[name]
    u, v = default_u(default if M is None else M), default_v(default if N is None else N)
    return Architecture(name, image, blocks, classes, u, v, channelwise)


# name: image, blocks, classes, default M and N
_NETWORKS: dict[str, tuple[tuple[int, int, int], tuple[BlockSpec, ...], int, int]] = {
    "digits": ((8, 8, 1), (BlockSpec(8, 3, padding=1), BlockSpec(16, 3, padding=1, pool=2), BlockSpec(32, 0)), 10, 2),
    "fashion": ((28, 28, 1), (
        BlockSpec(16, 5, padding=2, pool=2), BlockSpec(32, 3, padding=1, pool=2), BlockSpec(32, 3), BlockSpec(64, 0),
    ), 10, 3),
}
MODELS = tuple(_NETWORKS)
