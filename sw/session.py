"""The host's half of the conversation of `hw.arch.wire`, without any input or output.

`Session` is go-back-N: it numbers requests, keeps as many unanswered as the device has room for, matches replies, and
sends again what was lost. Callers move the bytes and tell the time, so the same code serves blocking, asynchronous and
simulated links.

Both directions keep their order, which tells most losses at once: a reply overtaking another means that the other was
lost, and ERROR SEQUENCE that a request was. Only what is lost last needs the timeout.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hw.arch import wire
from hw.arch.wire import Error, Refusal, Type
from sw.errors import NoReply
from sw.protocol import Deframer, Frame, encode

ALONE = (Type.HELLO, Type.RESET)
PACE_SECONDS = 0.0005  # how far the host runs ahead of the line: what waits in buffers cannot be called back
_SHORTEST = 4  # the timeout adapts down to this fraction


@dataclass(eq=False)
class _Request:
    """A request on its way: its bytes, when they were sent, and its reply once there."""

    type: Type
    sequence: int
    data: bytes
    cost: int  # bytes it takes in the device's buffer
    first: int = 0  # number of its first transmission; 0 before
    last: int = 0  # number of its latest transmission
    left: float = 0.0  # when the latest one left the host
    reply: Frame | None = None


@dataclass
class Counters:
    """What sessions did to keep the line reliable."""

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
    window : int, 1..wire.WINDOW, requests in flight
    timeout : float, seconds: a first request without reply is repeated after this; later ones sooner, as learnt
    retries : int, `NoReply` comes after 1 + `retries` vain tries, and as many timeouts
    credit : int, bytes of the device's receive buffer
    rate : float or None, bytes per second of the line; requests are then sent only as fast as it takes them

    HELLO and RESET travel alone: nothing is sent between them and their reply, so that nothing can overtake a
    repetition of theirs.
    """

    session: int
    window: int = wire.WINDOW
    timeout: float = 0.5
    retries: int = 4
    credit: int = wire.RECEIVE_BUFFER
    rate: float | None = None
    counters: Counters = field(default_factory=Counters)
    deframer: Deframer = field(default_factory=Deframer)

    def __post_init__(self) -> None:
        if not 1 <= self.window <= wire.WINDOW:
            raise ValueError(f"window must be in 1..{wire.WINDOW}, not {self.window}")
        self._flight: deque[_Request] = deque()
        self._outbox: deque[_Request] = deque()
        self._sequence = self._transmissions = 0
        self._free_at = float("-inf")  # when the line has taken all that was sent
        self._progress_at = 0.0
        self._good_before = 0
        self._late_refusals = 0  # of transmissions before the last going back
        self._tries = 0
        self._wait = self.timeout
        self._smooth: tuple[float, float] | None = None  # round trip and its deviation, seconds

    @property
    def in_flight(self) -> int:
        """Requests without a delivered reply."""
        return len(self._flight)

    @property
    def deadline(self) -> float | None:
        """When `step` wants to be called at the latest; None when nothing is awaited."""
        if not self._flight:
            return None
        return min(self._due, self._free_at - PACE_SECONDS) if self._outbox else self._due

    @property
    def line_free_at(self) -> float:
        """When the line wants the next request; asked sooner, it would be in the way of more urgent ones."""
        return self._free_at - PACE_SECONDS if not self._outbox else float("inf")

    @property
    def _due(self) -> float:
        """When the oldest request counts as lost."""
        oldest = self._flight[0]
        return max(oldest.left, self._progress_at) + self._wait if oldest.last else float("inf")

    def ready(self, kind: Type, size: int = 0) -> bool:
        """Whether a request of this type, with `size` bytes of payload, may be submitted now."""
        if not self._flight:
            return True
        taken = sum(request.cost for request in self._flight)
        fits = len(self._flight) < self.window and taken + _cost(size) <= self.credit
        return fits and kind not in ALONE and self._flight[-1].type not in ALONE

    def submit(self, kind: Type, payload: bytes, now: float) -> None:
        """Queue a request; only while `ready`. `now` is in seconds of any monotonic clock, the same for `step`."""
        if not self.ready(kind, len(payload)):
            raise RuntimeError(f"{self.in_flight} requests are in flight; take replies before submitting {kind.name}")
        if not self._flight:
            self._progress(now)
        data = encode(Frame(kind, self._sequence, self.session, payload))
        request = _Request(kind, self._sequence, data, _cost(len(payload)))
        self._flight.append(request)
        self._outbox.append(request)
        self._sequence = (self._sequence + 1) % 256
        self.counters.requests += 1

    def step(self, received: bytes, now: float) -> tuple[bytes, list[Frame]]:
        """Digest received bytes and the passing of time.

        Returns the bytes to send now and the replies that are complete, in the order of their requests. Raises
        `NoReply` when the oldest request stayed unanswered through all retries; the session is then over.
        """
        self.counters.bytes_received += len(received)
        for frame in self.deframer.feed(received):
            self._take(frame, now)
        replies = []
        while self._flight and (reply := self._flight[0].reply) is not None:
            replies.append(reply)
            self._flight.popleft()
            self._progress(now)
        if self._flight and now >= self._due:
            self._expire(now)
        return self._transmit(now), replies

    def _take(self, frame: Frame, now: float) -> None:
        request = next((r for r in self._flight if r.last and r.sequence == frame.sequence), None)
        if request is None or frame.session != self.session or frame.type not in (request.type, Type.ERROR):
            self.counters.strangers += 1
        elif frame.type == Type.ERROR and _is_sequence(frame.payload):
            self._out_of_turn(request)
        elif request.reply is None:
            request.reply = frame
            if request.first == request.last:
                self._learn(max(0.0, now - request.left))
            self._overtaken(request)
        else:
            self.counters.strangers += 1

    def _out_of_turn(self, request: _Request) -> None:
        """The device misses a request before this one: repeat all, but only once for every loss."""
        if self._late_refusals:
            self._late_refusals -= 1
        else:
            self._late_refusals = self._transmissions - request.last
            self._go_back()

    def _overtaken(self, request: _Request) -> None:
        """Replies that should have come before this one's are lost: ask again."""
        lost = [r for r in self._flight if r.reply is None and 0 < r.last < request.first and r not in self._outbox]
        self._outbox.extendleft(reversed(lost))

    def _go_back(self) -> None:
        self._outbox = deque(r for r in self._flight if r.reply is None)

    def _expire(self, now: float) -> None:
        self.counters.timeouts += 1
        self._tries += 1
        if self._tries > self.retries and now - self._progress_at >= self.timeout * (1 + self.retries):
            raise NoReply(
                f"no valid reply to {self._flight[0].type.name} after {self._tries} tries in "
                f"{now - self._progress_at:.2g} s: the device sent {self._heard()}"
            )
        self._wait = min(2 * self._wait, self.timeout)
        self._late_refusals = 0
        self._flight[0].left = now  # holds the timeout until it has its turn in the outbox
        self._go_back()

    def _heard(self) -> str:
        """What came instead of the reply."""
        if self.deframer.version is not None:
            return f"frames of protocol version {self.deframer.version}, not {wire.VERSION}"
        if self.deframer.good > self._good_before:
            return f"{self.deframer.good - self._good_before} frames, but none that fits"
        return f"only {self.deframer.noise} bytes that are not a frame" if self.deframer.noise else "nothing"

    def _transmit(self, now: float) -> bytes:
        """Take from the outbox what the line is ready for."""
        output = bytearray()
        while self._outbox and self._free_at <= now + PACE_SECONDS:
            request = self._outbox.popleft()
            if request.reply is not None:
                continue
            output += request.data
            if self.rate is not None:
                self._free_at = max(self._free_at, now) + len(request.data) / self.rate
            self._transmissions += 1
            self.counters.resent += request.first > 0
            request.first = request.first or self._transmissions
            request.last, request.left = self._transmissions, max(now, self._free_at)
        self.counters.bytes_sent += len(output)
        return bytes(output)

    def _learn(self, trip: float) -> None:
        """Adapt the timeout to a measured round trip, as TCP does."""
        mean, deviation = self._smooth or (trip, trip / 2)
        deviation += (abs(trip - mean) - deviation) / 4
        mean += (trip - mean) / 8
        self._smooth = mean, deviation

    def _progress(self, now: float) -> None:
        """An answer came, or the first question is asked: what is oldest now has its full time."""
        self._progress_at = now
        self._good_before = self.deframer.good
        self._late_refusals = self._tries = 0
        if self._smooth:
            mean, deviation = self._smooth
            self._wait = min(max(mean + 4 * deviation, self.timeout / _SHORTEST), self.timeout)


def _cost(size: int) -> int:
    """Bytes that a request with `size` bytes of payload takes in the device's receive buffer."""
    return wire.MAX_FRAME - wire.MAX_PAYLOAD + size


def _is_sequence(payload: bytes) -> bool:
    return len(payload) == Refusal.FORMAT.size and Refusal.unpack(payload).error == Error.SEQUENCE
