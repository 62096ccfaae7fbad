"""Options of `python -m sw train`: declared once, given as flags or in a TOML file with the same names."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

from sw import data

from .models import MODELS
from .recipe import TrainError
from .schemes import SCHEMES

# name: kind, help. Flags write `_` as `-`; a flag wins over the file. What is in neither is None.
OPTIONS: dict[str, tuple[type, str]] = {
    "model": (str, f"network to train: {', '.join(MODELS)}"),
    "out": (str, "model file to write, ending in .abacus"),
    "checkpoint": (str, "also write the trained PyTorch weights (.npz)"),
    "init": (str, "start: checkpoint (.npz) of the same network in any scheme, or the published resnet20-12fca82f.th"),
    # Not --run: torchrun takes that for the start of an option of its own.
    "state": (str, "directory for state, log and best weights; a run that was stopped goes on there"),
    "dataset": (str, "digits, mnist, fashion, cifar10 or folder:DIR (default: what suits the network)"),
    "data": (str, f"directory of the data sets (default: environment's {data.VARIABLE})"),
    "scheme": (str, f"quantisers: {', '.join(SCHEMES)} (default: abc)"),
    "M": (int, "weight planes (default: the network's)"),
    "N": (int, "activation planes (default: the network's)"),
    "channelwise": (bool, "alpha per output channel instead of per layer"),
    "symmetric": (bool, "symmetric coefficients, which need fewer planes on the accelerator"),
    "trained": (bool, "train the shifts u of the weight planes"),
    "float_epochs": (int, "epochs of full-precision pre-training"),
    "epochs": (int, "epochs of quantised fine-tuning"),
    "batch": (int, "images per step"),
    "rate": (float, "initial learning rate"),
    "schedule": (str, "of the learning rate: cosine or step"),
    "drop_every": (int, "schedule step: epochs between drops"),
    "drop_factor": (float, "schedule step: factor of a drop"),
    "optimizer": (str, "sgd or adam"),
    "weight_decay": (float, "of convolution and linear weights"),
    "shift": (int, "augmentation: random shift in pixels"),
    "flip": (bool, "augmentation: random mirroring"),
    "holdout": (int, "training images kept aside to choose the best epoch; 0 keeps the last"),
    "precision": (str, "fp32, bf16 or auto"),
    "device": (str, "cpu, cuda or auto"),
    "seed": (int, "random seed (default 0)"),
    "threads": (int, "CPU threads (default: PyTorch's choice)"),
    "tensorboard": (bool, "also write TensorBoard events to the state directory"),
    "quiet": (bool, "no progress bars"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare all options, and --config."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="options as TOML; flags win over it")
    for name, (kind, text) in OPTIONS.items():
        flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        if kind is bool:
            parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(flag, dest=name, type=kind, help=text)


def complete(args: argparse.Namespace) -> argparse.Namespace:
    """The options with those of --config filled in; `TrainError` for a file that is no such thing."""
    given = {name: getattr(args, name) for name in OPTIONS}
    if args.config is not None:
        for name, value in _read(args.config).items():
            given[name] = value if given[name] is None else given[name]
    return argparse.Namespace(**given)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TrainError(f"config file {path} must be readable TOML: {reason}") from None
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in OPTIONS:
            known = ", ".join(option.replace("_", "-") for option in OPTIONS)
            raise TrainError(f"config file {path} option must be one of {known}, not {key!r}")
        kind: Any = OPTIONS[name][0]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise TrainError(f"config file {path} option {key} must be of type {kind.__name__}, not {value!r}")
        found[name] = kind(value)
    return found
