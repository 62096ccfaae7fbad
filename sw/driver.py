"""The driver: `Accelerator(link)` loads programs into a device and runs images through it.

It needs neither torch nor any part of the hardware description. `connection.Connection` repairs what the line breaks,
so everything here is written as if nothing were ever lost.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from hw.arch import wire
from hw.arch.config import PRESETS, Space
from hw.arch.isa import Fault
from hw.arch.wire import Address, Hello, Status, Type
from sw.compiler import Program
from sw.connection import Connection
from sw.errors import DeviceError, Faulted, ImageError, Mismatch
from sw.link import Link
from sw.protocol import Counters

Progress = Callable[[int, int], None]  # (done, total): bytes while loading, images while inferring

_SLOWEST_CORE_HZ = 10_000  # a simulated one; bounds how long a frame may take
_FRAME_SECONDS = 60.0
_LONGEST_POLL = 0.02
_SMALLEST_CHUNK = 256  # bytes of image worth a frame of their own


@dataclass(frozen=True)
class Stats:
    """What happened since the driver was made; `device` is the device's own view, as of now."""

    frames: int
    cycles: int  # core cycles of all frames together
    seconds: float  # spent in `infer`
    link: Counters
    bad_frames: int  # received and dropped by the host
    device: Status


class Accelerator:
    """One device at the end of a link. A context manager; not for use by two threads at once.

    Parameters
    ----------
    link : Link, closed together with the driver
    window : int, 1..wire.WINDOW, requests in flight; more than 1 only where the device buffers as many frames
    timeout : float or None, seconds to wait for a reply; None takes the link's
    retries : int, how often an unanswered request is repeated

    Every method raises `LinkError` when the link is gone, `NoReply` when the device is silent or sends garbage,
    `Mismatch` when it is of another design, and `DeviceReset` when it lost its memories since the last call; `load`
    is then all it takes.
    """

    def __init__(self, link: Link, *, window: int = 1, timeout: float | None = None, retries: int = 4) -> None:
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

    def status(self) -> Status:
        """State of the core and the link, as the device sees it."""
        return self._connection.unpack(Status, self._connection.call(Type.STATUS))

    def stats(self) -> Stats:
        """Counters of driver and device."""
        status, connection = self.status(), self._connection
        return Stats(self._frames, self._cycles, self._seconds, connection.counters, connection.bad_frames, status)

    def load(self, program: Program, progress: Progress | None = None) -> bool:
        """Make the device hold `program`; False if it already did, so that nothing was sent.

        Raises `Mismatch` before anything is written when the device has another configuration.
        """
        hello = self._connection.hello
        if hello.digest != program.config.digest:
            raise Mismatch(
                f"program needs a device of configuration {_configuration(program.config.digest)}, "
                f"but the {self._connection.name} has {_configuration(hello.digest)}"
            )
        frames = list(_write_frames(program, min(hello.max_payload, wire.MAX_PAYLOAD)))
        identity = hello.epoch, hashlib.blake2b(b"".join(frames), digest_size=16).digest()
        self._program = program
        if self._loaded == identity:
            return False
        self._loaded = None
        done, total = 0, sum(len(frame) for frame in frames)
        replies = self._connection.exchange((Type.WRITE, frame) for frame in frames)
        for frame, _ in zip(frames, replies, strict=True):
            done += len(frame)
            if progress:
                progress(done, total)
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
        start = time.monotonic()
        try:
            return self._infer(images, program, _Upload(images, program, hello), progress)
        except BaseException:
            # Image bytes may be left in the device; the RESET of the next session removes them.
            self._connection.drop()
            raise
        finally:
            self._seconds += time.monotonic() - start

    def _infer(self, images: np.ndarray, program: Program, upload: _Upload, progress: Progress | None) -> np.ndarray:
        logits = np.zeros((len(images), len(program.bias)), np.int64)
        status = self.status()
        upload.credit = status.image_free
        for index in range(len(images)):
            # With its image in the device, a frame takes exactly the predicted cycles.
            self._feed(upload, images=index + 1)
            # A repeated READ must find the results it asked for, so RUN waits until they have arrived.
            self._connection.call(Type.RUN)
            status = self._await_frame(upload, status.frames, program)
            logits[index] = program.logits(self._read(Space.RESULTS, program.result_words, program))
            self._frames, self._cycles = self._frames + 1, self._cycles + status.cycles
            if progress:
                progress(index + 1, len(images))
        return logits

    def _await_frame(self, upload: _Upload, frames: int, program: Program) -> Status:
        """Feed images until the running frame is done; its final status. `frames` were finished before it."""
        limit = _FRAME_SECONDS + program.predicted_cycles / _SLOWEST_CORE_HZ
        deadline, pause = time.monotonic() + limit, 0.0005
        while True:
            moved = self._feed(upload, images=upload.total)
            status = self.status()
            if status.fault:
                self._raise_fault(status)
            if not status.busy and status.frames != frames:
                return status
            if not status.busy:
                raise DeviceError(f"{self._connection.name} stopped without finishing the frame")
            if moved:
                deadline = time.monotonic() + limit
            elif time.monotonic() > deadline:
                raise DeviceError(f"{self._connection.name} did not finish a frame within {limit:.0f} s")
            upload.credit = status.image_free
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL)

    def _feed(self, upload: _Upload, images: int) -> bool:
        """Send as much of the first `images` images as the device has room for; whether that was anything."""
        moved = False
        while upload.sent < images and (chunk := upload.take()):
            reply = self._connection.call(Type.IMAGE, chunk)
            if len(reply) != 2:
                raise DeviceError(f"{self._connection.name} must answer IMAGE with 2 bytes, not {len(reply)}")
            upload.credit, moved = int.from_bytes(reply, "little"), True
        return moved

    def _raise_fault(self, status: Status) -> NoReturn:
        name = {int(fault): fault.name for fault in Fault}.get(status.fault, str(status.fault))
        raise Faulted(
            f"{self._connection.name} stopped with fault {name} at instruction {status.fault_address}",
            status.fault, status.fault_address,
        )

    def _read(self, space: Space, count: int, program: Program) -> list[int]:
        """The first `count` words of a memory of one bank."""
        size = program.config.memories[space].bytes_per_word
        step = min(self._connection.hello.max_payload, wire.MAX_PAYLOAD) // size
        pieces = [(first, min(step, count - first)) for first in range(0, count, step)]
        requests = [(Type.READ, Address(space, 0, first).pack() + n.to_bytes(2, "little")) for first, n in pieces]
        words: list[int] = []
        for (_, n), data in zip(pieces, self._connection.exchange(requests), strict=True):
            if len(data) != n * size:
                raise DeviceError(f"{self._connection.name} must answer READ with {n * size} bytes, not {len(data)}")
            words += [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
        return words


class _Upload:
    """The image stream of a batch, cut into what the device has room for.

    Members
    -------
    total : int, images
    sent : int, images of which every byte has been taken
    credit : int, bytes that the device can take now
    """

    def __init__(self, images: np.ndarray, program: Program, hello: Hello) -> None:
        self.total = len(images)
        self.sent = self.credit = 0
        self._images = iter(images)
        self._program = program
        self._largest = min(hello.max_payload, wire.MAX_PAYLOAD)
        self._smallest = min(_SMALLEST_CHUNK, hello.image_fifo)
        self._rest = b""

    def take(self) -> bytes:
        """The next chunk; empty when all is sent or the device has too little room."""
        if not self._rest:
            self._rest = next((self._program.image_bytes(image) for image in self._images), b"")
        if self.credit < min(self._smallest, len(self._rest)):
            return b""
        size = min(self.credit, self._largest)
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self.sent += not self._rest
        return chunk


def _write_frames(program: Program, max_payload: int) -> Iterator[bytes]:
    """Payloads of WRITE that load a program; instructions come last, so that half a load never looks complete."""
    for space in sorted(program.memories, key=lambda space: space == Space.PROGRAM):
        size = program.config.memories[space].bytes_per_word
        step = (max_payload - Address.FORMAT.size) // size
        for bank, words in enumerate(program.memories[space]):
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
