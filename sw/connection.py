"""A session with a device over a link: moves the bytes of `session.Session` and turns failures into exceptions."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, Protocol

from hw.arch import wire
from hw.arch.wire import Hello, Refusal, Type
from sw.errors import DeviceReset, Mismatch, NoReply
from sw.link import Link
from sw.messages import Request, refused, unpack
from sw.session import Counters, Session

_SMALLEST_PAYLOAD = 128  # holds an address and the widest memory word of any sensible configuration


class Talk(Protocol):
    """What is said to the device: requests as replies make them possible. `batch.Batch` is one."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to say or to hear."""

    @property
    def wake(self) -> float:
        """When to call `ask` although no reply came."""

    def ask(self, now: float) -> Request | None:
        """The next request, if there is any now."""

    def hear(self, payload: bytes, refusal: Refusal | None, now: float) -> None:
        """The reply to the oldest request that was not heard of yet."""


class Connection:
    """Request and reply with one device, reconnecting by itself after a failure.

    Parameters
    ----------
    link, window, timeout, retries : as of `Accelerator`

    Members
    -------
    counters : Counters, of all sessions together
    """

    def __init__(self, link: Link, window: int, timeout: float, retries: int) -> None:
        self.counters = Counters()
        self._link = link
        self._window = window
        self._timeout = timeout
        self._retries = retries
        self._session: Session | None = None
        self._bad_frames = 0
        self._hello: Hello | None = None

    @property
    def name(self) -> str:
        """The device, for messages."""
        return f"device at {self._link.name}"

    @property
    def bad_frames(self) -> int:
        """Pieces of what the device sent that were not frames."""
        return self._bad_frames + (self._session.deframer.bad if self._session else 0)

    @property
    def hello(self) -> Hello:
        """Who the device is, in a session that works as far as is known; connects if there is none."""
        if self._session is None or self._hello is None:
            return self.connect()
        return self._hello

    def connect(self) -> Hello:
        """Start a session and stop whatever the device was doing. `Mismatch` if it is of another design."""
        hello = self.greet(self._retries)
        try:
            _check_identity(self.name, hello)
        except Mismatch:
            self.drop()
            raise
        assert self._session is not None
        self._session.credit = hello.receive_buffer
        self._hello = hello
        self.call(Type.RESET)
        return hello

    def drop(self) -> None:
        """End the session; the next request starts a new one. Late replies to this one will be ignored."""
        if self._session:
            self._bad_frames += self._session.deframer.bad
            self._session = None

    def close(self) -> None:
        """End the session and close the link."""
        self.drop()
        self._link.close()

    def call(self, kind: Type, payload: bytes = b"") -> bytes:
        """The reply to one request."""
        (reply,) = self.exchange([(kind, payload)])
        return reply

    def exchange(self, requests: Iterable[Request], heard: Callable[[bytes], None] | None = None) -> list[bytes]:
        """Replies to `requests`, in order; `heard` is called with each as it comes. Raises as `drive`."""
        talk = _List(self.name, requests, heard)
        self.drive(talk)
        return talk.replies

    def drive(self, talk: Talk) -> None:
        """Carry on until the talk is finished, with as much in flight as device and window allow.

        Raises `LinkError`, `NoReply`, `DeviceReset` and what the talk raises; the session is then over.
        """
        if self._session is None or self._hello is None:
            self.connect()
        assert self._session is not None
        try:
            self._converse(self._session, talk)
        except NoReply as error:
            self._explain(error)
        except BaseException:
            self.drop()
            raise

    def greet(self, retries: int) -> Hello:
        """Open a session under a random number, so that nothing said in an earlier one fits it."""
        self.drop()
        rate = self._link.bytes_per_second
        session = Session(
            secrets.randbits(16), self._window, self._timeout, retries, rate=rate, counters=self.counters)
        self._session = session
        talk = _List(self.name, [(Type.HELLO, b"")])
        try:
            self._converse(session, talk)
            if not talk.replies[0]:
                raise NoReply("it only repeats what it is sent, as a port without a device may")
            return unpack(self.name, Hello, talk.replies[0])
        except BaseException as error:
            self.drop()
            if isinstance(error, NoReply):
                raise NoReply(f"{self.name} does not answer: {error}") from None
            raise

    def _converse(self, session: Session, talk: Talk) -> None:
        """Keep the window filled and pass replies on as they come."""
        received, asker = b"", Asker(session, talk)
        while True:
            now = time.monotonic()
            output, replies = session.step(received, now)
            output += b"".join(asker.ask(now))
            received = b""
            if output:
                self._link.send(output)
            for reply in replies:
                refusal = unpack(self.name, Refusal, reply.payload) if reply.type == Type.ERROR else None
                talk.hear(reply.payload, refusal, now)
            if talk.finished and not session.in_flight:
                return
            # What has arrived in the meantime counts before what is overdue by now.
            wait = 0.0 if replies else max(0.0, next_event(session, talk, now) - time.monotonic())
            received = self._link.receive(wait)

    def _explain(self, error: NoReply) -> NoReturn:
        """The device answers no longer: find out whether it was reset, and say so."""
        before = self._hello
        hello = self.greet(retries=1)
        self.drop()
        if before is None or hello.epoch != before.epoch:
            raise DeviceReset(f"{self.name} was reset and lost its program: load it again") from None
        raise NoReply(f"{self.name} answers HELLO, but {error}") from None


