"""Damaged model files against the parser: a model or an `ArtifactError`, nothing else, and nothing runs away.

Half of the mutations repair checksums and digest, so that they reach the checks behind them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import multiprocessing
import os
import random
import re
import struct
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim.figures import Figure
from sim.torture import network
from sw import artifact, container
from sw.errors import ArtifactError

COUNT, QUICK_COUNT = 10_000_000, 10_000
_CHUNK = 10_000
_PREFIX = struct.Struct("<8sHI")
_DIGEST_BYTES = 32
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|[][{}:,]')
_NASTY = (
    "null", "true", "false", "-1", "0", "1", "2", "3", "7", "8", "255", "65536", "2147483648", "9223372036854775808",
    "1e308", "1e999", "-0.5", "NaN", "Infinity", '""', '"a"', '"\\u0000"', '"image"', '"conv"', '"u1"', '"uint8"',
    '"int64"', "[]", "[0]", "[1,2,3]", "{}", '{"a":1}', "[[[[]]]]", "9" * 400, '"' + "x" * 300 + '"', "[", "}", ",",
    ":",
)


@dataclass(frozen=True)
class Parts:
    """A model file taken apart: header text, where its tokens lie, and section bytes."""

    text: str
    tokens: tuple[tuple[int, int], ...]
    sections: tuple[dict[str, Any], ...]
    body: bytes

    @classmethod
    def of(cls, data: bytes) -> Parts:
        """Take a good file apart."""
        _, _, size = _PREFIX.unpack_from(data)
        text = data[_PREFIX.size : _PREFIX.size + size].decode()
        tokens = tuple(match.span() for match in _TOKEN.finditer(text))
        sections = tuple(json.loads(text)["sections"])
        return cls(text, tokens, sections, data[_PREFIX.size + size : -_DIGEST_BYTES])

    def file(self) -> bytes:
        """A file with a right length and digest around the parts."""
        header = self.text.encode()
        data = _PREFIX.pack(container.MAGIC, container.VERSION, len(header)) + header + self.body
        return data + hashlib.blake2b(data, digest_size=_DIGEST_BYTES, person=b"abacus-file").digest()


def measure(quick: bool, seed: int) -> list[Figure]:
    """Random mutations of a file without and of one with a program."""
    count = QUICK_COUNT if quick else COUNT
    chunks = [(min(_CHUNK, count - first), seed * count + first) for first in range(0, count, _CHUNK)]
    accepted, foreign = 0, set[str]()
    # Started afresh: a process that was forked from one with threads may hang.
    with multiprocessing.get_context("spawn").Pool(1 if quick else os.cpu_count()) as pool:
        for good, strange in pool.imap_unordered(_fuzz, chunks):
            accepted, foreign = accepted + good, foreign | strange
    what = "mutations of model files, half of them with checksums and digest repaired"
    return [Figure(
        what, f"0 foreign exceptions of {count:,}",
        f"{len(foreign)} foreign exceptions of {count:,} ({accepted:,} still a valid model)"
        + "".join(f"; {text}" for text in sorted(foreign)[:3]), not foreign,
    )]


def _fuzz(job: tuple[int, int]) -> tuple[int, set[str]]:
    return fuzz(*job)


def fuzz(count: int, seed: int) -> tuple[int, set[str]]:
    """How many mutations still were models, and the kinds of exception that were no `ArtifactError`."""
    rng, accepted, foreign = random.Random(seed), 0, set[str]()
    files = [sample(False), sample(True)]
    parts = [Parts.of(data) for data in files]
    for _ in range(count):
        which = rng.random() < 0.3
        dice = rng.random()
        if dice < 0.5:
            data = _raw(rng, files[which])
        elif dice < 0.9:
            data = _tokens(rng, parts[which])
        else:
            data = _section(rng, parts[which])
        try:
            artifact.parse(data)
            accepted += 1
        except ArtifactError:
            pass
        except Exception as error:
            foreign.add(f"{type(error).__name__}: {error}"[:200])
    return accepted, foreign


@functools.cache
def sample(with_program: bool) -> bytes:
    """A model file that is good."""
    graph, program, images = network.graph(), network.program(), network.images(1)
    model = artifact.Model(graph, images, network.expected(program, images), program if with_program else None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        artifact.save(path, model)
        return path.read_bytes()


def _raw(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed, lost or added, as storage and transport do."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, dice = rng.randrange(len(changed)), rng.random()
        if dice < 0.5:
            changed[at] ^= 1 << rng.randrange(8)
        elif dice < 0.7:
            del changed[at:]
            changed += b"\x00"
        elif dice < 0.9:
            changed[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            changed[at] = rng.randrange(256)
    return bytes(changed)


def _tokens(rng: random.Random, parts: Parts) -> bytes:
    """Header tokens replaced by others or removed."""
    text = parts.text
    picks = sorted({rng.randrange(len(parts.tokens)) for _ in range(rng.choice((1, 1, 1, 2, 4)))}, reverse=True)
    for pick in picks:
        start, stop = parts.tokens[pick]
        dice = rng.random()
        if dice < 0.6:
            new = rng.choice(_NASTY)
        elif dice < 0.8:
            low, high = rng.choice(parts.tokens)
            new = parts.text[low:high]
        elif dice < 0.9 and text[start].isdigit():
            new = str(int(float(text[start:stop])) + rng.choice((-1, 1, 2, 256)))
        else:
            new = ""
        text = text[:start] + new + text[stop:]
    return replace(parts, text=text).file()


def _section(rng: random.Random, parts: Parts) -> bytes:
    """One section's bytes or shape changed so that its length and checksum stay right."""
    header = json.loads(parts.text)
    section, body = rng.choice(header["sections"]), bytearray(parts.body)
    start, size = section["offset"], section["length"]
    if size and rng.random() < 0.7:
        for _ in range(rng.choice((1, 1, 2, 16))):
            body[start + rng.randrange(size)] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))
        section["crc32"] = zlib.crc32(body[start : start + size])
    else:
        elements = math.prod(section["shape"])
        divisor = rng.choice([n for n in range(1, max(elements, 1) + 1) if elements % n == 0])
        section["shape"] = rng.choice(([elements], [divisor, elements // divisor], [1, elements, 1], [elements, 1]))
    if rng.random() < 0.1:
        section["name"] = rng.choice(header["sections"])["name"]
    return replace(parts, text=json.dumps(header), body=bytes(body)).file()
