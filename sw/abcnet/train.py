"""`python -m sw train`: full-precision pre-training, then fine-tuning with quantisers, as in the paper; then export.

Under torchrun the processes train together: `torchrun --nproc-per-node 4 -m sw train ...`.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import fields, replace
from pathlib import Path

import torch

from sw import data

from . import checkpoint, memory
from .architecture import Architecture, Network
from .export_command import DATASETS, ship
from .models import architecture
from .options import add_arguments, complete
from .parallel import joined
from .pretrained import start_from
from .recipe import Recipe, TrainError, recipe_of
from .schemes import scheme
from .trainer import Trainer

__all__ = ["add_arguments", "run", "ship", "train"]


def train(model: Network, dataset: data.Dataset, recipe: Recipe, *, seed: int = 0, quiet: bool = False) -> float:
    """Train `model` in place, keeping nothing on disk, and return its accuracy on the test set."""
    return Trainer(model, dataset, recipe, seed, quiet=quiet).run()


def run(args: argparse.Namespace) -> int:
    """Train, export, save, and print accuracies. Returns the exit status; raises `AbacusError` for bad input."""
    args = complete(args)
    out, weights, folder = _places(args)
    if args.threads is not None:
        if not 1 <= args.threads <= 1024:
            raise TrainError(f"--threads must be in 1..1024, not {args.threads}")
        torch.set_num_threads(args.threads)
    seed = args.seed or 0
    if seed < 0:
        raise TrainError(f"--seed must be 0 or more, not {seed}")
    spec = _architecture(args)
    given = {field.name: getattr(args, field.name) for field in fields(Recipe)}
    recipe = replace(recipe_of(args.model), **{key: value for key, value in given.items() if value is not None})
    dataset = data.load(args.dataset or DATASETS.get(args.model, "folder"), args.data, image=spec.image)
    if len(dataset.classes) != spec.classes:
        spec = architecture(args.model, spec.scheme, classes=len(dataset.classes))
    memory.keep()
    with joined(args.device or "auto") as group:
        torch.manual_seed(seed)
        model = spec.build()
        start = start_from(model, args.init, dataset.train_images) if args.init else "seed"
        Trainer(model, dataset, recipe, seed, group, folder, start, bool(args.quiet), bool(args.tensorboard)).run()
        if group.rank == 0:
            _finish(model.cpu(), dataset, recipe, seed, out, weights)
    return 0


def _places(args: argparse.Namespace) -> tuple[Path, Path | None, Path | None]:
    """Model file, checkpoint and run directory, which must be possible before hours of training."""
    if args.out is None:
        raise TrainError("--out must name the model file to write")
    for text, suffix in ((args.out, ".abacus"), (args.checkpoint, ".npz")):
        if text is not None and (Path(text).suffix != suffix or not Path(text).parent.is_dir()):
            raise TrainError(f"output must be a {suffix} file in a directory that exists, not {text}")
    if args.tensorboard:
        if args.state is None:
            raise TrainError("--tensorboard must come with a --state directory for its events")
        if importlib.util.find_spec("tensorboardX") is None:
            raise TrainError("--tensorboard needs the package tensorboardX: pip install tensorboardX")
    folder = None if args.state is None else Path(args.state)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainError(f"--state {folder} must be a directory: {error.strerror}") from None
    return Path(args.out), None if args.checkpoint is None else Path(args.checkpoint), folder


def _architecture(args: argparse.Namespace) -> Architecture:
    """The network with the scheme asked for; M and N are the network's own unless given."""
    if args.model is None:
        raise TrainError("--model must name the network to train")
    own = architecture(args.model).scheme
    name = args.scheme or own.name
    planes = {"M": args.M, "N": args.N}
    if name == own.name == "abc":
        planes = {"M": len(own.u) if args.M is None else args.M, "N": len(own.v) if args.N is None else args.N}
    using = scheme(name, **planes, channelwise=args.channelwise, symmetric=args.symmetric, trained=args.trained)
    return architecture(args.model, using)


def _finish(model: Network, dataset: data.Dataset, recipe: Recipe, seed: int, out: Path, weights: Path | None) -> None:
    if weights:
        checkpoint.save(weights, model)
    print(f"{out}: {ship(out, model, dataset, {'recipe': str(recipe), 'seed': str(seed)})}")
