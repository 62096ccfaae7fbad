"""The training loop: two phases, resumable at any step, alone or in parallel, with a log."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from sw.data import Dataset, Images, Selection

from . import checkpoint, state
from .architecture import Network
from .batches import Batches, seed_of
from .inference import logits
from .layers import set_binary
from .parallel import Group, floating_buffers
from .recipe import Recipe, TrainError
from .state import State

PHASES = ("full precision", "quantised")
SAVE_SECONDS = 60.0
CHECKED_STEPS = 16  # the loss is looked at this often: on a GPU every look waits for all work


@dataclass
class Trainer:
    """One run. Same settings and same number of threads and processes: same result, bit for bit, killed or not.

    Parameters
    ----------
    model : trained in place, on group.device.
    folder : where state.pt, log.csv and best.npz go, and where a run that was killed goes on; None keeps nothing.
    start : what the model was before, for the settings that identify the run: "seed" or a checkpoint's name.
    tensorboard : also write TensorBoard events to the folder.
    """

    model: Network
    dataset: Dataset
    recipe: Recipe
    seed: int = 0
    group: Group = Group()
    folder: Path | None = None
    start: str = "seed"
    quiet: bool = False
    tensorboard: bool = False
    save_seconds: float = SAVE_SECONDS

    def run(self) -> float:
        """Train, and return the accuracy on the test set. `TrainError` when a loss is not finite."""
        recipe, group = self.recipe, self.group
        if recipe.holdout >= len(self.dataset.train_labels):
            raise TrainError(f"holdout must be less than the {len(self.dataset.train_labels)} training images, "
                             f"not {recipe.holdout}")
        if recipe.batch % group.world:
            raise TrainError(f"batch must be a multiple of the {group.world} processes, not {recipe.batch}")
        self.model.to(group.device)
        kept, self.aside = self._split()
        self.batches = Batches(*kept, recipe, self.seed, group.rank, group.world)
        self.best: dict[str, Tensor] | None = None
        self.state, memory = self._begin()
        for phase in range(self.state.phase, len(PHASES)):
            self._phase(phase, memory)
            memory = None
            self.state.phase, self.state.epoch = phase + 1, 0
        set_binary(self.model, True)
        if self.best is not None:
            self.model.load_state_dict(self.best)
        return self.accuracy(self.dataset.test_images, self.dataset.test_labels)

    def accuracy(self, images: Images, labels: np.ndarray) -> float:
        """Share of images whose largest logit is their label's; every process counts its share."""
        share = np.arange(self.group.rank, len(labels), self.group.world)
        right = 0
        if len(share):
            right = int((logits(self.model, Selection(images, share)).argmax(1) == labels[share]).sum())
        return self.group.total(right) / max(1, len(labels))

    def _split(self) -> tuple[tuple[Images, np.ndarray], tuple[Images, np.ndarray]]:
        """Training images, and those held out: the last ones of an order that the seed decides."""
        images, labels, aside = self.dataset.train_images, self.dataset.train_labels, self.recipe.holdout
        if not aside:
            return (images, labels), (images[:0], labels[:0])
        order = np.random.default_rng(seed_of(self.seed)).permutation(len(labels))
        used, kept = np.sort(order[:-aside]), np.sort(order[-aside:])
        return (Selection(images, used), labels[used]), (Selection(images, kept), labels[kept])

    def _begin(self) -> tuple[State, dict[str, Any] | None]:
        """Where to start, and the optimizer's memory there."""
        settings = {"architecture": self.model.architecture.to_json(), "seed": str(self.seed), "start": self.start,
                    "data": f"{self.dataset.name} {len(self.dataset.train_labels)}"}
        settings |= {field.name.replace("_", "-"): str(getattr(self.recipe, field.name)) for field in fields(Recipe)}
        path = self._path("state.pt")
        found = state.load(path, settings) if path else None
        if found is None:
            return State(settings), None
        self.model.load_state_dict(found[1])
        best = self._path("best.npz")
        if found[0].best >= 0 and best:
            self.best = checkpoint.load(best).state_dict()
        return found[0], found[2]

    def _phase(self, phase: int, memory: dict[str, Any] | None) -> None:
        epochs = (self.recipe.float_epochs, self.recipe.epochs)[phase]
        set_binary(self.model, phase == 1)
        optimizer = optimizer_of(self.model, self.recipe)
        if memory is not None:
            optimizer.load_state_dict(memory)
        show = not self.quiet and self.group.rank == 0
        with tqdm(total=epochs * self.batches.steps, initial=self.state.epoch * self.batches.steps + self.state.step,
                  desc=PHASES[phase], unit="step", disable=not show, file=sys.stderr) as bar:
            for epoch in range(self.state.epoch, epochs):
                self.state.epoch = epoch
                self._epoch(phase, epoch, epochs, optimizer, bar)
                self._finish_epoch(phase, epoch, optimizer)
                bar.set_postfix(loss=f"{self.state.rows[-1]['loss']:.4f}")

    def _epoch(self, phase: int, epoch: int, epochs: int, optimizer: torch.optim.Optimizer, bar: tqdm) -> None:
        device, steps, here = self.group.device, self.batches.steps, self.state
        loss = torch.tensor(here.loss, dtype=torch.float64, device=device)
        saved = time.monotonic()
        self.model.train()
        for step, images, labels in self.batches.epoch(phase, epoch, here.step):
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.rate_at(epoch + step / steps, epochs)
            torch.manual_seed(seed_of(self.seed, phase, epoch, step, 1 + self.group.rank))  # for dropout
            loss += self._step(images.to(device), labels.to(device), optimizer)
            bar.update()
            due = time.monotonic() - saved >= self.save_seconds
            if due or step + 1 == steps or step % CHECKED_STEPS == 0:
                here.loss = self._finite(loss, epoch)
            if due and step + 1 < steps:
                here.step = step + 1
                self._save(optimizer)
                saved = time.monotonic()

    def _step(self, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        device = self.group.device.type
        low = self.recipe.precision == "bf16" or (
            self.recipe.precision == "auto" and device == "cuda" and torch.cuda.is_bf16_supported())
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=low):
            loss = F.cross_entropy(self.model(images).float(), labels)
        loss.backward()
        shared = loss.detach().clone()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.group.mean([*gradients, *floating_buffers(self.model), shared])
        optimizer.step()
        return shared

    def _finite(self, loss: Tensor, epoch: int) -> float:
        value = float(loss)
        if not math.isfinite(value):
            raise TrainError(f"loss must stay finite, but it was {value} in epoch {epoch + 1}; try a lower --rate")
        return value

    def _finish_epoch(self, phase: int, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        """Log the epoch, keep the weights if they are the best so far, and save where it stands."""
        here = self.state
        row: dict[str, Any] = {"phase": PHASES[phase], "epoch": epoch + 1, "loss": here.loss / self.batches.steps,
                               "rate": optimizer.param_groups[0]["lr"]}
        if self.recipe.holdout:
            row["accuracy"] = self.accuracy(*self.aside)
            path = self._path("best.npz")
            if phase == 1 and row["accuracy"] > here.best:
                here.best = row["accuracy"]
                self.best = {name: value.clone() for name, value in self.model.state_dict().items()}
                if path and self.group.rank == 0:
                    checkpoint.save(path, self.model)
        here.rows.append(row)
        here.epoch, here.step, here.loss = epoch + 1, 0, 0.0
        self._save(optimizer)
        self._log(row)

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        path = self._path("state.pt")
        if path and self.group.rank == 0:
            self.state.save(path, self.model, optimizer)

    def _log(self, row: dict[str, Any]) -> None:
        """The log as a whole, so that epochs repeated after a kill appear once."""
        path = self._path("log.csv")
        if path is None or self.group.rank:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, ["phase", "epoch", "loss", "rate", "accuracy"])
        writer.writeheader()
        writer.writerows(self.state.rows)
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(text.getvalue())
        os.replace(temporary, path)
        if self.tensorboard:
            self._tensorboard(row)

    def _tensorboard(self, row: dict[str, Any]) -> None:
        from tensorboardX import SummaryWriter

        assert self.folder is not None
        count = len(self.state.rows)
        with SummaryWriter(str(self.folder / "events"), purge_step=count) as writer:
            for key in ("loss", "rate", "accuracy"):
                if key in row:
                    writer.add_scalar(key, row[key], count)

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / name


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay on convolution and linear weights only: beta, v, BN and biases have no reason to shrink."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.rate)
    return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9)
