"""Image data sets as uint8 arrays. `digits` comes with scikit-learn; the others are read from a directory.

The directory (`--data` or the environment variable ABACUS_DATA) is laid out as the public downloads are:
DIR/mnist/ and DIR/fashion_mnist/ with the four idx `.gz` files each.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sw.errors import AbacusError

VARIABLE = "ABACUS_DATA"
DIGITS_TEST = 360
_FASHION = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")
_DIGITS = tuple("0123456789")


class DataError(AbacusError):
    """A data set that is missing or damaged; the message is one sentence."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 [count, rows, columns, channels], labels int64 [count] indexing `classes`."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]


def load(name: str, directory: str | Path | None = None) -> Dataset:
    """The data set `name`: digits, mnist or fashion. `DataError` when unknown, missing or damaged."""
    if name == "digits":
        return _digits()
    if name in _FOLDERS:
        folder, classes = _FOLDERS[name]
        root = directory if directory is not None else os.environ.get(VARIABLE)
        if root is None:
            raise DataError(f"data set {name} needs its directory: give --data DIR or set {VARIABLE}")
        return _idx_dataset(name, Path(root) / folder, classes)
    raise DataError(f"data set must be one of digits, {', '.join(_FOLDERS)}, not {name!r}")


_FOLDERS = {"mnist": ("mnist", _DIGITS), "fashion": ("fashion_mnist", _FASHION)}


def _digits() -> Dataset:
    """scikit-learn's 1,797 digits of 8 x 8, 0..16 scaled to 0..255; the last 360 of a fixed order are the test."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("data set digits needs scikit-learn: pip install 'abacus-fpga[train]'") from None
    bunch = load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.images))
    images = np.rint(bunch.images[order] * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target[order].astype(np.int64)
    cut = len(images) - DIGITS_TEST
    return Dataset("digits", images[:cut], labels[:cut], images[cut:], labels[cut:], _DIGITS)


def _idx_dataset(name: str, folder: Path, classes: tuple[str, ...]) -> Dataset:
    if not folder.is_dir():
        raise DataError(f"data set {name} must lie in {folder}, which is not a directory")
    train_images, train_labels = _idx_pair(folder, "train", len(classes))
    test_images, test_labels = _idx_pair(folder, "t10k", len(classes))
    return Dataset(name, train_images, train_labels, test_images, test_labels, classes)


def _idx_pair(folder: Path, prefix: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [count, rows, columns, 1] and their labels."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", 3)
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 1).astype(np.int64)
    if len(images) != len(labels) or not len(labels) or labels.max() >= classes:
        raise DataError(f"{folder}/{prefix}-* must have one label below {classes} per image, "
                        f"not {len(labels)} labels for {len(images)} images")
    return images[..., None], labels


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in a gzipped idx file of that many dimensions; `DataError` when missing or damaged."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"data file {path} must exist") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"data file {path} must be a readable gzip file: {error}") from None
    header = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < header:
        raise DataError(f"data file {path} must be an idx file of bytes with {dimensions} dimensions")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    count = int(np.prod(shape, dtype=object))
    if len(content) - header != count:
        raise DataError(f"data file {path} must hold {count} bytes of data, not {len(content) - header}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
