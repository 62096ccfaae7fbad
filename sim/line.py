"""Lines, and host and device on them in simulated time: what the protocol achieves, whatever runs it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

from hw.arch.wire import Refusal, Type
from sim.faults import Corruptor, Faults
from sw.connection import Asker, Talk, next_event
from sw.protocol import Frame
from sw.session import Session

BITS_PER_BYTE = 10
_PIECE = 32  # bytes that arrive together


class Delay:
    """Latency, jitter and stalls of one direction; order is kept.

    Parameters
    ----------
    faults : Faults
    seed : int
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.stalled_until = float("-inf")
        self._faults = faults
        self._rng = random.Random(seed ^ 0x5A5A)
        self._last_at = float("-inf")
        self._pieces: deque[tuple[float, bytes]] = deque()

    @property
    def next_at(self) -> float:
        """When the next bytes arrive."""
        return self._pieces[0][0] if self._pieces else float("inf")

    def put(self, data: bytes, now: float) -> None:
        """Bytes leave now."""
        if not data:
            return
        if self._rng.random() < self._faults.stall:
            self.stalled_until = now + self._rng.uniform(0, self._faults.stall_seconds)
        delay = self._faults.latency + self._rng.uniform(0, self._faults.jitter)
        self._last_at = max(self._last_at, self.stalled_until, now + delay)
        self._pieces.append((self._last_at, data))

    def get(self, now: float) -> bytes:
        """What has arrived by now."""
        out = bytearray()
        while self._pieces and self._pieces[0][0] <= now:
            out += self._pieces.popleft()[1]
        return bytes(out)


class Line:
    """One direction of a serial line.

    Parameters
    ----------
    baud : int
    faults : Faults
    seed : int
    """

    def __init__(self, baud: int, faults: Faults, seed: int) -> None:
        self.bytes_per_second = baud / BITS_PER_BYTE
        self.corruptor = Corruptor(faults, seed)
        self._delay = Delay(faults, seed)
        self._free_at = 0.0

    @property
    def next_at(self) -> float:
        """When the next bytes arrive."""
        return self._delay.next_at

    def send(self, data: bytes, now: float) -> float:
        """Put bytes on the line; when the last has left."""
        self._free_at = max(self._free_at, now)
        for first in range(0, len(data), _PIECE):
            piece = data[first : first + _PIECE]
            self._free_at += len(piece) / self.bytes_per_second
            self._delay.put(self.corruptor(piece), self._free_at)
        return self._free_at

    def receive(self, now: float) -> bytes:
        """What has arrived by now."""
        return self._delay.get(now)


def drive(
    session: Session, device: Callable[[bytes, float], bytes], up: Line, down: Line, talk: Talk, now: float
) -> float:
    """As `sw.connection.Connection.drive`, from `now` on and without refusals; when the last reply arrived.

    `device` takes bytes and the time.
    """
    asker = Asker(session, talk)
    while True:
        for request in asker.ask(now):
            up.send(request, now)
        if arrived := up.receive(now):
            down.send(device(arrived, now), now)
        output, got = session.step(down.receive(now), now)
        up.send(output, now)
        for reply in got:
            talk.hear(reply.payload, Refusal.unpack(reply.payload) if reply.type == Type.ERROR else None, now)
        if talk.finished and not session.in_flight:
            return now
        if not got and not output:
            now = max(now, min(up.next_at, down.next_at, next_event(session, talk, now)))


def converse(
    session: Session, device: Callable[[bytes], bytes], up: Line, down: Line, requests: Iterable[tuple[Type, bytes]],
    now: float = 0.0,
) -> tuple[list[Frame], float]:
    """Ask all requests as fast as the session lets; the replies, and when the last one arrived.

    Time is advanced from event to event. Raises what `Session.step` raises.
    """
    pending, replies = iter(requests), list[Frame]()
    upcoming = next(pending, None)
    while True:
        while upcoming and session.ready(upcoming[0], len(upcoming[1])):
            session.submit(*upcoming, now=now)
            upcoming = next(pending, None)
        if arrived := up.receive(now):
            down.send(device(arrived), now)
        output, got = session.step(down.receive(now), now)
        up.send(output, now)
        replies += got
        if not session.in_flight and upcoming is None:
            return replies, now
        if not got and not output:
            deadline = session.deadline
            soon = min(up.next_at, down.next_at, now + 1.0 if deadline is None else deadline)
            now = max(now, soon)
