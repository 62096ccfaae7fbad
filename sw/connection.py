"""A session with a device over a link: moves the bytes of `protocol.Session` and turns failures into exceptions."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NoReturn, Protocol, Self, TypeVar

from hw.arch import wire
from hw.arch.wire import Error, Hello, Refusal, Type
from sw.errors import DeviceError, DeviceReset, Mismatch, NoReply, Refused
from sw.link import Link
from sw.protocol import Counters, Session

_SMALLEST_PAYLOAD = 128  # holds an address and the widest memory word of any sensible configuration


class _Unpackable(Protocol):
    @classmethod
    def unpack(cls, data: bytes) -> Self: ...


P = TypeVar("P", bound=_Unpackable)


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
        hello = self._greet(self._retries)
        try:
            _check_identity(self.name, hello)
        except Mismatch:
            self.drop()
            raise
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

    def exchange(self, requests: Iterable[tuple[Type, bytes]]) -> Iterator[bytes]:
        """Replies to `requests`, in order, with as many in flight as the window allows.

        Raises `LinkError`, `NoReply`, `Refused`, `DeviceReset`.
        """
        if self._session is None or self._hello is None:
            self.connect()
        session = self._session
        assert session is not None
        finished = False
        try:
            yield from self._converse(session, requests)
            finished = True
        except NoReply as error:
            self._explain(error)
        finally:
            if not finished and session is self._session:
                self.drop()

    def unpack(self, kind: type[P], payload: bytes) -> P:
        """A payload as a structure of `hw.arch.wire`; `DeviceError` if it is none."""
        try:
            return kind.unpack(payload)
        except ValueError as error:
            raise DeviceError(f"{self.name} does not speak the protocol: {error}") from None

    def _greet(self, retries: int) -> Hello:
        """Open a session under a random number, so that nothing said in an earlier one fits it."""
        self.drop()
        session = Session(secrets.randbits(16), self._window, self._timeout, retries, self.counters)
        self._session = session
        try:
            (reply,) = self._converse(session, [(Type.HELLO, b"")])
            if not reply:
                raise NoReply("it only repeats what it is sent, as a port without a device may")
            return self.unpack(Hello, reply)
        except BaseException as error:
            self.drop()
            if isinstance(error, NoReply):
                raise NoReply(f"{self.name} does not answer: {error}") from None
            raise

    def _converse(self, session: Session, requests: Iterable[tuple[Type, bytes]]) -> Iterator[bytes]:
        """Keep the window filled and yield payloads as they come."""
        pending, asked = iter(requests), deque[Type]()
        upcoming = next(pending, None)
        received = b""
        while upcoming or session.in_flight:
            while upcoming and session.ready(upcoming[0]):
                session.submit(*upcoming, now=time.monotonic())
                asked.append(upcoming[0])
                upcoming = next(pending, None)
            output, replies = session.step(received, time.monotonic())
            received = b""
            if output:
                self._link.send(output)
            for reply in replies:
                kind = asked.popleft()
                if reply.type == Type.ERROR:
                    self._raise_refusal(kind, reply.payload)
                yield reply.payload
            if not replies and session.deadline is not None:
                received = self._link.receive(max(0.0, session.deadline - time.monotonic()))

    def _explain(self, error: NoReply) -> NoReturn:
        """The device answers no longer: find out whether it was reset, and say so."""
        before = self._hello
        hello = self._greet(retries=1)
        self.drop()
        if before is None or hello.epoch != before.epoch:
            raise DeviceReset(f"{self.name} was reset and lost its program: load it again") from None
        raise NoReply(f"{self.name} answers HELLO, but {error}") from None

    def _raise_refusal(self, kind: Type, payload: bytes) -> NoReturn:
        refusal = self.unpack(Refusal, payload)
        reason = {int(error): error.name for error in Error}.get(refusal.error, f"error {refusal.error}")
        raise Refused(f"{self.name} refused {kind.name}: {reason} (detail {refusal.detail})", refusal)


def _check_identity(name: str, hello: Hello) -> None:
    if hello.design != wire.DESIGN_ID:
        raise Mismatch(f"{name} must be of design {wire.DESIGN_ID.hex()}, not {hello.design.hex()}")
    if hello.max_payload < _SMALLEST_PAYLOAD or hello.image_fifo < 1:
        raise Mismatch(
            f"{name} must take payloads of {_SMALLEST_PAYLOAD} bytes and buffer image bytes, "
            f"not {hello.max_payload} and {hello.image_fifo}"
        )
