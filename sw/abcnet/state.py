"""State of an unfinished training run on disk: complete or not there, whatever happens while it is written."""

from __future__ import annotations

import os
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .recipe import TrainError

FORMAT = "abacus-training-2"


@dataclass
class State:
    """Where a run stands: before step `step` of epoch `epoch` of phase `phase` (0 full precision, 1 quantised).

    loss: sum over the steps of this epoch. best: accuracy of the best epoch on the images held out, -1 before one.
    rows: one per finished epoch, the log. settings: what identifies the run; only the same run may go on.
    """

    settings: dict[str, str]
    phase: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best: float = -1.0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the state to `path` with parameters, statistics and the optimizer's memory."""
        content = {"format": FORMAT, "state": asdict(self), "model": model.state_dict(),
                   "optimizer": optimizer.state_dict()}
        temporary = path.with_name(path.name + ".part")
        try:
            with temporary.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise TrainError(f"training state {path} cannot be written: {error.strerror}") from None


def load(path: Path, settings: dict[str, str]) -> tuple[State, dict[str, Any], dict[str, Any]] | None:
    """(state, model's dictionary, optimizer's dictionary) of the run in `path`; None where there is none yet.

    `TrainError` for a damaged file, and for a run with other settings, naming the first that differs.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # checks the checksums, which torch does not
            damaged = archive.testzip()
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
        good = isinstance(content, dict) and content.get("format") == FORMAT
    except Exception:  # torch raises whatever the unpickler meets
        good = False
    if not good or content is None:
        raise TrainError(f"training state {path} must be an undamaged file of this program: remove it to start afresh")
    state = State(**content["state"])
    for key, wanted in settings.items():
        if state.settings.get(key) != wanted:
            raise TrainError(f"training state {path} must be of a run with the same {key}: remove it to start afresh")
    return state, content["model"], content["optimizer"]
