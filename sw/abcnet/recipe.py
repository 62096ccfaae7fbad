"""How to train: the settings of a run, and the learning rate at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from sw.errors import AbacusError


class TrainError(AbacusError):
    """Training that cannot start or go on; the message is one sentence."""


_CHOICES = {"optimizer": ("sgd", "adam"), "schedule": ("cosine", "step"), "precision": ("auto", "fp32", "bf16")}
_RANGES = {
    "float_epochs": (0, 10_000), "epochs": (0, 10_000), "batch": (2, 65_536), "rate": (0.0, 10.0),
    "weight_decay": (0.0, 1.0), "shift": (0, 32), "holdout": (0, 10_000_000), "drop_every": (1, 10_000),
    "drop_factor": (0.0, 1.0),
}


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run; `TrainError` for a value out of range.

    Parameters
    ----------
    float_epochs, epochs : passes over the training images in full precision, then with the scheme's quantisers.
    batch : images per step, of all processes together.
    rate : initial learning rate of both phases. `schedule` cosine: to zero along half a cosine; step: multiplied by
        `drop_factor` after every `drop_every` epochs.
    optimizer : sgd (momentum 0.9) or adam.
    weight_decay : of convolution and linear weights.
    shift, flip : augmentation: every image moved by up to that many pixels along each axis, zeros moving in; half of
        the images mirrored left to right.
    holdout : training images kept aside, on which the best epoch is chosen; with 0 the last epoch is kept.
    precision : of convolutions: fp32, bf16, or auto: bf16 on GPUs that have it. Not fp16, whose range needs scaling.
    """

    float_epochs: int
    epochs: int
    batch: int = 64
    rate: float = 0.01
    optimizer: str = "sgd"
    weight_decay: float = 1e-4
    shift: int = 0
    flip: bool = False
    schedule: str = "cosine"
    drop_every: int = 30
    drop_factor: float = 0.1
    holdout: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            option = name.replace("_", "-")
            if name in _CHOICES and value not in _CHOICES[name]:
                raise TrainError(f"{option} must be one of {', '.join(_CHOICES[name])}, not {value!r}")
            if name in _RANGES:
                low, high = _RANGES[name]
                if isinstance(value, bool) or not low <= value <= high:
                    raise TrainError(f"{option} must be in {low}..{high}, not {value}")

    def rate_at(self, epoch: float, epochs: int) -> float:
        """Learning rate `epoch` epochs (with fractions) into a phase of `epochs`."""
        if self.schedule == "step":
            return self.rate * self.drop_factor ** int(epoch / self.drop_every)
        return self.rate * (1 + math.cos(math.pi * epoch / epochs)) / 2


RECIPES = {
    "digits": Recipe(float_epochs=20, epochs=60, rate=0.1),
    "fashion": Recipe(float_epochs=6, epochs=14, batch=128, rate=0.02, shift=1, flip=True),
    "lenet5": Recipe(float_epochs=6, epochs=14, batch=128, rate=0.02, shift=1, flip=True),
    "cnv": Recipe(float_epochs=60, epochs=140, batch=128, rate=0.05, shift=4, flip=True),
    "resnet20": Recipe(float_epochs=100, epochs=100, batch=128, rate=0.1, shift=4, flip=True),
}
IMAGENET = Recipe(float_epochs=0, epochs=60, batch=256, rate=0.01, shift=16, flip=True, schedule="step", drop_every=20)


def recipe_of(model: str) -> Recipe:
    """The recipe of a network at hand; those for large images share one: the paper's rate of 0.01, dropped in steps."""
    return RECIPES.get(model, IMAGENET)
