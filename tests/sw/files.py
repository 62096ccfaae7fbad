"""Model files, good and damaged, for tests of what reads them."""

from __future__ import annotations

import functools
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hw.arch.config import preset
from sw import artifact, container
from sw.abcnet.reference import reference
from sw.artifact import Model
from sw.compiler import compile
from sw.errors import ArtifactError
from tests.sw.samples import small_graph, some_images

PREFIX = struct.Struct("<8sHI")
DIGEST = 32


@functools.cache
def good_model() -> Model:
    """A small network with golden sample and a program for tiny-2x2."""
    graph, images = small_graph(), some_images(3)
    return Model(graph, images, reference(graph, images).logits, compile(graph, preset("tiny-2x2")))


@functools.cache
def good_file() -> bytes:
    """`good_model` as a file."""
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(Path(folder) / "x", good_model())
        return (Path(folder) / "x").read_bytes()


def take_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and section bytes."""
    _, _, length = PREFIX.unpack_from(data)
    start = PREFIX.size + length
    return json.loads(data[PREFIX.size : start]), data[start:-DIGEST]


def put_together(header: Any, body: bytes, *, magic: bytes = container.MAGIC, version: int = 1) -> bytes:
    """A file with a right digest around whatever header and sections."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    data = PREFIX.pack(magic, version, len(text)) + text + body
    return data + container._digest(data)


def check_rejected(path: Path, data: bytes, message: str = "model file") -> None:
    """`load` must raise one sentence that names the file."""
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=message) as caught:
        artifact.load(path)
    text = str(caught.value)
    assert text.startswith(f"model file {path}: ")
    assert "\n" not in text
    assert len(text) < 700
