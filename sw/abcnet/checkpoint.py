"""Trained networks on disk: an .npz of plain arrays and a JSON header, never pickle."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from sw.errors import AbacusError

from .architecture import Architecture, Network

FORMAT = "abacus-checkpoint"
VERSION = 2
_HEADER = "header.json"
MAX_BYTES = 1 << 30  # unpacked size of a believable checkpoint


class CheckpointError(AbacusError):
    """A checkpoint that cannot be read or does not fit; the message is one sentence naming the file."""


def save(path: str | Path, model: Network) -> None:
    """Write the parameters and statistics of `model`. The file appears complete or not at all."""
    header = {"format": FORMAT, "version": VERSION, "architecture": json.loads(model.architecture.to_json())}
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    arrays[_HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> Network:
    """The network in `path`, in evaluation mode. `CheckpointError` when missing, damaged or of another kind."""
    arrays = _read(Path(path))
    try:
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except (KeyError, ValueError):
        raise CheckpointError(f"checkpoint {path} must have a JSON header") from None
    if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise CheckpointError(f"checkpoint {path} must be of format {FORMAT} version {VERSION}")
    try:
        model = Architecture.from_json(json.dumps(header.get("architecture"))).build()
    except AbacusError as error:
        raise CheckpointError(f"checkpoint {path} must hold a buildable network: {error}") from None
    _fill(Path(path), model, arrays)
    return model.eval()


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise CheckpointError(f"checkpoint {path} must unpack to at most {MAX_BYTES} bytes")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} must exist") from None
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"checkpoint {path} must be an undamaged .npz of plain arrays: {error}") from None


def _fill(path: Path, model: Network, arrays: dict[str, np.ndarray]) -> None:
    """Copy `arrays` into `model`; names, shapes and types must be the model's and values finite."""
    state = model.state_dict()
    if set(arrays) != set(state):
        odd = sorted(set(arrays) ^ set(state))[0]
        raise CheckpointError(f"checkpoint {path} must hold exactly the arrays of its network, but differs in {odd}")
    for name, value in arrays.items():
        want = state[name].numpy()
        if value.shape != want.shape or value.dtype != want.dtype:
            raise CheckpointError(f"checkpoint {path} array {name} must be {want.dtype} {list(want.shape)}, "
                                  f"not {value.dtype} {list(value.shape)}")
        if not np.isfinite(value).all():
            raise CheckpointError(f"checkpoint {path} array {name} must be finite")
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
