"""The container of model files: anything irregular in header, sections or checksums is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sw import container
from sw.artifact import Model
from tests.sw.files import PREFIX, check_rejected, good_file, good_model, put_together, take_apart


@pytest.fixture(scope="module")
def model() -> Model:
    return good_model()


@pytest.fixture(scope="module")
def data() -> bytes:
    return good_file()


@pytest.mark.parametrize("extra", [b"\0", b"PK\x03\x04" * 100], ids=len)
def test_trailing_bytes(data: bytes, tmp_path: Path, extra: bytes) -> None:
    check_rejected(tmp_path / "x", data + extra, "damaged or truncated")
    header, body = take_apart(data)
    check_rejected(tmp_path / "x", put_together(header, body + extra), f"{len(extra)} bytes belong to no section")


@pytest.mark.parametrize(("change", "message"), [
    ({"magic": b"PK\x03\x04\0\0\0\0"}, "not an Abacus model file"),
    ({"version": 2}, "format version must be 1, not 2"),
    ({"header": b"{"}, "header is not valid JSON"),
    ({"header": b"\xff\xfe"}, "header is not valid JSON"),
    ({"header": b"[" * 100_000}, "header is not valid JSON"),
    ({"header": b'{"a": 1, "a": 2}'}, "an object has a key twice"),
    ({"header": b'{"a": NaN}'}, "a number must be finite, not NaN"),
    ({"header": b'{"a": -Infinity}'}, "a number must be finite, not -Infinity"),
    ({"header": b'{"a": 1e999}'}, "a number must be finite, not 1e999"),
    ({"header": b'{"a": ' + b"9" * 5000 + b"}"}, "header is not valid JSON"),
    ({"header": b"[]"}, "header must be a JSON object, not list"),
    ({"header": b'{"content": {}}'}, "header must have the keys content, sections, not content"),
    ({"header": b'{"content": {}, "sections": [], "x": 1}'}, "header must have the keys"),
    ({"header": b'{"content": [], "sections": []}'}, "content must be a JSON object"),
    ({"header": b'{"content": {}, "sections": {}}'}, "sections must be a list"),
    ({"header": b'{"content": {}, "sections": [1]}'}, "section must be a JSON object, not int"),
    ({"header": b'{"content": {}, "sections": [' + b"1," * 1024 + b"1]}"}, "at most 1024 sections, not 1025"),
], ids=range(17))
def test_wrong_envelopes(data: bytes, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    header, body = take_apart(data)
    check_rejected(tmp_path / "x", put_together(change.pop("header", header), body, **change), message)


def test_header_longer_than_the_file_or_allowed(tmp_path: Path) -> None:
    for length, message in (
        (50, "truncated: a header of 50 bytes in room for 10"),
        ((1 << 20) + 1, "at most 1048576 bytes, not 1048577"),
        (0xFFFFFFFF, "at most 1048576 bytes, not 4294967295"),
    ):
        start = PREFIX.pack(container.MAGIC, 1, length) + bytes(10)
        check_rejected(tmp_path / "x", start + container._digest(start), message)


def test_file_larger_than_allowed(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_FILE", len(data) - 1)
    check_rejected(tmp_path / "x", data, f"must be at most {len(data) - 1} bytes")


@pytest.mark.parametrize(("key", "value", "message"), [
    ("name", "", "section name must be 1..128 printable"),
    ("name", "a" * 129, "section name must be 1..128 printable"),
    ("name", "graph/\n", "section name must be 1..128 printable"),
    ("name", 5, "section name must be 1..128 printable"),
    ("name", "golden/images", "appears twice"),
    ("name", "other/thing", "belongs to none of graph, golden, program"),
    ("name", "program", "belongs to none of graph, golden, program"),
    ("dtype", "object", "must be of dtype uint8 or int64, not 'object'"),
    ("dtype", "float64", "must be of dtype uint8 or int64, not 'float64'"),
    ("dtype", [], "must be of dtype uint8 or int64"),
    ("shape", [1], "bytes for its shape, not"),
    ("shape", [-1], "must have a shape of at most 8 sizes"),
    ("shape", [1.0], "must have a shape of at most 8 sizes"),
    ("shape", [True], "must have a shape of at most 8 sizes"),
    ("shape", [1] * 9, "must have a shape of at most 8 sizes"),
    ("shape", [1 << 28] * 8, "bytes for its shape, not"),
    ("shape", [1 << 64], "must have a shape of at most 8 sizes"),
    ("shape", "abc", "must have a shape of at most 8 sizes"),
    ("offset", 1, "must start at offset 0, not 1"),
    ("offset", -1, "must have offset in 0"),
    ("offset", 0.0, "must have offset in 0"),
    ("length", 1, "bytes for its shape, not 1"),
    ("length", 1 << 40, "must have length in 0"),
    ("length", None, "must have length in 0"),
    ("crc32", 0, "has a wrong checksum"),
    ("crc32", 1 << 32, "must have crc32 in 0"),
    ("extra", 0, "section must have the keys"),
])
def test_wrong_sections(data: bytes, tmp_path: Path, key: str, value: Any, message: str) -> None:
    header, body = take_apart(data)
    header["sections"][0][key] = value
    check_rejected(tmp_path / "x", put_together(header, body), message)


@pytest.mark.parametrize("key", ["name", "dtype", "shape", "offset", "length", "crc32"])
def test_missing_section_keys(data: bytes, tmp_path: Path, key: str) -> None:
    header, body = take_apart(data)
    del header["sections"][0][key]
    check_rejected(tmp_path / "x", put_together(header, body), "section must have the keys")


def test_overlaps_holes_and_ends_past_the_data(data: bytes, tmp_path: Path) -> None:
    header, body = take_apart(data)
    sections = header["sections"]
    overlap, hole, order = (json.loads(json.dumps(header)) for _ in range(3))
    overlap["sections"][1]["offset"] = 0
    hole["sections"][1]["offset"] += 8
    order["sections"].reverse()
    for wrong in (overlap, hole, order):
        check_rejected(tmp_path / "x", put_together(wrong, body), "must start at offset")
    check_rejected(tmp_path / "x", put_together(header, body[:-1]), "ends 1 bytes past the data")
    assert len(sections) > 2
