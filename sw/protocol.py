"""The host's half of the link protocol of `hw.arch.wire`, without any input or output.

`encode`, `decode` and `Deframer` turn frames into bytes and back; `Session` is go-back-N: it numbers requests, keeps at
most `window` of them unanswered, matches replies and sends everything unanswered again, oldest first, when the oldest
is overdue. Callers move the bytes and tell the time, so the same code serves blocking, threaded and simulated links.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from cobs import cobs

from hw.arch import wire
from hw.arch.wire import Error, Refusal, Type
from sw.errors import NoReply

DELIMITER = b"\x00"
_MAX_ENCODED = wire.MAX_FRAME + wire.MAX_FRAME // 254 + 1


class FrameError(ValueError):
    """Bytes that are not a frame."""


@dataclass(frozen=True)
class Frame:
    """One message. `type` is 0..15 (known ones are `wire.Type`), `sequence` 0..255, `session` 0..65535."""

    type: int
    sequence: int
    session: int
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """The frame as it goes on the line, with both delimiters."""
    if len(frame.payload) > wire.MAX_PAYLOAD:
        raise FrameError(f"payload must be at most {wire.MAX_PAYLOAD} bytes, not {len(frame.payload)}")
    header = wire.Header(wire.VERSION << 4 | frame.type, frame.sequence, frame.session, len(frame.payload))
    body = header.pack() + frame.payload
    return DELIMITER + cobs.encode(body + wire.CRC.pack(zlib.crc32(body))) + DELIMITER


def decode(data: bytes) -> Frame:
    """The frame between two delimiters; `FrameError` for a wrong code, checksum, version or length."""
    try:
        body = cobs.decode(data)
    except cobs.DecodeError as error:
        raise FrameError(f"frame is not COBS: {error}") from None
    head, tail = wire.HEADER.size, wire.CRC.size
    if not head + tail <= len(body) <= wire.MAX_FRAME:
        raise FrameError(f"frame must be {head + tail}..{wire.MAX_FRAME} bytes, not {len(body)}")
    if wire.CRC.unpack(body[-tail:])[0] != zlib.crc32(body[:-tail]):
        raise FrameError("frame has a wrong checksum")
    header = wire.Header.unpack(body[:head])
    if header.version != wire.VERSION:
        raise FrameError(f"frame must be of protocol version {wire.VERSION}, not {header.version}")
    if header.length != len(body) - head - tail:
        raise FrameError(f"frame says {header.length} bytes of payload but has {len(body) - head - tail}")
    return Frame(header.type, header.sequence, header.session, body[head:-tail])


class Deframer:
    """Cuts a byte stream into frames. Never raises; what is not a frame is dropped and counted.

    Members
    -------
    good, bad : int, frames accepted and dropped
    noise : int, bytes seen since the last good frame
    """

    def __init__(self) -> None:
        self.good = self.bad = self.noise = 0
        self._partial = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes as they come; the frames they complete."""
        frames = []
        self.noise += len(data)
        *pieces, rest = bytes(data).split(DELIMITER)
        for piece in pieces:
            self._append(piece)
            if frame := self._finish():
                frames.append(frame)
        self._append(rest)
        return frames

    def _append(self, piece: bytes) -> None:
        if self._overlong or len(self._partial) + len(piece) > _MAX_ENCODED:
            self._overlong = True
            self._partial.clear()
        else:
            self._partial += piece

    def _finish(self) -> Frame | None:
        """Close the piece in hand; two delimiters in a row are no frame and no error."""
        data, overlong = bytes(self._partial), self._overlong
        self._partial.clear()
        self._overlong = False
        if not data and not overlong:
            return None
        try:
            if overlong:
                raise FrameError(f"frame must be at most {_MAX_ENCODED} bytes on the line")
            frame = decode(data)
        except FrameError:
            self.bad += 1
            return None
        self.good += 1
        self.noise = 0
        return frame


@dataclass
class _Request:
    """A request on its way: its bytes, and its reply once there."""

    type: Type
    sequence: int
    data: bytes
    reply: Frame | None = None


