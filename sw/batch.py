"""A batch of images on its way through a device, without any input or output.

`ask` says what to request next and `hear` takes the replies, so that uploads, computation and results overlap as far as
the device's buffers allow. The one thing that waits is RUN: until the results of the frame before have arrived, because
it would overwrite them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from hw.arch.config import Space
from hw.arch.isa import Fault
from hw.arch.wire import Error, Hello, Refusal, Status, Type
from sw.compiler import Program
from sw.errors import DeviceError, Faulted
from sw.messages import Request, read_requests, refused, unpack, unpack_words

_SLOWEST_CORE_HZ = 10_000  # a simulated one; bounds how long a frame may take
FRAME_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02  # seconds between questions whether the frame is done
_SMALLEST_CHUNK, _LARGEST_CHUNK = 128, 256  # bytes of image in a frame: worth one, and not in the way of RUN and READ


class Batch:
    """The requests for one batch, in order, as replies make them possible.

    Parameters
    ----------
    images : uint8 [B, rows, columns, channels]
    program : Program, loaded
    hello : Hello, of the device
    name : str, the device, for messages
    done : called with each finished frame's index and logits int64 [classes]

    Members
    -------
    frames, cycles : int, frames finished and their core cycles, but for those that they waited for images
    """

    def __init__(
        self, images: np.ndarray, program: Program, hello: Hello, name: str, done: Callable[[int, np.ndarray], None]
    ) -> None:
        self.frames = self.cycles = 0
        self._total, self._program, self._name, self._done = len(images), program, name, done
        self._upload = _Upload(images, program, hello)
        self._pieces = read_requests(program.config, Space.RESULTS, program.result_words, hello)
        self._asked: deque[Request] = deque()
        self._todo: deque[Request] = deque([(Type.STATUS, b"")] if len(images) else [])
        self._frames_before: int | None = None  # of the device, before the running frame
        self._running = self._polling = self._asking = False
        self._expected = min(program.predicted_cycles / program.config.clock_hz, _LONGEST_PAUSE)
        self._limit = FRAME_SECONDS + program.predicted_cycles / _SLOWEST_CORE_HZ
        self._deadline = self._next_poll = 0.0
        self._pause = _FIRST_PAUSE
        self._room_at, self._room_pause = 0.0, _FIRST_PAUSE  # when to ask how much room for images there is
        self._final: Status | None = None
        self._words: list[int] = []

    @property
    def finished(self) -> bool:
        """Whether all logits are there and nothing is awaited."""
        return self.frames == self._total and not self._asked

    @property
    def wake(self) -> float:
        """When `ask` may have a request although no reply came."""
        if not self._running or self._polling:
            return float("inf")
        return min(self._next_poll, self._room_at) if self._wants_room else self._next_poll

    def ask(self, now: float) -> Request | None:
        """The next request, if there is any now; it will be sent. `DeviceError` when the frame takes too long."""
        request = self._choose(now)
        if request:
            self._asked.append(request)
        return request

    def hear(self, payload: bytes, refusal: Refusal | None, now: float) -> None:
        """Take the reply to the oldest request; `refusal` instead of `payload` if the device refused it.

        Raises `DeviceError`, `Faulted`.
        """
        kind, asked = self._asked.popleft()
        if refusal is not None and not (kind == Type.READ and refusal.error == Error.BUSY):
            raise refused(self._name, kind, refusal)
        if kind == Type.IMAGE:
            self._upload.confirm(_room(self._name, payload), len(asked))
            self._deadline = now + self._limit
        elif kind == Type.STATUS:
            self._hear_status(unpack(self._name, Status, payload), now)
        elif kind == Type.READ:
            self._hear_words(asked, None if refusal else payload, now)

    def _choose(self, now: float) -> Request | None:
        if self._todo:
            return self._todo.popleft()
        if self._frames_before is None or self.frames == self._total:
            return None
        # A frame packs the image of the next one; all it may have to wait for is that.
        if not self._running and self._upload.sent > self.frames:
            return self._run(now)
        if self._running and now > self._deadline:
            raise DeviceError(f"{self._name} did not finish a frame within {self._limit:.0f} s")
        if self._running and not self._polling and now >= self._next_poll:
            self._polling, self._final, self._words = True, None, []
            self._todo.extend(self._pieces)
            return Type.STATUS, b""
        if chunk := self._upload.take():
            return Type.IMAGE, chunk
        if not self._running and not self._upload.on_the_way:
            return self._run(now)  # the image is larger than the device's buffer
        if self._running and not self._polling and self._wants_room and now >= self._room_at:
            self._asking = True
            return Type.STATUS, b""
        return None

    @property
    def _wants_room(self) -> bool:
        """Whether images wait for room that no reply on its way will tell of: the core makes it while it runs."""
        return self._upload.starved and not self._asking

    def _run(self, now: float) -> Request:
        self._running, self._pause = True, _FIRST_PAUSE
        # A short frame's end tells of the room, too.
        self._room_at = now if self._expected > _FIRST_PAUSE else float("inf")
        self._room_pause = _FIRST_PAUSE
        # Asked before the predicted end, the device would only say that it is busy.
        self._deadline, self._next_poll = now + self._limit, now + self._expected
        return Type.RUN, b""

    def _hear_status(self, status: Status, now: float) -> None:
        if self._frames_before is None:
            self._frames_before = status.frames
            self._upload.observe(status.image_free)
            return
        if status.fault:
            name = {int(fault): fault.name for fault in Fault}.get(status.fault, str(status.fault))
            text = f"{self._name} stopped with fault {name} at instruction {status.fault_address}"
            raise Faulted(text, status.fault, status.fault_address)
        if not status.busy and status.frames == self._frames_before:
            raise DeviceError(f"{self._name} stopped without finishing the frame")
        self._final = None if status.busy else status
        self._upload.observe(status.image_free)
        if self._asking:  # before a poll: that is not asked for meanwhile
            self._asking, self._room_at = False, now + self._room_pause
            self._room_pause = min(2 * self._room_pause, _LONGEST_PAUSE)

    def _hear_words(self, asked: bytes, payload: bytes | None, now: float) -> None:
        """Results count when the STATUS before them saw the frame's end; else the device is asked again later."""
        if payload is not None:
            self._words += unpack_words(self._name, self._program.config, Space.RESULTS, asked, payload)
        if any(kind == Type.READ for kind, _ in (*self._asked, *self._todo)):
            return
        self._polling = False
        if self._final is None or len(self._words) != self._program.result_words:
            self._next_poll = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return
        self._frames_before, self._running = self._final.frames, False
        self.cycles += self._final.cycles - self._final.waited
        self.frames += 1
        self._done(self.frames - 1, self._program.logits(self._words))


