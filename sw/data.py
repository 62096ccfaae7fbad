"""Image data sets as uint8 arrays. `digits` comes with scikit-learn; the others are read from a directory.

The directory (`--data` or the environment variable ABACUS_DATA) is laid out as the public downloads are:
DIR/mnist/ and DIR/fashion_mnist/ with the four idx `.gz` files each, DIR/cifar-10-batches-bin/. A folder of image files
is read as PyTorch's ImageFolder does: train/CLASS/*, val/CLASS/*.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sw.errors import DataError

VARIABLE = "ABACUS_DATA"
DIGITS_TEST = 360
_FASHION = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")
_DIGITS = tuple("0123456789")


class Images(Protocol):
    """Images that are read when asked for: an index array or slice gives uint8 [count, rows, columns, channels]."""

    def __len__(self) -> int: ...

    def __getitem__(self, item: Any, /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Selection:
    """Some of the images, by index."""

    images: Images
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: Any, /) -> np.ndarray:
        return self.images[self.index[item]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 [count, rows, columns, channels], labels int64 [count] indexing `classes`."""

    name: str
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    classes: tuple[str, ...]


def load(name: str, directory: str | Path | None = None, *, image: tuple[int, int, int] | None = None) -> Dataset:
    """The data set `name`: digits, mnist, fashion, cifar10 or folder:DIR. `DataError` if unknown, missing or damaged.

    image: rows, columns and channels that a folder's pictures are brought to, and that others must have.
    """
    dataset = _load(name, directory, image)
    shape = dataset.test_images[:1].shape[1:]
    if image is not None and shape != image:
        raise DataError(f"data set {name} must have images of {' x '.join(map(str, image))} for this network, "
                        f"not {' x '.join(map(str, shape))}")
    return dataset


def _load(name: str, directory: str | Path | None, image: tuple[int, int, int] | None) -> Dataset:
    if name == "digits":
        return _digits()
    if name.startswith(FOLDER) and image is not None:
        from sw import pictures

        return Dataset(name, *pictures.folder(Path(name.removeprefix(FOLDER)), image))
    if name in _FOLDERS or name == CIFAR:
        root = directory if directory is not None else os.environ.get(VARIABLE)
        if root is None:
            raise DataError(f"data set {name} needs its directory: give --data DIR or set {VARIABLE}")
        if name == CIFAR:
            from sw import pictures

            return Dataset(name, *pictures.cifar10(Path(root)), pictures.CIFAR_CLASSES)
        folder, classes = _FOLDERS[name]
        return _idx_dataset(name, Path(root) / folder, classes)
    raise DataError(f"data set must be one of digits, {', '.join(_FOLDERS)}, {CIFAR}, folder:DIR, not {name!r}")


FOLDER, CIFAR = "folder:", "cifar10"
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
