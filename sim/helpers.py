"""What benches share: clock and reset, stream drivers with random stalls, the contract of a stream, frames.

Everything acts on the falling edge of the clock and looks just before the rising one, so that a bench behaves the
same on every simulator.
"""

import json
import os
import random
import zlib
from collections import deque
from collections.abc import Iterable, Mapping

import cocotb
from amaranth.lib import data
from cobs import cobs
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from hw.arch import wire
from sim.runner import SETTINGS

PERIOD_NS = 10


def settings() -> dict[str, object]:
    """What the caller of `sim.runner.run` passed."""
    return json.loads(os.environ[SETTINGS])


def generator(name: str = "") -> random.Random:
    """Random numbers that repeat with the seed of the run, different for each `name`."""
    return random.Random(f"{settings()['seed']} {name}")


def pack(layout: data.StructLayout, **values: int) -> int:
    """A struct as the integer its port carries; a value that does not fit raises `ValueError`."""
    word = 0
    for name, field in layout:
        value = values.pop(name, 0)
        if not 0 <= value < 1 << field.width:
            raise ValueError(f"{name} must be in 0..{(1 << field.width) - 1}, not {value}")
        word |= value << field.offset
    if values:
        raise ValueError(f"fields must be among {[name for name, _ in layout]}, not {list(values)}")
    return word


def unpack(layout: data.StructLayout, word: int) -> dict[str, int]:
    """Inverse of `pack`."""
    return {name: word >> field.offset & (1 << field.width) - 1 for name, field in layout}


async def start(dut, **initial: int) -> None:
    """Start the clock, set inputs and reset for two cycles."""
    for name, value in initial.items():
        getattr(dut, name).value = value
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await cycles(dut, 2)
    dut.rst.value = 0


async def cycles(dut, count: int) -> None:
    """Wait for `count` clock cycles."""
    for _ in range(count):
        await FallingEdge(dut.clk)


class Source:
    """Drives a stream: sends what is queued, with random gaps.

    Parameters
    ----------
    name : prefix of the ports `<name>__payload`, `__valid` and, unless the stream is always ready, `__ready`
    stall : probability of a gap in each cycle, 0.0 to below 1.0
    always_ready : whether the stream lacks `ready`
    """

    def __init__(self, dut, name: str, stall: float = 0.0, *, always_ready: bool = False):
        self.dut, self.stall, self.queue = dut, stall, deque()
        self.payload, self.valid = getattr(dut, f"{name}__payload"), getattr(dut, f"{name}__valid")
        self.ready = None if always_ready else getattr(dut, f"{name}__ready")
        self._random = generator(name)
        self.valid.value = 0
        cocotb.start_soon(self._run())

    def put(self, payloads: Iterable[int]) -> None:
        """Queue payloads behind those still waiting."""
        self.queue.extend(payloads)

    def forget(self) -> None:
        """Take back what is queued; wait two cycles before queueing anything else."""
        self.queue.clear()

    async def drained(self) -> None:
        """Wait until everything queued was taken."""
        while self.queue:
            await FallingEdge(self.dut.clk)

    async def _run(self) -> None:
        while True:
            await FallingEdge(self.dut.clk)
            if not self.queue or self._random.random() < self.stall:
                self.valid.value = 0
                continue
            self.payload.value, self.valid.value = self.queue[0], 1
            await ReadOnly()
            while self.queue and self.ready is not None and not int(self.ready.value):
                await FallingEdge(self.dut.clk)
                await ReadOnly()
            if self.queue:
                self.queue.popleft()


class Sink:
    """Takes a stream, with random refusals, and watches its contract: while `valid` waits for `ready`, neither
    `valid` nor the payload may change.

    Parameters
    ----------
    name : prefix of the ports
    stall : probability of refusing in each cycle
    always_ready : whether the stream lacks `ready`; then nothing is refused
    """

    def __init__(self, dut, name: str, stall: float = 0.0, *, always_ready: bool = False):
        self.dut, self.name, self.stall, self.taken = dut, name, stall, deque()
        self.watched = True  # cleared while a flush may take back what was offered
        self.payload, self.valid = getattr(dut, f"{name}__payload"), getattr(dut, f"{name}__valid")
        self.ready = None if always_ready else getattr(dut, f"{name}__ready")
        self._random = generator(name)
        cocotb.start_soon(self._run())

    async def get(self, count: int, limit: int = 100_000) -> list[int]:
        """The next `count` payloads; fails after `limit` cycles without one."""
        result, waited = [], 0
        while len(result) < count:
            if self.taken:
                result.append(self.taken.popleft())
                waited = 0
            else:
                await FallingEdge(self.dut.clk)
                waited += 1
                assert waited < limit, f"{self.name}: {len(result)} of {count} payloads, then none for {limit} cycles"
        return result

    async def _run(self) -> None:
        held = None
        while True:
            await FallingEdge(self.dut.clk)
            willing = self._random.random() >= self.stall
            if self.ready is not None:
                self.ready.value = int(willing)
            await ReadOnly()
            valid = int(self.valid.value)
            payload = int(self.payload.value) if valid else None
            if held is not None and self.watched:
                assert payload == held, f"{self.name}: payload changed from {held} to {payload} before it was taken"
            accepted = valid and (self.ready is None or willing)
            if accepted:
                self.taken.append(payload)
            held = None if accepted else payload


def frame(
    kind: int, sequence: int, session: int, payload: bytes = b"", *, version: int = wire.VERSION,
    length: int | None = None, flip: int | None = None,
) -> bytes:
    """A frame as it goes over the line; `version`, `length` and bit `flip` of the plain frame spoil it on purpose."""
    length = len(payload) if length is None else length
    body = wire.Header(version << 4 | kind, sequence, session, length).pack() + payload
    plain = bytearray(body + wire.CRC.pack(zlib.crc32(body)))
    if flip is not None:
        plain[flip // 8] ^= 1 << flip % 8
    return b"\0" + cobs.encode(bytes(plain)) + b"\0"


def parse(line: bytes) -> tuple[wire.Header, bytes]:
    """Header and payload of one stuffed frame without delimiters; asserts that it is whole."""
    plain = cobs.decode(line)
    body, crc = plain[: -wire.CRC.size], plain[-wire.CRC.size :]
    assert wire.CRC.unpack(crc) == (zlib.crc32(body),), "checksum of the reply"
    header = wire.Header.unpack(body[: wire.HEADER.size])
    assert (header.version, header.length) == (wire.VERSION, len(body) - wire.HEADER.size)
    return header, body[wire.HEADER.size :]


def received(line: bytes, broken: Mapping[int, int] | None = None) -> list[int]:
    """Line bytes as payloads of a receiver's stream; `broken` maps positions to 1 for bytes with a line error."""
    return [byte | (broken or {}).get(position, 0) << 8 for position, byte in enumerate(line)]
