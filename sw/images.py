"""Images for the command line: numpy files, PNG files and directories of them, data sets."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sw import data
from sw.errors import ImageError
from sw.graph import Image

DATASET = "dataset:"


@dataclass(frozen=True, eq=False)
class Batch:
    """Images uint8 [B, rows, columns, channels], where they came from, and labels int64 [B] where known."""

    images: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray | None = None


def load(source: str, image: Image, *, limit: int | None = None, directory: str | None = None) -> Batch:
    """Images of shape `image` from `source`, the first `limit` of them.

    `source` is a `.npy` or `.npz` file (array `images`, or the only one; `labels` if there), a `.png` file, a
    directory of `.png` files in the order of their names, or `dataset:NAME`: the test images of `sw.data`, read from
    `directory`. A missing batch or single-channel axis is added; nothing is ever resized. Raises `ImageError`.
    """
    path = Path(source)
    if source.startswith(DATASET):
        dataset = data.load(source.removeprefix(DATASET), directory, image=image.shape)
        images = np.asarray(dataset.test_images[:limit])
        return _batch(source, images, dataset.test_labels[:limit], None, image, limit)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".png")[:limit]
        if not files:
            raise ImageError(f"directory {path} must hold PNG files, but has none")
        images = np.stack([_read_png(file, image) for file in files])
        return _batch(source, images, None, tuple(file.name for file in files), image, limit)
    suffix = path.suffix.lower()
    if suffix == ".png":
        return _batch(source, _read_png(path, image)[None], None, (path.name,), image, limit)
    if suffix in (".npy", ".npz"):
        images, labels = _read_numpy(path)
        return _batch(source, images, labels, None, image, limit)
    raise ImageError(
        f"images must be a .npy, .npz or .png file, a directory of .png files or dataset:NAME, not {source!r}"
    )


def _batch(
    source: str, images: np.ndarray, labels: np.ndarray | None, names: tuple[str, ...] | None, image: Image,
    limit: int | None,
) -> Batch:
    """Check shapes and types, complete the axes, apply the limit."""
    given = f"{images.dtype} of shape {list(images.shape)}"
    shape = (image.rows, image.columns, image.channels)
    if image.channels == 1 and images.shape[-2:] == shape[:2]:
        images = images[..., None]
    if images.shape == shape:
        images = images[None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
        wanted = ", ".join(map(str, shape))
        raise ImageError(f"images of {source} must be uint8 of shape [B, {wanted}], not {given}")
    if not len(images):
        raise ImageError(f"images of {source} must be one or more, not 0")
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        given = f"{labels.dtype} of shape {list(labels.shape)}"
        raise ImageError(f"labels of {source} must be {len(images)} integers, not {given}")
    images = images[:limit]
    return Batch(
        images, names or tuple(str(index) for index in range(len(images))),
        None if labels is None else labels[:limit].astype(np.int64),
    )


def _read_png(path: Path, image: Image) -> np.ndarray:
    """A PNG file as uint8 [rows, columns, channels], converted to grey or RGB as the model's channels ask."""
    try:
        from PIL import Image as Picture
    except ImportError:
        raise ImageError("PNG files need Pillow: pip install pillow") from None
    if image.channels not in (1, 3):
        raise ImageError(f"PNG files suit models of 1 or 3 channels, not {image.channels}")
    try:
        with Picture.open(path, formats=["PNG"]) as picture:
            if picture.size != (image.columns, image.rows):
                raise ImageError(
                    f"image {path} must be {image.rows} rows of {image.columns} pixels, "
                    f"not {picture.height} rows of {picture.width}"
                )
            pixels = np.array(picture.convert("L" if image.channels == 1 else "RGB"), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"image {path} cannot be read as PNG: {_reason(error)}") from None
    return pixels.reshape(image.rows, image.columns, image.channels)


def _read_numpy(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, None
        with content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ImageError(f"image file {path} cannot be read: {_reason(error)}") from None
    labels = arrays.pop("labels", None)
    if "images" in arrays:
        return arrays["images"], labels
    if len(arrays) != 1:
        found = ", ".join(arrays) or "none"
        raise ImageError(f"image file {path} must hold an array 'images' or only one array, not {found}")
    return next(iter(arrays.values())), labels


def _reason(error: Exception) -> str:
    """What went wrong, without the path that the message has already and on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())
