"""Exactly once and in order over a line that flips, loses, adds and repeats bytes both ways, in simulated time."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hw.arch.config import Space
from hw.arch.wire import Address, Type
from sim.faults import Faults
from sim.figures import Figure
from sim.line import Line, converse
from sim.torture.network import CONFIG
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.protocol import Frame
from sw.session import Session

COUNT, QUICK_COUNT = 100_000, 1_500
BAUD = 3_000_000
BAD = Faults(flip=2e-4, drop=1e-3, insert=1e-3, duplicate=1e-3, latency=0.001)
_WORDS = 12
_DEPTH = CONFIG.memories[Space.WEIGHTS].depth


class Diary(Machine):
    """A core that notes what is written to it."""

    def __init__(self) -> None:
        super().__init__(CONFIG)
        self.written: list[tuple[int, int, tuple[int, ...]]] = []

    def write(self, space: Space, bank: int, address: int, words: Sequence[int]) -> None:
        """Note the words instead of storing them."""
        self.written.append((bank, address, tuple(words)))


def measure(quick: bool, seed: int) -> list[Figure]:
    """WRITEs of 1..12 random words: the device must have executed exactly those that were asked, in that order."""
    count, rng = QUICK_COUNT if quick else COUNT, random.Random(seed)
    banks = CONFIG.memories[Space.WEIGHTS].banks
    asked = []
    for _ in range(count):
        words = tuple(rng.randrange(1 << CONFIG.word) for _ in range(rng.randint(1, _WORDS)))
        asked.append((rng.randrange(banks), rng.randrange(_DEPTH - _WORDS), words))
    replies, session, device, events = _send(asked, seed)
    executed = device.written
    same = executed == asked
    good = sum(frame.type == Type.WRITE and not frame.payload for frame in replies)
    return [Figure(
        f"{count:,} messages at bit error rate {BAD.flip:g}, per byte {BAD.drop:g} dropped, {BAD.insert:g} inserted, "
        f"{BAD.duplicate:g} duplicated, each way",
        "0 lost, duplicated, reordered or corrupt",
        f"{'all' if same else 'NOT all'} executed once and in order, {good:,} replies right; {events:,} faults, "
        f"{session.counters.resent:,} requests sent again, {session.counters.timeouts:,} timeouts",
        same and good == count,
    )]


def _send(
    asked: list[tuple[int, int, tuple[int, ...]]], seed: int
) -> tuple[list[Frame], Session, Diary, int]:
    diary = Diary()
    device = EmulatedDevice(diary, epoch=1)
    up, down = Line(BAUD, BAD, 2 * seed), Line(BAUD, BAD, 2 * seed + 1)
    session = Session(7, timeout=0.05, retries=1000, rate=up.bytes_per_second)
    _, now = converse(session, device.feed, up, down, [(Type.HELLO, b"")])
    size = CONFIG.memories[Space.WEIGHTS].bytes_per_word
    requests = ((Type.WRITE, Address(Space.WEIGHTS, bank, address).pack()
                 + b"".join(word.to_bytes(size, "little") for word in words)) for bank, address, words in asked)
    replies, _ = converse(session, device.feed, up, down, requests, now)
    return replies, session, diary, up.corruptor.events + down.corruptor.events
