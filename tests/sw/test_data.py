"""Data sets: the digits that are always there, idx files, and every way they can be missing or damaged."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

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
    with pytest.raises(data.DataError, match="must be one of digits, mnist, fashion, cifar10, folder:DIR, not 'cats'"):
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


def cifar_records(count, seed):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 10, count), generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def write_binary(root):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for seed, name in enumerate([f"data_batch_{index}.bin" for index in range(1, 6)] + ["test_batch.bin"]):
        labels, images = cifar_records(3, seed)
        planes = images.transpose(0, 3, 1, 2).reshape(3, -1)
        (folder / name).write_bytes(np.concatenate([labels[:, None].astype(np.uint8), planes], 1).tobytes())
    return folder


def write_zips(root):
    folder = root / "cifar10"
    folder.mkdir()
    for seed, part in enumerate(("train", "test")):
        labels, images = cifar_records(4, seed)
        with zipfile.ZipFile(folder / f"cifar10_{part}_webp.zip", "w") as archive:
            for index in range(2):
                strip = io.BytesIO()
                Image.fromarray(images[2 * index : 2 * index + 2].reshape(64, 32, 3)).save(strip, "webp", lossless=True)
                archive.writestr(f"{part}_{index:03}.webp", strip.getvalue())
            buffer = io.BytesIO()
            np.save(buffer, labels)
            archive.writestr(f"{part}_labels.npy", buffer.getvalue())
    return folder


def test_cifar_of_the_binary_version(tmp_path):
    write_binary(tmp_path)
    dataset = data.load("cifar10", tmp_path, image=(32, 32, 3))
    assert np.array_equal(dataset.train_images, np.concatenate([cifar_records(3, seed)[1] for seed in range(5)]))
    assert np.array_equal(dataset.test_images, cifar_records(3, 5)[1])
    assert dataset.test_labels.tolist() == cifar_records(3, 5)[0].tolist()
    assert dataset.classes[3] == "cat"


def test_cifar_of_strips(tmp_path):
    write_zips(tmp_path)
    dataset = data.load("cifar10", tmp_path)
    order = np.random.RandomState(0).permutation(4)
    assert np.array_equal(dataset.train_images, cifar_records(4, 0)[1][order])
    assert dataset.train_labels.tolist() == cifar_records(4, 0)[0][order].tolist()
    assert np.array_equal(dataset.test_images, cifar_records(4, 1)[1][order])


@pytest.mark.parametrize(("write", "name", "damage", "message"), [
    (write_binary, "data_batch_2.bin", lambda b: b[:-1], "must be records of 3073 bytes, not 9218 bytes"),
    (write_binary, "data_batch_2.bin", lambda b: b"", "must be records of 3073 bytes, not 0 bytes"),
    (write_binary, "test_batch.bin", lambda b: b"\x0a" + b[1:], "must have a label below 10 for each of its 3 images"),
    (write_binary, "test_batch.bin", None, "cannot be read: No such file or directory"),
    (write_zips, "cifar10_test_webp.zip", None, "must be an undamaged zip"),
    (write_zips, "cifar10_test_webp.zip", lambda b: b[:-50], "must be an undamaged zip"),
    (write_zips, "cifar10_train_webp.zip", lambda b: b[:200] + b"!!!!" + b[204:], "must be an undamaged zip"),
])
def test_damaged_cifar_is_refused(tmp_path, write, name, damage, message):
    path = write(tmp_path) / name
    content = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(content))
    with pytest.raises(data.DataError, match=message) as caught:
        data.load("cifar10", tmp_path)
    assert name in str(caught.value)


def test_missing_cifar_and_other_sizes_are_refused(tmp_path):
    with pytest.raises(data.DataError, match="cifar10 must lie in .*cifar-10-batches-bin .*or .*cifar10, which are no"):
        data.load("cifar10", tmp_path)
    with pytest.raises(data.DataError, match="digits must have images of 28 x 28 x 1 for this network, not 8 x 8 x 1"):
        data.load("digits", image=(28, 28, 1))


@pytest.fixture
def pictures(tmp_path):
    """Two classes; train has one picture of 8 x 6 and one that is larger, val one of each class."""
    generator = np.random.default_rng(7)
    for name, size in (("train/cat/a.png", (8, 6)), ("train/dog/b.jpg", (40, 30)), ("train/dog/notes.txt", None),
                       ("val/cat/c.png", (8, 6)), ("val/dog/d.png", (8, 6))):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if size is None:
            path.write_text("no picture")
        else:
            Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)).save(path)
    return tmp_path


def test_folders_of_pictures(pictures):
    dataset = data.load(f"folder:{pictures}", image=(6, 8, 3))
    assert dataset.classes == ("cat", "dog")
    assert (dataset.train_labels.tolist(), dataset.test_labels.tolist()) == ([0, 1], [0, 1])
    assert dataset.train_images[np.array([1, 0])].shape == (2, 6, 8, 3)
    assert np.array_equal(dataset.train_images[0:1][0], np.array(Image.open(pictures / "train/cat/a.png")))
    assert dataset.test_images[2:].shape == (0, 6, 8, 3)
    assert data.load(f"folder:{pictures}", image=(6, 8, 1)).test_images[:].shape == (2, 6, 8, 1)


def test_a_large_picture_is_scaled_and_cut_at_its_middle(tmp_path):
    """A grey wedge of 64 x 32: the shorter side becomes 16, of which and of the 32 columns the middle 14 are cut."""
    for part in ("train", "val"):
        (tmp_path / part / "only").mkdir(parents=True)
        wedge = np.repeat(np.arange(64, dtype=np.uint8)[None] * 4, 32, 0)
        Image.fromarray(wedge).save(tmp_path / part / "only" / "wedge.png")
    (picture,) = data.load(f"folder:{tmp_path}", image=(14, 14, 1)).test_images[:]
    assert np.abs(picture[7, :, 0].astype(int) - (np.arange(9, 23) * 8 + 2)).max() <= 1


@pytest.mark.parametrize(("change", "message"), [
    (lambda root: (root / "train").rename(root / "training"), "must hold train and val or test, but .*train is no"),
    (lambda root: (root / "val/dog").rename(root / "val/wolf"), "must have the classes of train, but has wolf"),
    (lambda root: [path.unlink() for path in (root / "val").glob("*/*")], r"val must hold CLASS/\*.png or .*, but has"),
])
def test_incomplete_folders_are_refused(pictures, change, message):
    change(pictures)
    with pytest.raises(data.DataError, match=message):
        data.load(f"folder:{pictures}", image=(6, 8, 3))


def test_pictures_that_are_none_are_refused(pictures):
    (pictures / "val/cat/c.png").write_bytes(b"no picture")
    with pytest.raises(data.DataError, match="image .*c.png cannot be read"):
        data.load(f"folder:{pictures}", image=(6, 8, 3)).test_images[:]
    with pytest.raises(data.DataError, match="folder must be for a network of 1 or 3 channels, not 2"):
        data.load(f"folder:{pictures}", image=(6, 8, 2))
