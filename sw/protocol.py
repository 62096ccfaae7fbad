"""Frames of the link protocol of `hw.arch.wire` as bytes, for both ends.

`encode`, `decode` and `Deframer` turn frames into bytes and back. `sw.session` decides which to send.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from cobs import cobs

from hw.arch import wire

DELIMITER = b"\x00"
_MAX_ENCODED = wire.MAX_FRAME + wire.MAX_FRAME // 254 + 1


class FrameError(ValueError):
    """Bytes that are not a frame."""


class VersionError(FrameError):
    """A whole frame of another protocol version, the exception's second argument."""


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
        text = f"frame must be of protocol version {wire.VERSION}, not {header.version}"
        raise VersionError(text, header.version)
    if header.length != len(body) - head - tail:
        raise FrameError(f"frame says {header.length} bytes of payload but has {len(body) - head - tail}")
    return Frame(header.type, header.sequence, header.session, body[head:-tail])


class Deframer:
    """Cuts a byte stream into frames. Never raises; what is not a frame is dropped and counted.

    Members
    -------
    good, bad : int, frames accepted and dropped
    noise : int, bytes seen since the last good frame
    version : int or None, other protocol version of a frame that was whole but for that
    """

    def __init__(self) -> None:
        self.good = self.bad = self.noise = 0
        self.version: int | None = None
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
        except FrameError as error:
            self.bad += 1
            if isinstance(error, VersionError):
                self.version = error.args[1]
            return None
        self.good += 1
        self.noise = 0
        return frame
