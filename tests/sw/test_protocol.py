"""Frames on the line: what is damaged does not survive."""

from __future__ import annotations

import random
import zlib

import pytest
from cobs import cobs
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.arch import wire
from hw.arch.wire import Type
from sw.protocol import Deframer, Frame, FrameError, decode, encode

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
