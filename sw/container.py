"""A strict file of named arrays and one JSON object; nothing in it is ever executed.

    magic 8 | version:16 | header bytes:32 | header (JSON) | sections ... | blake2b-256 of all before

All integers are little-endian. The header is `{"content": {...}, "sections": [{name, dtype, shape, offset, length,
crc32}]}`; offsets count from the end of the header. Sections cover the space between header and digest exactly, in
order, without gap or overlap. Equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from sw.errors import ArtifactError

MAGIC = b"\x93ABACUS\n"  # not text, and damaged by a transfer that takes it for text
VERSION = 1
MAX_FILE = 256 << 20
MAX_HEADER = 1 << 20
MAX_SECTIONS = 1024
MAX_NAME = 128
MAX_DIMENSIONS = 8
DTYPES: dict[str, np.dtype] = {"uint8": np.dtype("u1"), "int64": np.dtype("<i8")}
_PREFIX = struct.Struct("<8sHI")
_DIGEST_BYTES = 32
_KEYS = {"name", "dtype", "shape", "offset", "length", "crc32"}


def dump(content: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The file's bytes. `content` must be finite JSON, `arrays` of dtype uint8 or int64; else `ValueError`."""
    sections, blobs, offset = [], [], 0
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise ValueError(f"section {name} must be one of {', '.join(DTYPES)}, not {array.dtype}")
        blob = np.ascontiguousarray(array, DTYPES[array.dtype.name]).tobytes()
        sections.append({
            "name": name, "dtype": array.dtype.name, "shape": list(array.shape),
            "offset": offset, "length": len(blob), "crc32": zlib.crc32(blob),
        })
        blobs.append(blob)
        offset += len(blob)
    header = json.dumps(
        {"content": content, "sections": sections}, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()
    body = b"".join([_PREFIX.pack(MAGIC, VERSION, len(header)), header, *blobs])
    return body + _digest(body)


def parse(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Inverse of `dump`: content and arrays. `ArtifactError` with one sentence for anything irregular."""
    header_bytes = _check_envelope(data)
    start = _PREFIX.size + header_bytes
    header = _object(_parse_json(data[_PREFIX.size : start]), {"content", "sections"}, "header")
    _require(isinstance(header["content"], dict), "content must be a JSON object")
    sections = header["sections"]
    _require(isinstance(sections, list), "sections must be a list")
    _require(len(sections) <= MAX_SECTIONS, f"it must have at most {MAX_SECTIONS} sections, not {len(sections)}")
    arrays: dict[str, np.ndarray] = {}
    body, offset = data[start:-_DIGEST_BYTES], 0
    for section in sections:
        entry = _check_section(section)
        name = entry["name"]
        _require(name not in arrays, f"section {name!r} appears twice")
        _require(
            entry["offset"] == offset, f"section {name!r} must start at offset {offset}, not {entry['offset']}"
        )
        arrays[name] = _array(entry, body)
        offset += entry["length"]
    _require(offset == len(body), f"{len(body) - offset} bytes belong to no section")
    return header["content"], arrays


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`parse` the file at `path`; every error names it."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ArtifactError(f"model file {path} cannot be read: {error.strerror or error}") from None
    try:
        return parse(data)
    except ArtifactError as error:
        raise ArtifactError(f"model file {path}: {error}") from None


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES, person=b"abacus-file").digest()


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ArtifactError(sentence)


def _check_envelope(data: bytes) -> int:
    """Check everything around the header and sections; the header's length."""
    _require(len(data) <= MAX_FILE, f"it must be at most {MAX_FILE} bytes")
    _require(data[: len(MAGIC)] == MAGIC, "it is not an Abacus model file (wrong magic number)")
    smallest = _PREFIX.size + _DIGEST_BYTES
    _require(len(data) >= smallest, f"it is truncated: {len(data)} bytes, but the smallest file has {smallest}")
    _, version, header_bytes = _PREFIX.unpack_from(data)
    _require(version == VERSION, f"its format version must be {VERSION}, not {version}")
    _require(header_bytes <= MAX_HEADER, f"its header must be at most {MAX_HEADER} bytes, not {header_bytes}")
    room = len(data) - smallest
    _require(header_bytes <= room, f"it is truncated: a header of {header_bytes} bytes in room for {room}")
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    _require(
        _digest(body) == digest,
        f"it is damaged or truncated: digest is {_digest(body).hex()[:16]}, but the file says {digest.hex()[:16]}",
    )
    return int(header_bytes)


def _parse_json(text: bytes) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items):
            raise ValueError("an object has a key twice")
        return result

    def number(literal: str) -> float:
        value = float(literal)
        if not math.isfinite(value):
            raise ValueError(f"a number must be finite, not {literal[:20]}")
        return value

    try:
        return json.loads(text.decode(), object_pairs_hook=pairs, parse_float=number, parse_constant=number)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"its header is not valid JSON: {error}") from None


def _object(value: Any, keys: set[str], what: str) -> dict[str, Any]:
    _require(isinstance(value, dict), f"{what} must be a JSON object, not {type(value).__name__}")
    _require(
        set(value) == keys, f"{what} must have the keys {', '.join(sorted(keys))}, not {', '.join(sorted(value))[:200]}"
    )
    return dict(value)


def _check_section(section: Any) -> dict[str, Any]:
    entry = _object(section, _KEYS, "section")
    name, shape = entry["name"], entry["shape"]
    _require(
        isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable(),
        f"section name must be 1..{MAX_NAME} printable characters, not {name!r:.60}",
    )
    dtype = entry["dtype"]
    _require(
        isinstance(dtype, str) and dtype in DTYPES,
        f"section {name!r} must be of dtype {' or '.join(DTYPES)}, not {dtype!r:.60}",
    )
    _require(
        isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS and all(_is_count(n) for n in shape),
        f"section {name!r} must have a shape of at most {MAX_DIMENSIONS} sizes in 0..{MAX_FILE}, not {shape!r:.60}",
    )
    for key, high in (("offset", MAX_FILE), ("length", MAX_FILE), ("crc32", (1 << 32) - 1)):
        _require(
            _is_count(entry[key], high), f"section {name!r} must have {key} in 0..{high}, not {entry[key]!r:.60}"
        )
    return entry


def _is_count(value: Any, high: int = MAX_FILE) -> bool:
    return type(value) is int and 0 <= value <= high


def _array(entry: dict[str, Any], body: bytes) -> np.ndarray:
    name, dtype, offset, length = entry["name"], DTYPES[entry["dtype"]], entry["offset"], entry["length"]
    expected = math.prod(entry["shape"]) * dtype.itemsize
    _require(length == expected, f"section {name!r} must be {expected} bytes for its shape, not {length}")
    _require(offset + length <= len(body), f"section {name!r} ends {offset + length - len(body)} bytes past the data")
    blob = body[offset : offset + length]
    _require(zlib.crc32(blob) == entry["crc32"], f"section {name!r} has a wrong checksum")
    return np.frombuffer(blob, dtype).reshape(entry["shape"]).copy()
