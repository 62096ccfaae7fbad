"""The host's half of the conversation: go-back-N that loses nothing, neither data nor time."""

from __future__ import annotations

import random

import pytest

from hw.arch import wire
from hw.arch.wire import Error, Refusal, Type
from sw.errors import NoReply
from sw.protocol import Deframer, Frame, encode
from sw.session import PACE_SECONDS, Session


def _reply(data: bytes) -> list[bytes]:
    """What a device answers to every PING in `data`: the same."""
    return [encode(frame) for frame in Deframer().feed(data)]


def test_window_limits_requests_in_flight() -> None:
    session = Session(5, window=3)
    for n in range(3):
        assert session.ready(Type.PING)
        session.submit(Type.PING, bytes([n]), 0.0)
    assert not session.ready(Type.PING)
    assert session.in_flight == 3
    with pytest.raises(RuntimeError, match="3 requests are in flight"):
        session.submit(Type.PING, b"", 0.0)
    output, _ = session.step(b"", 0.0)
    _, replies = session.step(b"".join(_reply(output)), 0.1)
    assert [r.payload for r in replies] == [b"\x00", b"\x01", b"\x02"]
    assert session.deadline is None


@pytest.mark.parametrize("alone", [Type.HELLO, Type.RESET])
def test_hello_and_reset_travel_alone(alone: Type) -> None:
    session = Session(5, window=8)
    session.submit(Type.PING, b"", 0.0)
    assert session.ready(Type.PING)
    assert not session.ready(alone)
    session.step(b"".join(_reply(session.step(b"", 0.0)[0])), 0.0)
    session.submit(alone, b"", 0.0)
    assert not session.ready(Type.PING)


@pytest.mark.parametrize("window", [0, 33])
def test_window_out_of_range(window: int) -> None:
    with pytest.raises(ValueError, match=f"window must be in 1..32, not {window}"):
        Session(5, window=window)


def test_timeout_resends_unanswered_requests_oldest_first() -> None:
    session = Session(5, window=3, timeout=1.0)
    for n in range(3):
        session.submit(Type.PING, bytes([n]), 0.0)
    assert len(Deframer().feed(session.step(b"", 0.0)[0])) == 3
    assert session.step(b"", 0.9) == (b"", [])
    output, _ = session.step(b"", 1.0)
    assert [f.payload for f in Deframer().feed(output)] == [b"\x00", b"\x01", b"\x02"]
    _, replies = session.step(b"".join(_reply(output)), 1.5)
    assert [r.payload for r in replies] == [b"\x00", b"\x01", b"\x02"]
    assert session.counters.resent == 3
    assert session.counters.timeouts == 1


def test_a_reply_that_overtakes_tells_that_another_was_lost() -> None:
    session = Session(5, timeout=1.0)
    for n in range(4):
        session.submit(Type.PING, bytes([n]), 0.0)
    answers = _reply(session.step(b"", 0.0)[0])
    output, replies = session.step(answers[2], 0.1)
    assert replies == []  # in order only
    again = Deframer().feed(output)
    assert [f.payload for f in again] == [b"\x00", b"\x01"]
    output, replies = session.step(answers[3] + b"".join(encode(f) for f in again), 0.2)
    assert output == b""
    assert [r.payload for r in replies] == [b"\x00", b"\x01", b"\x02", b"\x03"]


def test_credit_limits_bytes_in_flight() -> None:
    session = Session(5, credit=2 * (10 + 100) + 10)
    for _ in range(2):
        assert session.ready(Type.PING, 100)
        session.submit(Type.PING, bytes(100), 0.0)
    assert session.ready(Type.PING, 0)
    assert not session.ready(Type.PING, 1)
    with pytest.raises(RuntimeError, match="2 requests are in flight"):
        session.submit(Type.PING, b"x", 0.0)


def test_requests_leave_no_faster_than_the_line_takes_them() -> None:
    session, sent, now = Session(5, rate=100_000, timeout=1.0), [], 0.0
    for _ in range(5):
        session.submit(Type.PING, bytes(500), 0.0)
    while len(sent) < 5:
        output, _ = session.step(b"", now)
        sent += [now] * len(Deframer().feed(output))
        deadline = session.deadline
        assert deadline is not None
        now = deadline
    size = len(encode(Frame(Type.PING, 0, 5, bytes(500))))
    assert sent[0] == 0.0
    assert [pytest.approx(k * size / 100_000 - PACE_SECONDS, abs=1e-6) for k in range(1, 5)] == sent[1:]


def test_the_line_says_when_it_wants_more() -> None:
    """Whoever asks for requests only then can still put an urgent one before the rest."""
    session = Session(5, rate=100_000)
    assert session.line_free_at <= 0.0
    session.submit(Type.PING, bytes(500), 0.0)
    assert session.line_free_at == float("inf")
    size = len(session.step(b"", 0.0)[0])
    assert session.line_free_at == pytest.approx(size / 100_000 - PACE_SECONDS)
    without_rate = Session(5)
    without_rate.submit(Type.PING, bytes(500), 0.0)
    without_rate.step(b"", 0.0)
    assert without_rate.line_free_at <= 0.0


