"""The host's protocol: frames that survive nothing they should not, and go-back-N that loses nothing."""

from __future__ import annotations

import random
import zlib

import pytest
from cobs import cobs
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.arch import wire
from hw.arch.wire import Error, Refusal, Type
from sw.errors import NoReply
from sw.protocol import Deframer, Frame, FrameError, Session, decode, encode

PAYLOADS = (b"", b"\x00" * 70, bytes(range(256)), b"\xff" * 254, b"abc\x00")


@given(st.integers(0, 15), st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=wire.MAX_PAYLOAD))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_frames_come_back(kind: int, sequence: int, session: int, payload: bytes) -> None:
    frame = Frame(kind, sequence, session, payload)
    data = encode(frame)
    assert data[0] == data[-1] == 0
    assert 0 not in data[1:-1]
    assert decode(data[1:-1]) == frame


def test_bytes_on_the_line_are_as_documented() -> None:
    body = bytes([0x17, 5, 0x34, 0x12, 2, 0]) + b"hi"
    line = b"\x00" + cobs.encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\x00"
    assert encode(Frame(Type.PING, 5, 0x1234, b"hi")) == line


def test_payload_too_long_is_refused() -> None:
    with pytest.raises(FrameError, match="payload must be at most 1024 bytes, not 1025"):
        encode(Frame(Type.PING, 0, 0, bytes(1025)))


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
def test_no_flipped_bit_is_accepted(payload: bytes) -> None:
    data = encode(Frame(Type.WRITE, 7, 0xBEEF, payload))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        frames = Deframer().feed(b"\x00" + flipped + b"\x00")
        # A damaged outer delimiter may leave the frame whole behind the test's own; anything else must vanish.
        assert all(frame == Frame(Type.WRITE, 7, 0xBEEF, payload) for frame in frames)
        assert not frames or bit // 8 in (0, len(data) - 1)


@pytest.mark.parametrize(("change", "message"), [
    (lambda b: bytes([0x27]) + b[1:], "version 1, not 2"),
    (lambda b: b[:4] + b"\x09\x00" + b[6:], "says 9 bytes of payload but has 3"),
    (lambda b: b[:4], "frame must be 10..1034 bytes"),
    (lambda b: b + bytes(1100), "frame must be 10..1034 bytes"),
])
def test_frames_with_a_right_checksum_can_still_be_wrong(change, message) -> None:
    body = change(bytes([0x17, 0, 0, 0, 3, 0]) + b"abc")
    data = body if len(body) < 6 else body + zlib.crc32(body).to_bytes(4, "little")
    with pytest.raises(FrameError, match=message):
        decode(cobs.encode(data))


@pytest.mark.parametrize("seed", range(20))
def test_deframer_finds_frames_in_noise(seed: int) -> None:
    rng = random.Random(seed)
    sent = [Frame(rng.randrange(16), i, 77, rng.randbytes(rng.randrange(40))) for i in range(20)]
    stream = bytearray()
    for frame in sent:
        stream += rng.randbytes(rng.choice((0, 3, 3000))) + encode(frame)
    deframer, got = Deframer(), []
    while stream:
        size = rng.randrange(1, 90)
        got += deframer.feed(bytes(stream[:size]))
        del stream[:size]
    assert got == sent
    assert deframer.good == 20
    assert deframer.bad > 0
    assert deframer.noise <= 1


def test_deframer_memory_is_bounded() -> None:
    deframer = Deframer()
    for _ in range(100):
        assert deframer.feed(b"\x01" * 5000) == []
    assert len(deframer._partial) <= wire.MAX_FRAME + 10
    assert deframer.feed(b"\x00" + encode(Frame(1, 2, 3, b"x"))) == [Frame(1, 2, 3, b"x")]
    assert deframer.bad == 1


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
    first, _ = session.step(b"", 0.0)
    middle = _reply(first)[1]
    assert session.step(middle, 0.5) == (b"", [])  # in order only
    output, _ = session.step(b"", 1.0)
    assert [f.payload for f in Deframer().feed(output)] == [b"\x00", b"\x02"]
    _, replies = session.step(b"".join(_reply(output)), 1.5)
    assert [r.payload for r in replies] == [b"\x00", b"\x01", b"\x02"]
    assert session.counters.resent == 2
    assert session.counters.timeouts == 1


def test_sequence_refusal_goes_back_once_for_every_loss() -> None:
    session = Session(5, window=3, timeout=1.0)
    for n in range(3):
        session.submit(Type.PING, bytes([n]), 0.0)
    session.step(b"", 0.0)
    refusals = [encode(Frame(Type.ERROR, n, 5, Refusal(Error.SEQUENCE, Type.PING, 0).pack())) for n in (1, 2)]
    output, _ = session.step(b"".join(refusals), 0.1)
    assert [f.sequence for f in Deframer().feed(output)] == [0, 1, 2]


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
    with pytest.raises(NoReply, match=f"no valid reply to HELLO after 3 tries of 1 s: the device sent {heard}"):
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