class _Upload:
    """The image stream of a batch, cut into what the device has room for.

    Members
    -------
    sent : int, images of which every byte has been taken
    on_the_way : int, bytes that the device has not confirmed
    credit : int, bytes that the device can take beyond these
    """

    def __init__(self, images: np.ndarray, program: Program, hello: Hello) -> None:
        self.sent = self.credit = 0
        self._images = iter(images)
        self._program = program
        self._largest = min(hello.max_payload, _LARGEST_CHUNK)
        self._smallest = min(_SMALLEST_CHUNK, hello.image_fifo)
        self._rest = b""
        self.on_the_way = 0

    def take(self) -> bytes:
        """The next chunk; empty when all is sent or the device has too little room."""
        if not self._rest:
            self._rest = next((self._program.image_bytes(image) for image in self._images), b"")
        if not self._rest or self.credit < min(self._smallest, len(self._rest)):
            return b""
        size = min(self.credit, self._largest)
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self.sent += not self._rest
        self.credit -= len(chunk)
        self.on_the_way += len(chunk)
        return chunk

    @property
    def starved(self) -> bool:
        """Whether bytes wait and none is on the way."""
        return bool(self._rest) and not self.on_the_way

    def confirm(self, free: int, size: int) -> None:
        """The device took a chunk of `size` bytes and has room for `free` more."""
        self.on_the_way -= size
        self.observe(free)

    def observe(self, free: int) -> None:
        """The device has room for `free` bytes, those on their way included."""
        self.credit = free - self.on_the_way


def _room(name: str, payload: bytes) -> int:
    if len(payload) != 2:
        raise DeviceError(f"{name} must answer IMAGE with 2 bytes, not {len(payload)}")
    return int.from_bytes(payload, "little")
