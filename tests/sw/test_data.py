"""Data sets: the digits that are always there, idx files, and every way they can be missing or damaged."""

import gzip
import struct

import numpy as np
import pytest

from sw import data


def test_digits_are_split_once_and_for_all():
    dataset = data.load("digits")
    assert dataset.train_images.shape == (1437, 8, 8, 1)
    assert dataset.test_images.shape == (360, 8, 8, 1)
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == np.int64
    assert (dataset.train_images.min(), dataset.train_images.max()) == (0, 255)
    assert dataset.test_labels[:8].tolist() == data.load("digits").test_labels[:8].tolist()
    assert sorted(set(dataset.test_labels.tolist())) == list(range(10))
    assert dataset.classes == tuple("0123456789")


def idx(array):
    return gzip.compress(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.fixture
def folder(tmp_path):
    """A small MNIST: 6 training and 3 test images of 4 x 5."""
    path = tmp_path / "mnist"
    path.mkdir()
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 6), ("t10k", 3)):
        images = rng.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        (path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count, dtype=np.uint8)))
    return path


def test_idx_files_are_read(folder, monkeypatch):
    dataset = data.load("mnist", folder.parent)
    assert dataset.train_images.shape == (6, 4, 5, 1)
    assert dataset.test_labels.tolist() == [0, 1, 2]
    whole = np.random.default_rng(0).integers(0, 256, (9, 4, 5), np.uint8)
    assert np.array_equal(dataset.test_images[..., 0], whole[6:])
    monkeypatch.setenv(data.VARIABLE, str(folder.parent))
    assert np.array_equal(data.load("mnist").train_images, dataset.train_images)


def test_unknown_set_is_refused():
    with pytest.raises(data.DataError, match="data set must be one of digits, mnist, fashion, not 'cats'"):
        data.load("cats")


def test_missing_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv(data.VARIABLE, raising=False)
    with pytest.raises(data.DataError, match="data set fashion needs its directory: give --data DIR or set ABACUS"):
        data.load("fashion")
    with pytest.raises(data.DataError, match="data set fashion must lie in .*fashion_mnist, which is not a directory"):
        data.load("fashion", tmp_path)


LABELS, IMAGES = "t10k-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize(("name", "content", "message"), [
    (LABELS, None, "t10k-labels-idx1-ubyte.gz must exist"),
    (LABELS, b"", "must be an idx file of bytes with 1 dimensions"),
    (LABELS, b"no gzip", "must be a readable gzip file"),
    (LABELS, idx(np.arange(3, dtype=np.uint8))[:-12], "must be a readable gzip file"),
    (LABELS, idx(np.zeros((3, 1), np.uint8)), "must be an idx file of bytes with 1 dimensions"),
    (LABELS, gzip.compress(b"\0\0\x08\1\0"), "must be an idx file of bytes with 1 dimensions"),
    (LABELS, idx(np.arange(4, dtype=np.uint8)), "must have one label below 10 per image, not 4 labels for 3 images"),
    (LABELS, idx(np.array([1, 2, 10], np.uint8)), "must have one label below 10 per image"),
    (IMAGES, gzip.compress(gzip.decompress(idx(np.zeros((6, 4, 5), np.uint8)))[:-1]), "120 bytes of data, not 119"),
    (IMAGES, gzip.compress(gzip.decompress(idx(np.zeros((6, 4, 5), np.uint8))) + b"x"), "120 bytes of data, not 121"),
    (IMAGES, gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 6, 2**32 - 1, 2**32 - 1)), "must hold 110680464"),
], ids=lambda value: "content" if isinstance(value, bytes) else None)
def test_damaged_files_are_refused(folder, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load("mnist", folder.parent)
    assert "\n" not in str(caught.value)
