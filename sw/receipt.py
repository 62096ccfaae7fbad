"""The receipt for a complete load, kept in the device: the last words of the result memory, which few programs reach.

It names epoch and program, so a later process finds out whether the device still holds its program: the epoch changes
with every loss of the memories, the receipt is erased before the first byte of another load and written after the last
one, and a program that puts its results there destroys it.
"""

from __future__ import annotations

import hashlib

from hw.arch.config import Config, Space
from hw.arch.wire import Address
from sw.compiler import Program

_BYTES = 16


def place(program: Program) -> range | None:
    """Words of the result memory that hold the receipt; None when the program needs them."""
    last = _last_words(program.config)
    return last if last and last.start >= program.result_words else None


def words(program: Program, epoch: int, digest: bytes) -> list[int]:
    """The receipt for a load of the program with that digest into the device as it is since `epoch`."""
    content = hashlib.blake2b(epoch.to_bytes(4, "little") + digest, digest_size=_BYTES, person=b"abacus-load").digest()
    size = _word_bytes(program.config)
    return [int.from_bytes(content[i : i + size], "little") for i in range(0, _BYTES, size)]


def writes(program: Program, epoch: int, digest: bytes) -> tuple[list[bytes], list[bytes]]:
    """Payloads of WRITE to send before and after everything else of a load."""
    last = _last_words(program.config)
    if not last:
        return [], []
    size = program.config.memories[Space.RESULTS].bytes_per_word
    start = Address(Space.RESULTS, 0, last.start).pack()
    receipt = b"".join(word.to_bytes(size, "little") for word in words(program, epoch, digest))
    return [start + bytes(size * len(last))], [start + receipt] if place(program) else []


def _word_bytes(config: Config) -> int:
    """Whole bytes that a word of the result memory can hold."""
    return config.memories[Space.RESULTS].bits // 8


def _last_words(config: Config) -> range | None:
    """Where receipts lie on devices of that configuration; None where the memory is too small for any."""
    depth, count = config.result_depth, -(-_BYTES // _word_bytes(config))
    return range(depth - count, depth) if count <= depth else None