@dataclass
class Counters:
    """What a session did to keep the line reliable."""

    requests: int = 0
    resent: int = 0
    timeouts: int = 0
    strangers: int = 0  # valid frames that answer nothing asked: stale session, duplicate, echo
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass
class Session:
    """One conversation: requests in, replies out in the same order, each exactly once.

    Parameters
    ----------
    session : int, 0..65535, differs from recent ones so that their late replies are not mistaken for ours
    window : int, 1..wire.WINDOW, requests in flight; a device with one receive buffer needs 1
    timeout : float, seconds until the oldest unanswered request counts as lost
    retries : int, how often it is sent again before `NoReply`

    HELLO and RESET travel alone: nothing is sent between them and their reply, because the device acts on a
    repeated one again, which would undo requests that had overtaken the repetition.
    """

    session: int
    window: int = 1
    timeout: float = 0.5
    retries: int = 4
    counters: Counters = field(default_factory=Counters)
    deframer: Deframer = field(default_factory=Deframer)

    def __post_init__(self) -> None:
        if not 1 <= self.window <= wire.WINDOW:
            raise ValueError(f"window must be in 1..{wire.WINDOW}, not {self.window}")
        self._flight: deque[_Request] = deque()
        self._output = bytearray()
        self._sequence = 0
        self._tries = 0
        self._good_before = 0
        self._deadline = 0.0
        self._gone_back_to: int | None = None

    @property
    def in_flight(self) -> int:
        """Requests without a delivered reply."""
        return len(self._flight)

    @property
    def deadline(self) -> float | None:
        """When `step` wants to be called at the latest; None when nothing is awaited."""
        return self._deadline if self._flight else None

    def ready(self, kind: Type) -> bool:
        """Whether a request of this type may be submitted now."""
        if not self._flight:
            return True
        alone = {Type.HELLO, Type.RESET}
        return len(self._flight) < self.window and kind not in alone and self._flight[-1].type not in alone

    def submit(self, kind: Type, payload: bytes, now: float) -> None:
        """Queue a request; only while `ready`. `now` is in seconds of any monotonic clock, the same for `step`."""
        if not self.ready(kind):
            raise RuntimeError(f"{self.in_flight} requests are in flight; take replies before submitting {kind.name}")
        data = encode(Frame(kind, self._sequence, self.session, payload))
        if not self._flight:
            self._restart(now)
        self._flight.append(_Request(kind, self._sequence, data))
        self._sequence = (self._sequence + 1) % 256
        self._send([data])
        self.counters.requests += 1

    def step(self, received: bytes, now: float) -> tuple[bytes, list[Frame]]:
        """Digest received bytes and the passing of time.

        Returns the bytes to send now and the replies that are complete, in the order of their requests. Raises
        `NoReply` when the oldest request was sent 1 + `retries` times in vain; the session is then over.
        """
        self.counters.bytes_received += len(received)
        for frame in self.deframer.feed(received):
            self._take(frame)
        replies = []
        while self._flight and (reply := self._flight[0].reply) is not None:
            replies.append(reply)
            self._flight.popleft()
            self._restart(now)
        if self._flight and now >= self._deadline:
            self._expire(now)
        output = bytes(self._output)
        self._output.clear()
        return output, replies

    def _take(self, frame: Frame) -> None:
        request = next((r for r in self._flight if r.sequence == frame.sequence), None)
        if request is None or frame.session != self.session or frame.type not in (request.type, Type.ERROR):
            self.counters.strangers += 1
        elif frame.type == Type.ERROR and _is_sequence(frame.payload):
            self._go_back(Refusal.unpack(frame.payload).detail)
        else:
            request.reply = request.reply or frame

    def _go_back(self, expected: int) -> None:
        """The device misses `expected`: repeat at once, but only once for every loss."""
        if expected != self._gone_back_to:
            self._gone_back_to = expected
            self._resend()

    def _expire(self, now: float) -> None:
        self.counters.timeouts += 1
        if self._tries >= self.retries:
            raise NoReply(
                f"no valid reply to {self._flight[0].type.name} after {1 + self._tries} tries of {self.timeout:.2g} s: "
                f"the device sent {self._heard()}"
            )
        self._tries += 1
        self._deadline = now + self.timeout
        self._resend()

    def _heard(self) -> str:
        """What came instead of the reply."""
        if self.deframer.good > self._good_before:
            return f"{self.deframer.good - self._good_before} frames, but none that fits"
        return f"only {self.deframer.noise} bytes that are not a frame" if self.deframer.noise else "nothing"

    def _resend(self) -> None:
        overdue = [r.data for r in self._flight if r.reply is None]
        self.counters.resent += len(overdue)
        self._send(overdue)

    def _send(self, frames: Iterable[bytes]) -> None:
        for data in frames:
            self._output += data
            self.counters.bytes_sent += len(data)

    def _restart(self, now: float) -> None:
        """Progress was made: a fresh timeout for whatever is oldest now."""
        self._tries = 0
        self._good_before = self.deframer.good
        self._deadline = now + self.timeout
        self._gone_back_to = None


def _is_sequence(payload: bytes) -> bool:
    return len(payload) == Refusal.FORMAT.size and Refusal.unpack(payload).error == Error.SEQUENCE