def next_event(session: Session, talk: Talk, now: float) -> float:
    """When there may be something to do although nothing arrives."""
    times = [talk.wake, session.line_free_at]
    if session.deadline is not None:
        times.append(session.deadline)
    return min((at for at in times if at > now), default=now)


class Asker:
    """Submits to a session what a talk asks for, while there is room in the session and on the line."""

    def __init__(self, session: Session, talk: Talk) -> None:
        self._session, self._talk = session, talk
        self._upcoming: Request | None = None  # asked for, but there was no room

    def ask(self, now: float) -> Iterator[bytes]:
        """The bytes to send now, request by request."""
        session = self._session
        while session.line_free_at <= now and (self._upcoming or session.ready(Type.PING)):
            self._upcoming = self._upcoming or self._talk.ask(now)
            if self._upcoming is None or not session.ready(self._upcoming[0], len(self._upcoming[1])):
                return
            session.submit(*self._upcoming, now=now)
            self._upcoming = None
            yield session.step(b"", now)[0]


class _List:
    """A talk that is a list of requests."""

    def __init__(
        self, name: str, requests: Iterable[Request], heard: Callable[[bytes], None] | None = None
    ) -> None:
        self.replies: list[bytes] = []
        self.wake = float("inf")
        self._name, self._heard = name, heard
        self._asked: deque[Request] = deque()
        self._requests = iter(requests)
        self._next = next(self._requests, None)

    @property
    def finished(self) -> bool:
        return self._next is None and not self._asked

    def ask(self, now: float) -> Request | None:
        request = self._next
        if request is not None:
            self._asked.append(request)
            self._next = next(self._requests, None)
        return request

    def hear(self, payload: bytes, refusal: Refusal | None, now: float) -> None:
        kind, _ = self._asked.popleft()
        if refusal is not None:
            raise refused(self._name, kind, refusal)
        self.replies.append(payload)
        if self._heard:
            self._heard(payload)


def _check_identity(name: str, hello: Hello) -> None:
    if hello.design != wire.DESIGN_ID:
        raise Mismatch(f"{name} must be of design {wire.DESIGN_ID.hex()}, not {hello.design.hex()}")
    if hello.max_payload < _SMALLEST_PAYLOAD or hello.image_fifo < 1:
        raise Mismatch(
            f"{name} must take payloads of {_SMALLEST_PAYLOAD} bytes and buffer image bytes, "
            f"not {hello.max_payload} and {hello.image_fifo}"
        )
    if hello.receive_buffer < wire.MAX_FRAME:
        raise Mismatch(f"{name} must buffer a frame of {wire.MAX_FRAME} bytes, not {hello.receive_buffer}")
