"""Noise on the line: after any burst the next request must be answered within one frame and one timeout."""

from __future__ import annotations

import random

from hw.arch import wire
from hw.arch.wire import Type
from sim.faults import Faults
from sim.figures import Figure
from sim.line import Line, converse
from sim.torture.network import CONFIG
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.errors import NoReply
from sw.protocol import Frame, encode
from sw.session import Session

COUNT, QUICK_COUNT = 1_000, 30
LONGEST = 64 * 1024
BAUD = 3_000_000
TIMEOUT = 0.3
LATENCY = 0.001


def measure(quick: bool, seed: int) -> list[Figure]:
    """Bursts of random bytes, zeros, ones, half frames and frames of others, to the device and to the host."""
    count, rng = QUICK_COUNT if quick else COUNT, random.Random(seed)
    device = EmulatedDevice(Machine(CONFIG), epoch=1)
    up, down = Line(BAUD, Faults(), 1), Line(BAUD, Faults(latency=LATENCY), 2)
    session = Session(7, timeout=TIMEOUT, retries=3, rate=up.bytes_per_second)
    _, now = converse(session, device.feed, up, down, [(Type.HELLO, b"")])
    frame = wire.MAX_FRAME / up.bytes_per_second
    stuck, wrong, slowest, total = 0, 0, 0.0, 0
    for index in range(count):
        noise = _noise(rng)
        total += len(noise)
        quiet_at = (up, down)[rng.randrange(2)].send(noise, now)
        payload = index.to_bytes(4, "little")
        try:
            # Asked while the noise still lasts or after it.
            replies, now = converse(session, device.feed, up, down, [(Type.PING, payload)],
                                    now if rng.random() < 0.5 else quiet_at)
        except NoReply:
            stuck, session = stuck + 1, Session(7 + stuck, timeout=TIMEOUT, rate=up.bytes_per_second)
            _, now = converse(session, device.feed, up, down, [(Type.HELLO, b"")], now)
            continue
        wrong += [reply.payload for reply in replies] != [payload]
        slowest = max(slowest, now - quiet_at)
        now = max(now, quiet_at)
    limit = TIMEOUT + frame + 2 * LATENCY
    return [Figure(
        f"{count:,} bursts of noise up to {LONGEST // 1024} KiB ({total / 1e6:.0f} MB) either way",
        f"0 stuck, answer within one timeout and one frame ({1e3 * limit:.0f} ms)",
        f"{stuck} stuck, {wrong} wrong answers, slowest {1e3 * slowest:.0f} ms after the noise",
        not stuck and not wrong and slowest <= limit,
    )]


def _noise(rng: random.Random) -> bytes:
    size = rng.choice((rng.randrange(1, 16), rng.randrange(1, 2048), rng.randrange(1, LONGEST + 1)))
    frame = encode(Frame(rng.randrange(16), rng.randrange(256), rng.randrange(8, 65536), rng.randbytes(40)))
    kinds = (rng.randbytes(size), bytes(size), b"\xff" * size, bytes(rng.choice((0, 1, 85)) for _ in range(size)),
             (frame * (size // len(frame) + 1))[:size])
    return rng.choice(kinds)
