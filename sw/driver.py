"""The driver: `Accelerator(link)` loads programs into a device and runs images through it.

It needs neither torch nor any part of the hardware description. `connection.Connection` repairs what the line breaks,
so everything here is written as if nothing were ever lost.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from hw.arch import wire
from hw.arch.config import PRESETS, Config, Space
from hw.arch.wire import Address, Hello, Status, Type
from sw import receipt
from sw.batch import Batch
from sw.compiler import Program
from sw.connection import Connection
from sw.errors import DeviceError, ImageError, Mismatch
from sw.link import Link
from sw.messages import read_requests, unpack, unpack_words
from sw.session import Counters

Progress = Callable[[int, int], None]  # (done, total): bytes while loading, images while inferring

_WRITE_PAYLOAD = 512  # bytes: on a bad line, long frames are lost too often


@dataclass(frozen=True)
class Stats:
    """What happened since the driver was made; `device` is the device's own view, as of now."""

    frames: int
    cycles: int  # core cycles of all frames together, but for those that they waited for images
    seconds: float  # spent in `infer`
    link: Counters
    bad_frames: int  # received and dropped by the host
    device: Status


class Accelerator:
    """One device at the end of a link. A context manager; not for use by two threads at once.

    Parameters
    ----------
    link : Link, closed together with the driver
    window : int, 1..wire.WINDOW, requests in flight, as long as the device has room for them
    timeout : float or None, seconds to wait for a reply; None takes the link's
    retries : int, `NoReply` comes after 1 + `retries` timeouts

    Every method raises `LinkError` when the link is gone, `NoReply` when the device is silent or sends garbage,
    `Mismatch` when it is of another design, and `DeviceReset` when it lost its memories since the last call; `load`
    is then all it takes.
    """

    def __init__(
        self, link: Link, *, window: int = wire.WINDOW, timeout: float | None = None, retries: int = 4
    ) -> None:
        self._connection = Connection(link, window, link.timeout if timeout is None else timeout, retries)
        self._program: Program | None = None
        self._loaded: tuple[int, bytes] | None = None  # epoch and digest of what the device holds
        self._frames = self._cycles = 0
        self._seconds = 0.0

    def __enter__(self) -> Self:
        try:
            self._connection.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the link back. The device keeps what it holds."""
        self._connection.close()

    def hello(self) -> Hello:
        """Who the device is."""
        return self._connection.hello

    def ping(self, payload: bytes = b"") -> float:
        """Seconds that a frame of `payload` takes there and back."""
        start = time.monotonic()
        if self._connection.call(Type.PING, payload) != payload:
            raise DeviceError(f"{self._connection.name} answered PING with other bytes than it was sent")
        return time.monotonic() - start

    def echo(self, size: int, count: int) -> float:
        """Seconds that `count` frames of `size` random bytes take there and back, as many at a time as there is room.

        `DeviceError` unless every one comes back as it was.
        """
        payloads = [os.urandom(size) for _ in range(count)]
        start = time.monotonic()
        replies = self._connection.exchange((Type.PING, payload) for payload in payloads)
        seconds = time.monotonic() - start
        if replies != payloads:
            raise DeviceError(f"{self._connection.name} answered PING with other bytes than it was sent")
        return seconds

    def status(self) -> Status:
        """State of the core and the link, as the device sees it."""
        return unpack(self._connection.name, Status, self._connection.call(Type.STATUS))

    def stats(self) -> Stats:
        """Counters of driver and device."""
        status, connection = self.status(), self._connection
        counters = dataclasses.replace(connection.counters)
        return Stats(self._frames, self._cycles, self._seconds, counters, connection.bad_frames, status)

    def load(self, program: Program, progress: Progress | None = None) -> bool:
        """Make the device hold `program`; False if it already did, so that nothing was sent.

        The device keeps a receipt of what was loaded completely (`sw.receipt`), so this is true across processes too.
        Raises `Mismatch` before anything is written when the device has another configuration.
        """
        hello = self._connection.hello
        if hello.digest != program.config.digest:
            raise Mismatch(
                f"program needs a device of configuration {_configuration(program.config.digest)}, "
                f"but the {self._connection.name} has {_configuration(hello.digest)}"
            )
        frames = list(_write_frames(program, min(hello.max_payload, _WRITE_PAYLOAD)))
        identity = hello.epoch, hashlib.blake2b(b"".join(frames), digest_size=16).digest()
        self._program = program
        if self._loaded == identity or self._holds(program, identity):
            self._loaded = identity
            return False
        self._loaded = None
        before, after = receipt.writes(program, *identity)
        self._connection.call(Type.RESET)  # no image of the last program may wait for the next one
        self._write([*before, *frames, *after], progress)
        self._loaded = identity
        return True

    def infer(self, images: Any, progress: Progress | None = None) -> np.ndarray:
        """Integer logits, int64 [B, classes].

        `images` is uint8 [B, rows, columns, channels], a numpy array or anything `np.asarray` takes, such as a torch
        tensor on the CPU. The images that follow are uploaded while one is computed. Raises `ImageError` for another
        shape or type, `Faulted` if the program stops with a fault.
        """
        hello, program = self._connection.hello, self._program
        if program is None:
            raise DeviceError("a program must be loaded before images can be inferred")
        if self._loaded is None or self._loaded[0] != hello.epoch:
            raise DeviceError(f"{self._connection.name} does not hold the program any more: load it again")
        images = np.asarray(images)
        _check_images(images, program)
        logits = np.zeros((len(images), len(program.bias)), np.int64)

        def done(index: int, values: np.ndarray) -> None:
            logits[index] = values
            if progress:
                progress(index + 1, len(images))

        start, batch = time.monotonic(), Batch(images, program, hello, self._connection.name, done)
        try:
            # If it fails, image bytes may be left in the device; the RESET of the next session removes them.
            self._connection.drive(batch)
        finally:
            self._frames, self._cycles = self._frames + batch.frames, self._cycles + batch.cycles
            self._seconds += time.monotonic() - start
        return logits

    def read(self, space: Space, bank: int, first: int, count: int, config: Config) -> list[int]:
        """Words of a readable memory of a device of that configuration. `Refused` outside it."""
        requests = read_requests(config, space, count, self._connection.hello, bank, first)
        replies = self._connection.exchange(requests)
        pieces = [unpack_words(self._connection.name, config, space, asked, reply)
                  for (_, asked), reply in zip(requests, replies, strict=True)]
        return [word for piece in pieces for word in piece]

    def clear(self, space: Space, config: Config, words: int) -> None:
        """Fill the first words of every bank of a memory that programs write to with zeros."""
        memory = config.memories[space]
        zeros = np.zeros((words, memory.bytes_per_word), np.uint8)
        room = min(self._connection.hello.max_payload, _WRITE_PAYLOAD)
        self._write([frame for bank in range(memory.banks) for frame in _bank_frames(space, bank, zeros, room)])

    def _holds(self, program: Program, identity: tuple[int, bytes]) -> bool:
        """Whether the device has the receipt for that load."""
        place = receipt.place(program)
        return place is not None and receipt.words(program, *identity) == self.read(
            Space.RESULTS, 0, place.start, len(place), program.config)

    def _write(self, frames: list[bytes], progress: Progress | None = None) -> None:
        sizes, total, done = iter(frames), sum(map(len, frames)), 0

        def heard(_: bytes) -> None:
            nonlocal done
            done += len(next(sizes))
            if progress:
                progress(done, total)

        self._connection.exchange(((Type.WRITE, frame) for frame in frames), heard)


def _write_frames(program: Program, max_payload: int) -> Iterator[bytes]:
    """Payloads of WRITE that load a program; instructions come last, so that half a load never looks complete."""
    for space in sorted(program.memories, key=lambda space: space == Space.PROGRAM):
        for bank, words in enumerate(program.memories[space]):
            yield from _bank_frames(space, bank, words, max_payload)


def _bank_frames(space: Space, bank: int, words: np.ndarray, max_payload: int) -> Iterator[bytes]:
    """Payloads of WRITE that fill a bank from its start with uint8 [words, bytes per word]."""
    step = (max_payload - Address.FORMAT.size) // words.shape[1]
    for first in range(0, len(words), step):
        yield Address(space, bank, first).pack() + words[first : first + step].tobytes()


def _check_images(images: np.ndarray, program: Program) -> None:
    margin = 2 * program.margin
    expected = (program.rows - margin, program.columns - margin, program.channels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
        shape, given = ", ".join(map(str, expected)), list(images.shape)
        raise ImageError(f"images must be uint8 of shape [B, {shape}], not {images.dtype} of shape {given}")


def _configuration(digest: bytes) -> str:
    """A digest, with the preset's name where it is one."""
    name = next((name for name, config in PRESETS.items() if config.digest == digest), None)
    return digest.hex() + (f" (preset {name})" if name else "")
