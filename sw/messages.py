"""Requests and replies of the link as the driver's values, with sentences for replies that are wrong."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from hw.arch import wire
from hw.arch.config import Config, Space
from hw.arch.wire import Address, Error, Hello, Refusal, Type
from sw.errors import DeviceError, Refused

Request = tuple[Type, bytes]


class _Unpackable(Protocol):
    @classmethod
    def unpack(cls, data: bytes) -> Self: ...


P = TypeVar("P", bound=_Unpackable)


def read_requests(
    config: Config, space: Space, count: int, hello: Hello, bank: int = 0, first: int = 0
) -> list[Request]:
    """READs of `count` words of one bank from word `first` on."""
    step, end = min(hello.max_payload, wire.MAX_PAYLOAD) // config.memories[space].bytes_per_word, first + count
    pieces = [(start, min(step, end - start)) for start in range(first, end, step)]
    return [(Type.READ, Address(space, bank, start).pack() + n.to_bytes(2, "little")) for start, n in pieces]


def unpack_words(name: str, config: Config, space: Space, asked: bytes, payload: bytes) -> list[int]:
    """The words that answer the READ with payload `asked`; `DeviceError` for another number of bytes."""
    size = config.memories[space].bytes_per_word
    expected = int.from_bytes(asked[Address.FORMAT.size :], "little") * size
    if len(payload) != expected:
        raise DeviceError(f"{name} must answer READ with {expected} bytes, not {len(payload)}")
    return [int.from_bytes(payload[i : i + size], "little") for i in range(0, len(payload), size)]


def unpack(name: str, kind: type[P], payload: bytes) -> P:
    """A payload as a structure of `hw.arch.wire`; `DeviceError` if it is none."""
    try:
        return kind.unpack(payload)
    except ValueError as error:
        raise DeviceError(f"{name} does not speak the protocol: {error}") from None


def refused(name: str, kind: Type, refusal: Refusal) -> Refused:
    """The device refused a request of that kind."""
    reason = {int(error): error.name for error in Error}.get(refusal.error, f"error {refusal.error}")
    return Refused(f"{name} refused {kind.name}: {reason} (detail {refusal.detail})", refusal)
