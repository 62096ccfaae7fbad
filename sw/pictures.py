"""Data sets of pictures: CIFAR-10 and folders of image files."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sw.errors import DataError

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_RECORD = 1 + 3 * 32 * 32
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CROP = 8 / 7  # of the shorter side to the picture that is cut from its middle: 256 to 224


def cifar10(root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images uint8 [50000, 32, 32, 3] and labels int64, then those of the test; in `root` either the binary
    version, cifar-10-batches-bin/, or cifar10/ with lossless WebP strips in zips, these in a fixed random order.
    """
    binary, zips = root / "cifar-10-batches-bin", root / "cifar10"
    if binary.is_dir():
        train = [_batch(binary / f"data_batch_{index}.bin") for index in range(1, 6)]
        test = _batch(binary / "test_batch.bin")
        return np.concatenate([images for images, _ in train]), np.concatenate([labels for _, labels in train]), *test
    if zips.is_dir():
        return *_strips(zips, "train"), *_strips(zips, "test")
    raise DataError(f"data set cifar10 must lie in {binary} (the binary version) or {zips}, which are no directories")


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Records of label byte and three planes of 32 x 32."""
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"data file {path} cannot be read: {error.strerror}") from None
    if not len(content) or len(content) % CIFAR_RECORD:
        raise DataError(f"data file {path} must be records of {CIFAR_RECORD} bytes, not {len(content)} bytes")
    records = content.reshape(-1, CIFAR_RECORD)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), _labels(path, records[:, 0], len(records))


def _strips(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    path = folder / f"cifar10_{part}_webp.zip"
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".webp"))
            strips = [_strip(archive.read(name)) for name in names]
            labels = np.load(io.BytesIO(archive.read(f"{part}_labels.npy")), allow_pickle=False)
            images = np.concatenate(strips)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"data file {path} must be an undamaged zip of WebP strips and labels: {error}") from None
    # Strips lie class by class; whoever takes the first images wants some of each.
    order = np.random.RandomState(0).permutation(len(images))
    return images[order], _labels(path, labels, len(images))[order]


def _strip(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture.convert("RGB")).reshape(-1, 32, 32, 3)


def _labels(path: Path, labels: np.ndarray, count: int) -> np.ndarray:
    if labels.shape != (count,) or labels.min() < 0 or labels.max() >= len(CIFAR_CLASSES):
        raise DataError(f"data file {path} must have a label below {len(CIFAR_CLASSES)} for each of its {count} images")
    return labels.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Files:
    """Image files, decoded when asked for, as uint8 [count, rows, columns, channels].

    A picture of another size is scaled until its shorter side is 8/7 of the longer one wanted, and cut at the middle.
    """

    paths: tuple[Path, ...]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: Any, /) -> np.ndarray:
        chosen = np.arange(len(self.paths))[item]
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
            pictures = list(pool.map(self._read, (self.paths[index] for index in chosen)))
        return np.stack(pictures) if pictures else np.zeros((0, *self.shape), np.uint8)

    def _read(self, path: Path) -> np.ndarray:
        rows, columns, channels = self.shape
        try:
            with Image.open(path) as picture:
                plain = picture.convert("L" if channels == 1 else "RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"image {path} cannot be read: {error}") from None
        if plain.size != (columns, rows):
            scale = CROP * max(rows, columns) / min(plain.size)
            wide, high = (max(round(side * scale), least) for side, least in
                          zip(plain.size, (columns, rows), strict=True))
            left, top = (wide - columns) // 2, (high - rows) // 2
            resized = plain.resize((wide, high), Image.Resampling.BILINEAR)
            plain = resized.crop((left, top, left + columns, top + rows))
        return np.asarray(plain, np.uint8).reshape(self.shape)


def folder(root: Path, shape: tuple[int, int, int]) -> tuple[Files, np.ndarray, Files, np.ndarray, tuple[str, ...]]:
    """Training and test images and labels, and the classes, of ROOT/train/CLASS/* and ROOT/val/CLASS/* or ROOT/test/.

    shape: rows, columns and channels (1 or 3) that the network takes.
    """
    if shape[2] not in (1, 3):
        raise DataError(f"data set folder must be for a network of 1 or 3 channels, not {shape[2]}")
    test = next((root / name for name in ("val", "test") if (root / name).is_dir()), root / "val")
    for part in (root / "train", test):
        if not part.is_dir():
            raise DataError(f"data set folder {root} must hold train and val or test, but {part} is no directory")
    classes = tuple(sorted(entry.name for entry in (root / "train").iterdir() if entry.is_dir()))
    return *_files(root / "train", classes, shape), *_files(test, classes, shape), classes


def _files(part: Path, classes: tuple[str, ...], shape: tuple[int, int, int]) -> tuple[Files, np.ndarray]:
    for entry in sorted(part.iterdir()):
        if entry.is_dir() and entry.name not in classes:
            raise DataError(f"data set folder {part} must have the classes of train, but has {entry.name}")
    found = [(path, label) for label, name in enumerate(classes) if (part / name).is_dir()
             for path in sorted((part / name).iterdir()) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"data set folder {part} must hold CLASS/*{' or *'.join(SUFFIXES)}, but has none")
    return Files(tuple(path for path, _ in found), shape), np.array([label for _, label in found], np.int64)
