"""Goodput of uploads in simulated time: payload bits per second against the baud rate."""

from __future__ import annotations

import random

from hw.arch.config import Space
from hw.arch.wire import Address, Type
from sim.faults import Faults
from sim.figures import Figure
from sim.line import BITS_PER_BYTE, Line, converse
from sim.torture.network import CONFIG
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.session import Session

COUNT, QUICK_COUNT = 4_000, 400
BAUD = 3_000_000
PAYLOAD = 512
# Latency of the device's replies, as that of an FTDI adapter with its timer set to 1 ms, or left at 16 ms.
CASES = ((0.0, 0.001, 95.0), (1e-5, 0.001, 85.0), (0.0, 0.016, 90.0), (1e-6, 0.001, None), (1e-5, 0.016, None))


def measure(quick: bool, seed: int) -> list[Figure]:
    """WRITEs of 512 bytes with the real session and the emulated device."""
    count, figures = QUICK_COUNT if quick else COUNT, []
    for errors, latency, least in CASES:
        percent, resent = goodput(errors, latency, count, seed)
        figures.append(Figure(
            f"goodput at {BAUD:,} baud, {PAYLOAD} B payloads, bit error rate {errors:g}, {1e3 * latency:g} ms latency",
            f">= {least:g} %" if least else "-", f"{percent:.1f} % ({resent} of {count:,} sent again)",
            least is None or percent >= least,
        ))
    return figures


def goodput(errors: float, latency: float, count: int, seed: int) -> tuple[float, int]:
    """Percent of the line rate that is payload, and requests sent again. Raises `AssertionError` on wrong data."""
    device = EmulatedDevice(Machine(CONFIG), epoch=1)
    up = Line(BAUD, Faults(flip=errors), 2 * seed)
    down = Line(BAUD, Faults(flip=errors, latency=latency), 2 * seed + 1)
    session = Session(7, timeout=0.3, retries=100, rate=up.bytes_per_second)
    _, start = converse(session, device.feed, up, down, [(Type.HELLO, b"")])
    # Memory of a few KB, written over and over: what it holds in the end came last.
    size, rng = CONFIG.memories[Space.WEIGHTS].bytes_per_word, random.Random(seed)
    words = (PAYLOAD - Address.FORMAT.size) // size
    address = Address(Space.WEIGHTS, 0, 0).pack()
    last = b""

    def requests():
        nonlocal last
        for _ in range(count):
            last = rng.randbytes(words * size)
            yield Type.WRITE, address + last

    replies, end = converse(session, device.feed, up, down, requests(), start)
    held = b"".join(w.to_bytes(size, "little") for w in device.machine.read(Space.WEIGHTS, 0, 0, words))
    assert held == last
    assert len(replies) == count
    payload = count * (len(address) + words * size)
    return 100 * payload * BITS_PER_BYTE / BAUD / (end - start), session.counters.resent
