"""Model files: exact round trips, and one sentence for everything that is not a model file."""

from __future__ import annotations

import dataclasses
import json
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.arch.config import Space, preset
from sw import artifact, container
from sw.artifact import Model
from sw.errors import ArtifactError
from tests.sw.files import PREFIX, check_rejected, good_file, good_model, put_together, take_apart
from tests.sw.samples import small_graph, some_images


@pytest.fixture(scope="module")
def model() -> Model:
    return good_model()


@pytest.fixture(scope="module")
def data() -> bytes:
    return good_file()


def test_round_trip_is_exact(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.abacus"
    artifact.save(path, model)
    again = artifact.load(path)
    header, arrays = model.graph.to_sections()
    header_again, arrays_again = again.graph.to_sections()
    assert header == header_again
    assert list(arrays) == list(arrays_again)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, arrays_again[name], strict=True)
    np.testing.assert_array_equal(again.golden_images, model.golden_images, strict=True)
    np.testing.assert_array_equal(again.golden_logits, model.golden_logits, strict=True)
    assert not list(tmp_path.glob("*.part"))


def test_programs_come_back(model: Model, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.abacus"
    path.write_bytes(data)
    program, again = model.program, artifact.load(path).program
    assert program is not None
    assert again is not None
    for field in dataclasses.fields(program):
        before, after = getattr(program, field.name), getattr(again, field.name)
        if field.name == "memories":
            assert set(before) == set(after)
            for space in Space:
                if space in before:
                    np.testing.assert_array_equal(before[space], after[space], strict=True)
        elif isinstance(before, np.ndarray):
            np.testing.assert_array_equal(before, after, strict=True)
        else:
            assert before == after, field.name


def test_equal_models_give_equal_files(model: Model, data: bytes, tmp_path: Path) -> None:
    for name in ("a", "b"):
        artifact.save(tmp_path / name, model)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == data
    artifact.save(tmp_path / "c", artifact.load(tmp_path / "a"))
    assert (tmp_path / "c").read_bytes() == data


def test_save_graph_computes_the_golden_logits(model: Model, tmp_path: Path) -> None:
    artifact.save_graph(tmp_path / "m", model.graph, model.golden_images)
    again = artifact.load(tmp_path / "m")
    np.testing.assert_array_equal(again.golden_logits, model.golden_logits, strict=True)
    assert again.program is None
    artifact.save_graph(tmp_path / "n", model.graph, model.golden_images, model.golden_logits)
    assert (tmp_path / "n").read_bytes() == (tmp_path / "m").read_bytes()


@pytest.mark.parametrize("where", ["missing.abacus", "."])
def test_files_that_cannot_be_read(tmp_path: Path, where: str) -> None:
    with pytest.raises(ArtifactError, match=r"model file .* cannot be read: (No such file|Is a directory)"):
        artifact.load(tmp_path / where)


def test_files_that_cannot_be_written(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be written: No such file or directory"):
        artifact.save(tmp_path / "no" / "where.abacus", model)


@pytest.mark.parametrize("seed", range(3))
def test_truncated_anywhere(data: bytes, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for length in {0, 1, 7, 8, 9, 13, 14, 45, 46, len(data) - 1, len(data) - 32, *rng.sample(range(len(data)), 40)}:
        check_rejected(tmp_path / "x", data[:length])


@pytest.mark.parametrize("seed", range(3))
def test_any_flipped_bit(data: bytes, tmp_path: Path, seed: int) -> None:
    rng = random.Random(100 + seed)
    for bit in [*range(seed, 8 * PREFIX.size, 3), *rng.sample(range(8 * len(data)), 60)]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        check_rejected(tmp_path / "x", bytes(flipped))


def test_every_missing_section(data: bytes, tmp_path: Path) -> None:
    """Leave out one section at a time, closing the gap, so that only its absence is wrong."""
    header, body = take_apart(data)
    for missing in header["sections"]:
        kept, parts, offset = [], [], 0
        for section in header["sections"]:
            if section is not missing:
                kept.append(section | {"offset": offset})
                parts.append(body[section["offset"] : section["offset"] + section["length"]])
                offset += section["length"]
        if missing["name"] in ("program/taps", "program/coefficients", "program/thresholds", "program/weights"):
            continue  # a program may do without any one memory but its own
        check_rejected(tmp_path / "x", put_together({"content": header["content"], "sections": kept}, b"".join(parts)))


def _swap(header: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(header))
    place = copy["content"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a JSON object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, item in items for p in [(*path, key), *_paths(item, (*path, key))]]


def test_every_content_value_of_another_type(data: bytes, tmp_path: Path) -> None:
    """Null, text, list, object, huge and negative numbers in place of every value: never anything but the sentence."""
    header, body = take_apart(data)
    allowed = [(("graph", "metadata"), {}), (("graph", "scale"), 1.5)]
    checked = 0
    for path in _paths(header["content"]):
        for value in (None, [], {}, -1, 1 << 70, 1.5, [[]]):
            if (path, value) in allowed:
                continue
            check_rejected(tmp_path / "x", put_together(_swap(header, path, value), body))
            checked += 1
    assert checked > 300


def test_program_for_another_digest(data: bytes, tmp_path: Path) -> None:
    header, body = take_apart(data)
    wrong = _swap(header, ("program", "config"), preset("tiny").to_json())
    check_rejected(tmp_path / "x", put_together(wrong, body), "program is for configuration")
    both = _swap(wrong, ("program", "digest"), preset("tiny").digest.hex())
    check_rejected(tmp_path / "x", put_together(both, body), "program memory")


def _patched(data: bytes, name: str, change: Any) -> bytes:
    """The file with the bytes of one section changed and all checksums right."""
    header, body = take_apart(data)
    section = next(s for s in header["sections"] if s["name"] == name)
    start, end = section["offset"], section["offset"] + section["length"]
    blob = change(body[start:end])
    section["crc32"] = zlib.crc32(blob)
    return put_together(header, body[:start] + blob + body[end:])


@pytest.mark.parametrize(("name", "change", "message"), [
    ("program/program", lambda b: b"\0" + b[1:], "instruction opcode must be"),
    ("program/result_index", lambda b: b"\xff" + b[1:], "result_index must be in 0"),
    ("program/taps", lambda b: b[:4] + b"\xff" + b[5:], "must hold words of 36 bits, but one is larger"),
    ("graph/conv/code", lambda b: b"\x02" + b[1:], "must be 0 or 1"),
])
def test_wrong_values(data: bytes, tmp_path: Path, name: str, change: Any, message: str) -> None:
    check_rejected(tmp_path / "x", _patched(data, name, change), message)


@pytest.mark.parametrize(("changes", "message"), [
    ({"golden_images": some_images(3).astype(np.int64)}, "golden images must be uint8"),
    ({"golden_images": some_images(2)}, r"golden logits must be int64 of shape \(2, 5\), not int64 of shape \(3, 5\)"),
    ({"golden_logits": np.zeros((3, 4), np.int64)}, "golden logits must be int64"),
    ({"graph": small_graph(classes=4), "golden_logits": np.zeros((3, 4), np.int64)}, "to 4 classes, not .* to 5"),
])
def test_parts_that_do_not_fit_each_other(model: Model, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        dataclasses.replace(model, **changes)


def test_arrays_of_other_types_are_not_written() -> None:
    with pytest.raises(ValueError, match="section x must be one of uint8, int64, not object"):
        container.dump({}, {"x": np.array([None])})
