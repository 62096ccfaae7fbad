"""Training as in the paper: full-precision pre-training, then fine-tuning with binary bases and activations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from sw import artifact, data
from sw.errors import AbacusError
from sw.export import Agreement, agreement, export

from . import checkpoint
from .architecture import Network
from .inference import evaluate
from .layers import set_binary
from .models import architecture
from .schemes import scheme

GOLDEN = 20  # images of the test set kept in a model file with their logits


class TrainError(AbacusError):
    """Training that cannot start or go on; the message is one sentence."""


@dataclass(frozen=True)
class Recipe:
    """How to train. Rates fall to zero along half a cosine, in each of the two phases.

    Augmentation, on the device and per batch: `shift` moves every image by up to that many pixels along each axis,
    zeros moving in; `flip` mirrors half of the images left to right.
    """

    float_epochs: int
    epochs: int
    batch: int = 64
    rate: float = 0.01
    optimizer: str = "sgd"
    weight_decay: float = 1e-4
    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("float_epochs", 0, 10_000), ("epochs", 0, 10_000), ("batch", 2, 65_536),
                                ("rate", 0.0, 10.0), ("weight_decay", 0.0, 1.0), ("shift", 0, 8)):
            if not low <= getattr(self, name) <= high:
                raise TrainError(f"{name.replace('_', '-')} must be in {low}..{high}, not {getattr(self, name)}")
        if self.optimizer not in ("sgd", "adam"):
            raise TrainError(f"optimizer must be one of sgd, adam, not {self.optimizer!r}")


RECIPES = {
    "digits": Recipe(float_epochs=20, epochs=60, rate=0.1),
    "fashion": Recipe(float_epochs=6, epochs=14, batch=128, rate=0.02, shift=1, flip=True),
}


def train(model: Network, dataset: data.Dataset, recipe: Recipe, *, seed: int = 0, quiet: bool = False) -> float:
    """Train `model` in place and return its accuracy on the test set. Same seed and threads, same result."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.tensor(dataset.train_images), torch.tensor(dataset.train_labels)
    for binary, epochs in ((False, recipe.float_epochs), (True, recipe.epochs)):
        set_binary(model, binary)
        optimizer = _optimizer(model, recipe)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs))
        bar = tqdm(range(epochs), desc="ABC-Net" if binary else "full precision", disable=quiet, file=sys.stderr)
        for epoch in bar:
            loss = _epoch(model, optimizer, images, labels, recipe, generator, f"epoch {epoch + 1}")
            schedule.step()
            bar.set_postfix(loss=f"{loss:.4f}")
        if epochs and not quiet:
            accuracy = evaluate(model, dataset.test_images, dataset.test_labels)
            bar.write(f"{bar.desc}: test accuracy {accuracy:.4f}", file=sys.stderr)
    set_binary(model, True)
    return evaluate(model, dataset.test_images, dataset.test_labels)


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Randomly moved and mirrored copies of uint8 [B, H, W, C]."""
    batch, rows, columns, _ = images.shape
    if recipe.flip:
        mirrored = torch.rand(batch, generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
    if recipe.shift:
        s = recipe.shift
        dy, dx = torch.randint(0, 2 * s + 1, (2, batch, 1), generator=generator)
        y, x = dy + torch.arange(rows), dx + torch.arange(columns)
        padded = F.pad(images, (0, 0, s, s, s, s))
        images = padded[torch.arange(batch)[:, None, None], y[:, :, None], x[:, None, :]]
    return images


def _optimizer(model: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay on convolution and linear weights only: beta, v, BN and biases have no reason to shrink."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.rate)
    return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9)


def _epoch(model: Network, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, recipe: Recipe,
           generator: torch.Generator, when: str) -> float:
    """One pass over the training set in random order; mean loss."""
    model.train()
    losses: list[float] = []
    # The last, smaller batch is left out: batch normalisation of a handful of images is noise.
    for index in torch.randperm(len(images), generator=generator).split(recipe.batch):
        if len(index) < recipe.batch and losses:
            continue
        loss = F.cross_entropy(model(augment(images[index], recipe, generator)), labels[index])
        if not torch.isfinite(loss):
            raise TrainError(f"loss must stay finite, but it was {loss.item()} in {when}; try a lower --rate")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `python -m sw train`."""
    add = parser.add_argument
    add("--model", required=True, help=f"network to train, on the data set of the same name: {', '.join(RECIPES)}")
    add("--out", type=Path, required=True, metavar="FILE", help="model file to write, ending in .abacus")
    add("--checkpoint", type=Path, metavar="FILE", help="also write the trained PyTorch weights (.npz)")
    add("--data", type=Path, metavar="DIR", help=f"directory of the data sets (default: environment's {data.VARIABLE})")
    add("-M", type=int, help="weight planes (default: the network's)")
    add("-N", type=int, help="activation planes (default: the network's)")
    add("--channelwise", action="store_true", help="alpha per output channel instead of per layer")
    add("--seed", type=int, default=0, help="random seed (default 0)")
    add("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    add("--quiet", action="store_true", help="no progress bars")
    for name, kind, text in (("float-epochs", int, "epochs of full-precision pre-training"),
                             ("epochs", int, "epochs of ABC-Net fine-tuning"), ("batch", int, "images per step"),
                             ("rate", float, "initial learning rate"), ("optimizer", str, "sgd or adam"),
                             ("weight-decay", float, "of convolution and linear weights"),
                             ("shift", int, "augmentation: random shift in pixels")):
        add(f"--{name}", type=kind, help=f"{text} (default: the network's recipe)")


def run(args: argparse.Namespace) -> int:
    """Train, export, save, and print accuracies. Returns the exit status; raises `AbacusError` for bad input."""
    for path, suffix in ((args.out, ".abacus"), (args.checkpoint, ".npz")):
        if path is not None and (path.suffix != suffix or not path.parent.is_dir()):
            raise TrainError(f"output must be a {suffix} file in a directory that exists, not {path}")
    if args.threads is not None:
        if not 1 <= args.threads <= 1024:
            raise TrainError(f"--threads must be in 1..1024, not {args.threads}")
        torch.set_num_threads(args.threads)
    if args.model not in RECIPES:
        raise TrainError(f"model must be one of {', '.join(RECIPES)}, not {args.model!r}")
    given = {key: getattr(args, key) for key in Recipe.__dataclass_fields__ if getattr(args, key, None) is not None}
    own = architecture(args.model).scheme
    using = scheme("abc", M=args.M or len(own.u), N=args.N or len(own.v), channelwise=args.channelwise)
    spec = architecture(args.model, using)
    recipe = replace(RECIPES[args.model], **given)
    dataset = data.load(args.model, args.data)
    torch.manual_seed(args.seed)
    model = spec.build()
    train(model, dataset, recipe, seed=args.seed, quiet=args.quiet)
    if args.checkpoint:
        checkpoint.save(args.checkpoint, model)
    print(f"{args.out}: {ship(args.out, model, dataset, recipe, args.seed)}")
    return 0


def ship(path: Path, model: Network, dataset: data.Dataset, recipe: Recipe, seed: int) -> Agreement:
    """Export `model` and write it to `path` with a golden sample, recipe and accuracies on the test set."""
    graph = export(model, classes=dataset.classes)
    report = agreement(model, graph, dataset.test_images, dataset.test_labels)
    facts = {"recipe": str(recipe), "seed": str(seed), "test": str(report)}
    graph = replace(graph, metadata=graph.metadata | facts)
    artifact.save_graph(path, graph, dataset.test_images[:GOLDEN])
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """`run` from a command line of its own."""
    parser = argparse.ArgumentParser(prog="python -m sw train", description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except AbacusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
