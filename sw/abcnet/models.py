"""The networks at hand, as `Architecture`s of any scheme.

What the paper leaves open is decided here, with these defaults: every layer has the scheme's weights, first, last and
projections included (`wide` gives the first and last 8-bit weights); zero padding; a shortcut carries the real value
before the activation through ReLU, as in the full-precision network; where it changes size, it is a 1 x 1 convolution
with batch normalisation (type B). The accelerator runs all of them exactly as they stand here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .architecture import Architecture, BlockSpec, ModelError, head
from .schemes import Scheme, scheme

# Statistics of the training sets: mean per channel, and one deviation, because a scale per channel is no plane.
CIFAR = {"mean": (0.491, 0.482, 0.447), "std": 0.247}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": 0.226}


def architecture(name: str, using: Scheme | None = None, *, wide: bool = False, image: tuple[int, int, int] | None =
                 None, classes: int | None = None) -> Architecture:
    """The network `name` with the scheme `using`, by default `abc` with planes that suit the network.

    wide: 8-bit weights in the first and last layer. image, classes: other than the network's own.
    """
    if name not in _NETWORKS:
        raise ModelError(f"model must be one of {', '.join(_NETWORKS)}, not {name!r}")
    make, shape, count, planes, options = _NETWORKS[name]
    blocks = make(count if classes is None else classes)
    if wide:
        blocks = (replace(blocks[0], wide=True), *blocks[1:-1], replace(blocks[-1], wide=True))
    using = scheme("abc", M=planes, N=planes) if using is None else using
    return Architecture(name, shape if image is None else image, blocks, using, **options)


def _digits(classes: int) -> tuple[BlockSpec, ...]:
    return BlockSpec(8, 3, padding=1), BlockSpec(16, 3, padding=1, pool=2), BlockSpec(32, 0), head(classes)


def _fashion(classes: int) -> tuple[BlockSpec, ...]:
    return (BlockSpec(16, 5, padding=2, pool=2), BlockSpec(32, 3, padding=1, pool=2), BlockSpec(32, 3),
            BlockSpec(64, 0), head(classes))


def _lenet5(classes: int) -> tuple[BlockSpec, ...]:
    """LeNet-5 in the form of LeCun et al. 1998: 6 and 16 channels, 120 and 84 units, with max-pools."""
    return (BlockSpec(6, 5, padding=2, pool=2), BlockSpec(16, 5, pool=2), BlockSpec(120, 0), BlockSpec(84, 0),
            head(classes))


def _cnv(classes: int) -> tuple[BlockSpec, ...]:
    """FINN's CNV: 3 x 3 convolutions without padding, 64-64-128-128-256-256, pools after the second and fourth."""
    convolutions = [(64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 1)]
    return (*(BlockSpec(channels, 3, pool=pool) for channels, pool in convolutions), BlockSpec(512, 0),
            BlockSpec(512, 0), head(classes))


def _trail(classes: int) -> tuple[BlockSpec, ...]:
    """The paper's forest-trail network (figure S5): six 4 x 4 convolutions and pools, then 200 units.

    Padding, which the figure leaves open, is 2. The batch normalisation of the image is a division by 255, and the
    dropout before the last layer is left out: a network of binary weights hardly over-fits.
    """
    convolutions = (BlockSpec(channels, 4, padding=2, pool=2) for channels in (64, 64, 128, 128, 128, 128))
    return *convolutions, BlockSpec(200, 0), head(classes)


def _residual(stages: tuple[tuple[int, int, int], ...], stem: BlockSpec, classes: int, *,
              bottleneck: bool = False) -> tuple[BlockSpec, ...]:
    """Residual stages (channels, stride, blocks) after a stem, then average pool and classifier (He et al. 2016)."""
    blocks, before, width = [stem], stem.name, stem.channels
    for index, (channels, first_stride, count) in enumerate(stages, 1):
        for number in range(count):
            stride, name, out = first_stride if number == 0 else 1, f"layer{index}_{number}", channels
            if bottleneck:
                out = 4 * channels
                blocks += [BlockSpec(channels, 1, name=f"{name}_conv1", source=before),
                           BlockSpec(channels, 3, stride=stride, padding=1, name=f"{name}_conv2")]
                last = BlockSpec(out, 1, name=name, source=f"{name}_conv2")
            else:
                blocks += [BlockSpec(channels, 3, stride=stride, padding=1, name=f"{name}_conv1", source=before)]
                last = BlockSpec(out, 3, padding=1, name=name, source=f"{name}_conv1")
            shortcut = before
            if stride != 1 or width != out:
                shortcut = f"{name}_short"
                blocks.append(BlockSpec(out, 1, stride=stride, name=shortcut, source=before, activate=False,
                                        rectify=False))
            blocks.append(replace(last, add=shortcut))
            before, width = name, out
    return (*blocks, head(classes, average=0))


def _resnet20(classes: int) -> tuple[BlockSpec, ...]:
    stem = BlockSpec(16, 3, padding=1, name="stem")
    return _residual(((16, 1, 3), (32, 2, 3), (64, 2, 3)), stem, classes)


def _imagenet(counts: tuple[int, int, int, int], bottleneck: bool) -> Callable[[int], tuple[BlockSpec, ...]]:
    stem = BlockSpec(64, 7, stride=2, padding=3, pool=3, pool_stride=2, pool_padding=1, name="stem")
    stages = tuple((64 << index, 1 if index == 0 else 2, count) for index, count in enumerate(counts))
    return lambda classes: _residual(stages, stem, classes, bottleneck=bottleneck)


_Maker = Callable[[int], tuple[BlockSpec, ...]]
# name: blocks, image, classes, default M and N, further options of the Architecture
_NETWORKS: dict[str, tuple[_Maker, tuple[int, int, int], int, int, dict]] = {
    "digits": (_digits, (8, 8, 1), 10, 2, {}),
    "fashion": (_fashion, (28, 28, 1), 10, 3, {}),
    "lenet5": (_lenet5, (28, 28, 1), 10, 3, {}),
    "cnv": (_cnv, (32, 32, 3), 10, 1, CIFAR),
    "resnet20": (_resnet20, (32, 32, 3), 10, 3, CIFAR | {"relu": True}),
    "resnet18": (_imagenet((2, 2, 2, 2), False), (224, 224, 3), 1000, 5, IMAGENET | {"relu": True}),
    "resnet34": (_imagenet((3, 4, 6, 3), False), (224, 224, 3), 1000, 5, IMAGENET | {"relu": True}),
    "resnet50": (_imagenet((3, 4, 6, 3), True), (224, 224, 3), 1000, 5, IMAGENET | {"relu": True}),
    "trail": (_trail, (101, 101, 3), 3, 5, {}),
}
MODELS = tuple(_NETWORKS)
