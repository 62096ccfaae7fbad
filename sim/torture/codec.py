"""Damaged frames against the host's codec: not one may come out as anything but what was sent."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from hw.arch.wire import Type
from sim.figures import Figure
from sw.protocol import Deframer, Frame, encode

SHAPES = {
    "no payload": b"",
    "zeros": bytes(40),
    "ones": b"\xff" * 40,
    "counting": bytes(range(48)),
    "ending in zero": b"abcdefghijk\x00",
    "one byte": b"\x00",
}
CORRUPTIONS, QUICK_CORRUPTIONS = 10_000_000, 30_000
Change = Callable[[random.Random, bytearray], None]


def measure(quick: bool, seed: int) -> list[Figure]:
    """All flips of one and two bits of every shape (of the first, if quick), then random corruptions."""
    shapes = dict(list(SHAPES.items())[:1]) if quick else SHAPES
    tried = accepted = 0
    for payload in shapes.values():
        frame = Frame(Type.WRITE, 7, 0xBEEF, payload)
        for damaged in flips(encode(frame)):
            tried, accepted = tried + 1, accepted + _wrong(damaged, frame)
    count = QUICK_CORRUPTIONS if quick else CORRUPTIONS
    wrong = corrupt(count, seed)
    return [
        Figure(f"all 1- and 2-bit flips of {len(shapes)} frame shapes ({tried:,}), host codec", "0 accepted",
               f"{accepted} accepted", accepted == 0),
        Figure("random corruptions, host codec", f"0 accepted of {count:,}", f"{wrong} accepted of {count:,}",
               wrong == 0),
    ]


def flips(data: bytes) -> Iterator[bytes]:
    """`data` with every one bit, then every two bits, flipped between its delimiters."""
    bits = range(8, 8 * (len(data) - 1))
    for first in bits:
        once = bytearray(data)
        once[first // 8] ^= 1 << first % 8
        yield bytes(once)
        for second in range(first + 1, bits.stop):
            once[second // 8] ^= 1 << second % 8
            yield bytes(once)
            once[second // 8] ^= 1 << second % 8


def corrupt(count: int, seed: int) -> int:
    """Random corruptions of random frames: how many came out as another frame."""
    rng, wrong = random.Random(seed), 0
    while count:
        frame = Frame(rng.randrange(16), rng.randrange(256), rng.randrange(65536), _payload(rng))
        whole = encode(frame)
        for _ in range(min(64, count)):
            damaged = bytearray(whole)
            while damaged == whole:
                for _ in range(rng.choice((1, 1, 2, 3))):
                    rng.choice(CHANGES)(rng, damaged)
            wrong += _wrong(bytes(damaged), frame)
            count -= 1
    return wrong


def _wrong(damaged: bytes, frame: Frame) -> bool:
    return any(got != frame for got in Deframer().feed(damaged + b"\x00"))


def _payload(rng: random.Random) -> bytes:
    size = rng.choice((0, 1, 2, 8, 20, 64, 256))
    return bytes(size) if rng.random() < 0.2 else rng.randbytes(size)


def _flip(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _drop(rng: random.Random, data: bytearray) -> None:
    if len(data) > 1:
        del data[rng.randrange(len(data))]


def _insert(rng: random.Random, data: bytearray) -> None:
    data.insert(rng.randrange(len(data) + 1), rng.randrange(256))


def _duplicate(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data.insert(at, data[at])


def _swap(rng: random.Random, data: bytearray) -> None:
    a, b = rng.randrange(len(data)), rng.randrange(len(data))
    data[a], data[b] = data[b], data[a]


def _burst(rng: random.Random, data: bytearray) -> None:
    at, size = rng.randrange(len(data)), rng.randrange(1, 20)
    size = min(size, len(data) - at)
    data[at : at + size] = rng.randbytes(size)


def _truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(1, len(data) + 1) :]


def _splice(rng: random.Random, data: bytearray) -> None:
    """Continue with the same frame from elsewhere, as after an overrun."""
    a, b = rng.randrange(len(data)), rng.randrange(len(data))
    data[a:] = data[b:] or b"\x00"


CHANGES: tuple[Change, ...] = (_flip, _flip, _replace, _drop, _insert, _duplicate, _swap, _burst, _truncate, _splice)