def test_the_timeout_adapts_to_the_line() -> None:
    session, now = Session(5, timeout=1.0), 0.0
    for _ in range(20):
        session.submit(Type.PING, b"", now)
        replies = _reply(session.step(b"", now)[0])
        now += 0.1
        assert len(session.step(b"".join(replies), now)[1]) == 1
    session.submit(Type.PING, b"", now)
    session.step(b"", now)
    assert session.deadline is not None
    assert 0.25 <= session.deadline - now < 0.3
    assert session.step(b"", session.deadline)[0] != b""
    assert session.deadline - now > 0.5  # and grows while nothing comes


def test_sequence_refusal_goes_back_once_for_every_loss() -> None:
    session = Session(5, window=3, timeout=1.0)
    for n in range(3):
        session.submit(Type.PING, bytes([n]), 0.0)
    session.step(b"", 0.0)
    refusals = [encode(Frame(Type.ERROR, n, 5, Refusal(Error.SEQUENCE, Type.PING, 0).pack())) for n in (1, 2)]
    output, _ = session.step(b"".join(refusals), 0.1)
    assert [f.sequence for f in Deframer().feed(output)] == [0, 1, 2]
    # The repetition of 0 is lost too, as the refusals of the other two tell; nothing waits for a timeout.
    output, _ = session.step(b"".join(refusals), 0.2)
    assert [f.sequence for f in Deframer().feed(output)] == [0, 1, 2]
    assert session.counters.timeouts == 0


@pytest.mark.parametrize("stranger", [
    Frame(Type.PING, 1, 5), Frame(Type.PING, 0, 6), Frame(Type.STATUS, 0, 5), Frame(0, 0, 5),
], ids=["sequence", "session", "type", "unknown type"])
def test_frames_that_answer_nothing_are_counted_and_ignored(stranger: Frame) -> None:
    session = Session(5)
    session.submit(Type.PING, b"", 0.0)
    session.step(b"", 0.0)
    assert session.step(encode(stranger), 0.1) == (b"", [])
    assert session.counters.strangers == 1
    assert session.in_flight == 1


@pytest.mark.parametrize(("noise", "heard"), [
    (b"", "nothing"),
    (b"OK\r\n" * 5, "only 20 bytes that are not a frame"),
    (encode(Frame(Type.HELLO, 0, 6)) * 2, "2 frames, but none that fits"),
])
def test_silence_and_garbage_end_in_a_sentence(noise: bytes, heard: str) -> None:
    session = Session(5, timeout=1.0, retries=2)
    session.submit(Type.HELLO, b"", 0.0)
    session.step(noise, 0.0)
    session.step(b"", 1.0)
    session.step(b"", 2.0)
    with pytest.raises(NoReply, match=f"no valid reply to HELLO after 3 tries in 3 s: the device sent {heard}"):
        session.step(b"", 3.0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("window", [1, 8, 32])
def test_everything_arrives_once_and_in_order_over_a_bad_line(seed: int, window: int) -> None:
    """600 requests past the sequence number's wrap; each byte is lost or flipped with a chance of 0.1 % each way."""
    rng = random.Random(1000 * window + seed)

    def bad_line(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            chance = rng.random()
            if chance > 0.001:
                out.append(byte ^ (1 << rng.randrange(8) if chance > 0.999 else 0))
        return bytes(out)

    session, device = Session(9, window=window, timeout=1.0, retries=100), _CountingDevice(9)
    now, received, replies, sent = 0.0, b"", [], 0
    while len(replies) < 600:
        while sent < 600 and session.ready(Type.PING):
            session.submit(Type.PING, sent.to_bytes(4, "little"), now)
            sent += 1
        output, got = session.step(received, now)
        replies += [int.from_bytes(r.payload, "little") for r in got]
        received = bad_line(device.feed(bad_line(output))) if output else b""
        now += 0.0 if output or got else 0.5
    assert replies == list(range(600))
    assert device.executed == list(range(600))
    assert session.counters.resent > 0


class _CountingDevice:
    """Executes PING in sequence order, once each, and keeps what it executed."""

    def __init__(self, session: int) -> None:
        self.executed: list[int] = []
        self._session = session
        self._deframer = Deframer()

    def feed(self, data: bytes) -> bytes:
        out = b""
        for frame in self._deframer.feed(data):
            expected = len(self.executed) % 256
            kind, payload = frame.type, frame.payload
            if frame.sequence == expected:
                self.executed.append(int.from_bytes(frame.payload, "little"))
            elif (expected - frame.sequence) % 256 > wire.WINDOW:
                kind, payload = Type.ERROR, Refusal(Error.SEQUENCE, frame.type, expected).pack()
            out += encode(Frame(kind, frame.sequence, self._session, payload))
        return out
