"""What can happen to bytes on their way, seeded: flips, losses, noise.

`Faults` says how often, `Corruptor` does it to a byte stream.
"""

from __future__ import annotations

import dataclasses
import math
import random
from dataclasses import dataclass

NOISE_BYTES = 64
BREAK_BYTES = 12


@dataclass(frozen=True)
class Faults:
    """Chances of what happens to a byte, and delays.

    Parameters
    ----------
    flip : float, chance per bit to be flipped
    drop, insert, duplicate : float, chance per byte to be lost, to follow a random one, to come twice
    burst : float, chance per byte that up to NOISE_BYTES random bytes take the place of the next ones
    line_break : float, chance per byte that the line is low for up to BREAK_BYTES bytes, which read as zeros
    truncate : float, chance per byte that the rest of its frame is lost
    stall : float, chance per transfer that nothing moves for up to `stall_seconds`
    latency, jitter : float, seconds that every byte takes longer, and up to how much that varies

    Raises `ValueError` for a chance outside 0..1 or a negative time.
    """

    flip: float = 0.0
    drop: float = 0.0
    insert: float = 0.0
    duplicate: float = 0.0
    burst: float = 0.0
    line_break: float = 0.0
    truncate: float = 0.0
    stall: float = 0.0
    stall_seconds: float = 0.05
    latency: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        times = ("stall_seconds", "latency", "jitter")
        for field in dataclasses.fields(self):
            value, high = getattr(self, field.name), 60.0 if field.name in times else 1.0
            if not 0.0 <= value <= high:
                raise ValueError(f"fault {field.name} must be in 0..{high:g}, not {value:g}")


# Nothing is spared, and yet most frames arrive.
NOISY = Faults(
    flip=5e-5, drop=1e-4, insert=1e-4, duplicate=1e-4, burst=5e-5, line_break=5e-5, truncate=5e-5, stall=1e-3)


class Corruptor:
    """Does the faults of one direction to its bytes; the same seed and bytes, the same damage.

    Members
    -------
    events : int, faults so far
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.events = 0
        self._rng = random.Random(seed)
        kinds = {
            self._flip: 1 - (1 - faults.flip) ** 8, self._drop: faults.drop, self._insert: faults.insert,
            self._duplicate: faults.duplicate, self._burst: faults.burst, self._break: faults.line_break,
            self._truncate: faults.truncate,
        }
        self._kinds, self._weights = list(kinds), list(kinds.values())
        self._chance = min(sum(self._weights), 1.0)
        self._skip = 0  # bytes that a burst or break still replaces
        self._truncating = False
        self._quiet = self._gap()

    def __call__(self, data: bytes) -> bytes:
        """The bytes that arrive instead of `data`."""
        out, at = bytearray(), 0
        while at < len(data):
            if self._truncating:
                end = data.find(0, at)
                self._truncating, at = end < 0, len(data) if end < 0 else end
            elif self._skip:
                step = min(self._skip, len(data) - at)
                self._skip, at = self._skip - step, at + step
            elif self._quiet >= len(data) - at:
                out += data[at:]
                self._quiet -= len(data) - at
                break
            else:
                out += data[at : at + self._quiet]
                at += self._quiet
                self._rng.choices(self._kinds, self._weights)[0](out, data[at])
                self.events += 1
                at += 1
                self._quiet = self._gap()
        return bytes(out)

    def _gap(self) -> int:
        """Bytes until the next fault."""
        if self._chance <= 0:
            return 1 << 62
        if self._chance >= 1:
            return 0
        return int(math.log(1 - self._rng.random()) / math.log1p(-self._chance))

    def _flip(self, out: bytearray, byte: int) -> None:
        out.append(byte ^ 1 << self._rng.randrange(8))

    def _drop(self, out: bytearray, byte: int) -> None:
        pass

    def _insert(self, out: bytearray, byte: int) -> None:
        out += bytes((byte, self._rng.randrange(256)))

    def _duplicate(self, out: bytearray, byte: int) -> None:
        out += bytes((byte, byte))

    def _burst(self, out: bytearray, byte: int) -> None:
        size = self._rng.randrange(1, NOISE_BYTES + 1)
        out += self._rng.randbytes(size)
        self._skip = size - 1

    def _break(self, out: bytearray, byte: int) -> None:
        size = self._rng.randrange(1, BREAK_BYTES + 1)
        out += bytes(size)
        self._skip = size - 1

    def _truncate(self, out: bytearray, byte: int) -> None:
        self._truncating = True
