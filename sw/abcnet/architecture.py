"""Networks as plain data, and the module built from it."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sw.errors import AbacusError

from .layers import Block, QuantConv2d
from .quantize import QuantizeError
from .schemes import Scheme
from .weights import IntegerWeights

IMAGE = "image"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_NORMS = ("after", "before", "none")


class ModelError(AbacusError):
    """A network that cannot be built; the message is one sentence."""


def _integer(what: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ModelError(f"{what} must be an integer in {low}..{high}, not {value!r}")


@dataclass(frozen=True)
class BlockSpec:
    """One block (`layers.Block`); what is left out is the plain case.

    Parameters
    ----------
    channels: output channels.
    kernel: rows and columns of the kernel; 0 covers the whole input map, which makes the block fully connected.
    stride, padding: of the convolution. A tap outside the map contributes zero; outside the image it is a black pixel.
    pool, pool_stride, pool_padding: max-pool; pool_stride 0 is `pool`.
    average: average pool over windows side by side before the convolution; 0 is the whole map.
    name: of this block, "" for block<number>. source: of its input, "" for the block before.
    add: name of a block whose value is added before the activation: a shortcut. It is the value before that block's
        activation; through ReLU if that block has `rectify`.
    activate: False for the last block and for the projection of a shortcut.
    norm: batch normalisation "after" the pool (the paper's order), "before" it, or "none", a bias instead.
    wide: 8-bit weights in this block whatever the scheme.
    """

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: int = 1
    pool_stride: int = 0
    pool_padding: int = 0
    average: int = 1
    name: str = ""
    source: str = ""
    add: str = ""
    rectify: bool = True
    activate: bool = True
    norm: str = "after"
    wide: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("channels", 1, 4096), ("kernel", 0, 64), ("stride", 1, 64), ("padding", 0, 64),
                                ("pool", 1, 64), ("pool_stride", 0, 64), ("pool_padding", 0, 63), ("average", 0, 4096)):
            _integer(f"block {name}", getattr(self, name), low, high)
        for name in (self.name, self.source, self.add):
            if not isinstance(name, str) or (name and not _NAME.fullmatch(name)):
                raise ModelError(f"block names must be 1 to 64 letters, digits and '_', not {name!r}")
        for name in ("rectify", "activate", "wide"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"block {name} must be true or false, not {getattr(self, name)!r}")
        if self.norm not in _NORMS:
            raise ModelError(f"block norm must be one of {', '.join(_NORMS)}, not {self.norm!r}")
        if self.average != 1 and self.padding:
            raise ModelError(f"block padding must be 0 after an average pool, not {self.padding}")
        if self.pool_padding >= self.pool:
            raise ModelError(f"block pool_padding must be less than its pool of {self.pool}, not {self.pool_padding}")


def head(classes: int, *, average: int = 1, wide: bool = False) -> BlockSpec:
    """The last block: fully connected, with a bias, a logit per class."""
    return BlockSpec(classes, 0, average=average, name="head", activate=False, norm="none", wide=wide)


class Map(NamedTuple):
    """Size of a block's output, and of what its convolution reads."""

    rows: int
    columns: int
    channels: int
    kernel: tuple[int, int] = (1, 1)
    average: int = 1


@dataclass(frozen=True)
class Architecture:
    """A network of blocks and a scheme. The first block, and only that, reads the image; the last makes the logits.

    `image` is rows, columns, channels of uint8 pixels x, which enter as (x / 255 - mean) / std. `relu`: see `Block`.
    """

    name: str
    image: tuple[int, int, int]
    blocks: tuple[BlockSpec, ...]
    scheme: Scheme
    mean: tuple[float, ...] = ()
    std: float = 1.0
    relu: bool = False

    def __post_init__(self) -> None:
        if len(self.image) != 3:
            raise ModelError(f"image must be rows, columns and channels, not {self.image!r}")
        for size in self.image:
            _integer("image size", size, 1, 4096)
        for number in (*self.mean, self.std):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                raise ModelError(f"image mean and std must be finite numbers, not {number!r}")
        if self.std <= 0 or len(self.mean) not in (0, self.image[2]):
            raise ModelError(f"image must have a mean for each of its {self.image[2]} channels and a positive std")
        if not self.blocks or self.blocks[-1].activate:
            raise ModelError("the last block must have no activation: it makes the logits")
        self.maps()

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every block."""
        return tuple(spec.name or f"block{index}" for index, spec in enumerate(self.blocks))

    @property
    def sources(self) -> tuple[str, ...]:
        """Name of every block's input."""
        before = (IMAGE, *self.names)
        return tuple(spec.source or before[index] for index, spec in enumerate(self.blocks))

    @property
    def kept(self) -> frozenset[str]:
        """Blocks whose value is added elsewhere."""
        return frozenset(spec.add for spec in self.blocks if spec.add)

    @property
    def classes(self) -> int:
        """Logits."""
        return self.blocks[-1].channels

    def maps(self) -> dict[str, Map]:
        """Output of every block, in order; `ModelError` where blocks do not fit together."""
        known = {IMAGE: Map(*self.image)}
        active = {IMAGE}
        for index, (spec, name, source) in enumerate(zip(self.blocks, self.names, self.sources, strict=True)):
            if name in known:
                raise ModelError(f"block names must differ, but {name!r} appears twice")
            if source not in active or (source == IMAGE) != (index == 0):
                raise ModelError(f"block {name} must read an earlier block with activation, not {source!r}")
            known[name] = out = _output(name, spec, known[source])
            if spec.add and (spec.add not in known or known[spec.add][:3] != out[:3]):
                raise ModelError(
                    f"block {name} must add an earlier block with an output of {out[:3]}, not {spec.add!r}")
            if spec.activate:
                active.add(name)
        if known[self.names[-1]][:2] != (1, 1) or self.blocks[-1].add or self.names[-1] in self.kept:
            raise ModelError(f"block {self.names[-1]}, the last, must have a 1 x 1 map and no shortcut")
        return dict(list(known.items())[1:])

    def to_json(self) -> str:
        """Canonical JSON; `from_json` inverts it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Inverse of `to_json`; `ModelError` for anything else."""
        try:
            values: dict[str, Any] = json.loads(text)
            values["blocks"] = tuple(BlockSpec(**block) for block in values["blocks"])
            values["scheme"] = Scheme.from_json(values["scheme"])
            for key in ("image", "mean"):
                values[key] = tuple(values[key])
            return cls(**values)
        except (ValueError, TypeError, KeyError, QuantizeError) as error:
            raise ModelError(f"architecture must be the JSON of an Architecture: {error}") from None

    def build(self) -> Network:
        """The module, freshly initialised from torch's random state."""
        return Network(self)


def _output(name: str, spec: BlockSpec, source: Map) -> Map:
    average = spec.average or min(source.rows, source.columns)
    sizes = [size // average for size in source[:2]]
    kernel = (spec.kernel or sizes[0], spec.kernel or sizes[1])
    conv = [(size + 2 * spec.padding - k) // spec.stride + 1 for size, k in zip(sizes, kernel, strict=True)]
    rows, columns = ((size + 2 * spec.pool_padding - spec.pool) // (spec.pool_stride or spec.pool) + 1 for size in conv)
    if min(rows, columns, *conv) < 1:
        raise ModelError(f"block {name} must leave a map of 1 x 1 or more, not {rows} x {columns}")
    return Map(rows, columns, spec.channels, kernel, average)


class Network(nn.Module):
    """The module of an `Architecture`. Input: uint8 [B, rows, columns, channels]; output: float logits [B, classes]."""

    mean: Tensor

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        maps = {IMAGE: Map(*architecture.image), **architecture.maps()}
        self.blocks = nn.ModuleDict()
        for spec, name, source in zip(architecture.blocks, architecture.names, architecture.sources, strict=True):
            quantizer = IntegerWeights() if spec.wide else architecture.scheme.weights()
            # The image is padded before it is normalised: black pixels, as the accelerator pads.
            conv = QuantConv2d(maps[source].channels, spec.channels, maps[name].kernel, quantizer, stride=spec.stride,
                               padding=0 if source == IMAGE else spec.padding, bias=spec.norm == "none")
            self.blocks[name] = Block(
                conv, architecture.scheme.activations() if spec.activate else None, pool=spec.pool,
                pool_stride=spec.pool_stride, pool_padding=spec.pool_padding, average=maps[name].average,
                norm=spec.norm, relu=architecture.relu)
        mean = torch.tensor(architecture.mean or [0.0] * architecture.image[2]).view(1, -1, 1, 1)
        self.register_buffer("mean", mean, persistent=False)

    @property
    def block_list(self) -> list[Block]:
        """The blocks, in order."""
        return [block for block in self.blocks.values() if isinstance(block, Block)]

    def forward(self, images: Tensor) -> Tensor:
        ((_, _, logits),) = deque(self.steps(images), maxlen=1)
        return logits.flatten(1)

    def steps(self, images: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(name, input, value before the activation) of every block, in order, as `forward` goes through them."""
        architecture = self.architecture
        padding = architecture.blocks[0].padding
        x = images.permute(0, 3, 1, 2)
        if padding:
            x = F.pad(x, (padding,) * 4)
        x = x.to(self.mean.dtype) / 255
        if architecture.mean or architecture.std != 1:
            x = (x - self.mean) / architecture.std
        tensors, kept = {IMAGE: x}, dict[str, Tensor]()
        for spec, name, source, block in zip(
                architecture.blocks, architecture.names, architecture.sources, self.block_list, strict=True):
            value = block.value(tensors[source], kept[spec.add] if spec.add else None)
            if name in architecture.kept:
                kept[name] = F.relu(value) if spec.rectify else value
            yield name, tensors[source], value
            if spec.activate:
                tensors[name] = block.activate(value)
