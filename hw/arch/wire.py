"""The link protocol: frames, messages and their payloads, used by the host driver and by `hw.link`.

A frame on the line is `00 COBS(header payload crc32) 00`; consecutive frames may share a delimiter. The header is
version:4 type:4 | sequence:8 | session:16 | length:16, little-endian; the CRC is CRC-32/ISO-HDLC (zlib) over
header and payload, little-endian. A frame with a bad code, length, version or checksum is dropped and counted.

The host asks, the device answers: every reply repeats type, sequence and session of its request, or is of type
ERROR. The device executes requests in sequence order. HELLO starts a session: the device adopts the frame's
session and sequence, whatever they are; a HELLO with a payload is refused with LENGTH and starts none. Frames of
another session are stale, and before the first HELLO all are: they are dropped and counted.

A repeat is a request whose sequence was executed in this session, at most `WINDOW` requests ago. WRITE, IMAGE, RUN and
RESET take effect once: a repeat changes nothing and gets the answer of the first time, BUSY included (IMAGE's room is
that of the moment). READ, STATUS and PING are performed again. Any other request out of turn is answered with ERROR
SEQUENCE and forgotten.

Refusals are tested in this order: SEQUENCE; TYPE; LENGTH of the fixed part (at least an Address in WRITE, exactly
Address and count in READ, nothing in HELLO, RUN, STATUS, RESET); SPACE; BANK; LENGTH of the words (whole ones, one or
more, at most MAX_PAYLOAD bytes); ADDRESS; BUSY. A refused request has had its turn, except with SEQUENCE, and changes
nothing. No request blocks: what cannot be done now is answered with ERROR BUSY and may be asked again with the next
sequence number.

Credits: the device buffers whole frames until their turn. A host that keeps the sum of `MAX_FRAME - MAX_PAYLOAD +
payload` bytes over its unanswered requests within the `receive_buffer` of the device's Hello, and their number within
`WINDOW`, never overruns it; requests sent again before they are answered count again. The reply comes after the
request's last byte has left the buffer. A frame that finds no room is dropped and counted among `line_errors`.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import ClassVar, Self

from .config import Config, Space

VERSION = 1
WINDOW = 32
MAX_PAYLOAD = 1024
IMAGE_FIFO = 2048  # bytes of image the device buffers ahead of the core
RECEIVE_BUFFER = 8192 - 16  # the device's credits, see above; the rest of its memory is room for pipelining
HEADER = struct.Struct("<BBHH")
CRC = struct.Struct("<I")
MAX_FRAME = HEADER.size + MAX_PAYLOAD + CRC.size

# Names the architectural interface: changes whenever the protocol or the instruction set changes meaning.
DESIGN_ID = bytes.fromhex("61626163757341424330000000000006")


class Type(IntEnum):
    """Message types; replies carry the type of their request or ERROR."""

    HELLO = 1  # -> Hello
    WRITE = 2  # Address + words -> empty
    READ = 3  # Address + count:16 -> words
    IMAGE = 4  # bytes -> free:16, the room left in the image FIFO
    RUN = 5  # -> empty; starts one frame
    STATUS = 6  # -> Status
    PING = 7  # anything -> the same
    RESET = 8  # -> empty; stops the core, empties the image FIFO, keeps the memories
    ERROR = 15  # reply only: Refusal


class Error(IntEnum):
    """Why a request was refused."""

    TYPE = 1  # unknown message type
    LENGTH = 2  # payload of the wrong length for the type
    SPACE = 3  # unknown memory, or one that cannot be read
    BANK = 4  # bank out of range
    ADDRESS = 5  # words past the end of the bank
    BUSY = 6  # core running, or image FIFO too full
    SEQUENCE = 7  # ahead of turn; detail is the sequence expected


READABLE = (Space.RESULTS, Space.ACTIVATIONS, Space.VALUES)


class _Payload:
    FORMAT: ClassVar[struct.Struct]

    def pack(self) -> bytes:
        """Little-endian bytes of the fields."""
        return self.FORMAT.pack(*astuple(self))  # type: ignore[call-overload]

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Inverse of `pack`; `ValueError` when the length is wrong."""
        if len(data) != cls.FORMAT.size:
            raise ValueError(f"{cls.__name__} payload must be {cls.FORMAT.size} bytes, not {len(data)}")
        return cls(*cls.FORMAT.unpack(data))


@dataclass(frozen=True)
class Header(_Payload):
    """Start of every frame."""

    FORMAT = HEADER
    version_type: int
    sequence: int
    session: int
    length: int

    @property
    def version(self) -> int:
        return self.version_type >> 4

    @property
    def type(self) -> int:
        return self.version_type & 15


@dataclass(frozen=True)
class Hello(_Payload):
    """Who the device is. `epoch` changes whenever the device loses its memories (configuration, power, reset)."""

    FORMAT = struct.Struct("<16s16sIHHH")
    design: bytes
    digest: bytes
    epoch: int
    max_payload: int
    image_fifo: int
    receive_buffer: int = RECEIVE_BUFFER


@dataclass(frozen=True)
class Address(_Payload):
    """Start of WRITE and READ payloads: consecutive words of one bank."""

    FORMAT = struct.Struct("<BBH")
    space: int
    bank: int
    address: int


@dataclass(frozen=True)
class Status(_Payload):
    """State of the core and the link. Counters saturate."""

    FORMAT = struct.Struct("<BBHIIHHHHI")
    busy: int  # 1 while a frame runs
    fault: int  # isa.Fault
    fault_address: int  # program counter of the fault
    cycles: int  # core cycles of the last frame, from RUN to END
    frames: int  # frames finished since reset
    image_free: int  # bytes free in the image FIFO
    bad_frames: int  # frames dropped for code, length, version or checksum
    stale_frames: int  # frames dropped for their session
    line_errors: int  # UART framing errors and overruns
    waited: int = 0  # of the last frame's cycles, those in which the core waited for image bytes


@dataclass(frozen=True)
class Refusal(_Payload):
    """Payload of an ERROR reply."""

    FORMAT = struct.Struct("<BBH")
    error: int
    type: int  # type of the refused request
    detail: int  # 0 but for SEQUENCE


def words_per_frame(config: Config, space: Space, header: int = Address.FORMAT.size) -> int:
    """Words of `space` that one WRITE (or READ reply, with header=0) carries."""
    return (MAX_PAYLOAD - header) // config.memories[space].bytes_per_word
