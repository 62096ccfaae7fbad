"""The serial line against a bit-level model. Settings: `clock_hz` and `baud` of the component."""

import cocotb
from cocotb.triggers import FallingEdge, Timer

from sim.helpers import PERIOD_NS, Sink, Source, cycles, generator, settings, start

PICOSECONDS = 1000


def bit_time(error: float = 0.0) -> float:
    """Clock cycles per bit of a sender whose rate is off by the fraction `error`."""
    return settings()["clock_hz"] / settings()["baud"] / (1 + error)


class Line:
    """Drives `rx` bit by bit, at times that no clock divides."""

    def __init__(self, dut, error: float = 0.0):
        self.dut, self.error, self._debt = dut, error, 0.0

    async def level(self, level: int, bits: float = 1.0) -> None:
        self.dut.rx.value = level
        exact = bits * bit_time(self.error) * PERIOD_NS * PICOSECONDS + self._debt
        self._debt = exact - round(exact)
        await Timer(round(exact), unit="ps")

    async def send(self, byte: int, stop: int = 1) -> None:
        for level in (0, *(byte >> n & 1 for n in range(8)), stop):
            await self.level(level)


async def begin(dut) -> tuple[Source, Sink]:
    await start(dut, rx=1, i__valid=0, i__payload=0)
    source, sink = Source(dut, "i"), Sink(dut, "o", always_ready=True)
    await Timer(int(bit_time() * PERIOD_NS * 2) * PICOSECONDS + 1234, unit="ps")
    return source, sink


def awkward(count: int) -> list[int]:
    rng = generator()
    return [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x7F, 0xFE, *(rng.randrange(256) for _ in range(count))]


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def bytes_arrive_at_any_rate_within_three_percent(dut):
    _, sink = await begin(dut)
    for error in (0.0, 0.03, -0.03, 0.015, -0.015):
        line, sent = Line(dut, error), awkward(60)
        for byte in sent:
            await line.send(byte)
        await line.level(1, 2)
        assert await sink.get(len(sent)) == sent, f"rate error {error:+.3f}"
    assert not sink.taken


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def a_low_stop_bit_is_an_error_and_a_break_is_one(dut):
    _, sink = await begin(dut)
    line = Line(dut)
    await line.send(0x5A, stop=0)
    await line.level(1, 2)
    assert await sink.get(1) == [0x15A]
    await line.level(0, 100)
    await line.level(1, 2)
    await line.send(0xC3)
    await line.level(1, 2)
    assert await sink.get(2) == [0x100, 0xC3]
    await cycles(dut, int(12 * bit_time()))
    assert not sink.taken


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def short_pulses_are_ignored(dut):
    _, sink = await begin(dut)
    line = Line(dut)
    for _ in range(5):
        await line.level(0, 0.3)  # too short for a start bit
        await line.level(1, 3)
    for byte in (0x00, 0xFF, 0x3C):  # one sample of the middle of each bit is wrong
        for level in (0, *(byte >> n & 1 for n in range(8))):
            await line.level(level, 0.5)
            await line.level(1 - level, 0.1)
            await line.level(level, 0.4)
        await line.level(1)
    await line.level(1, 2)
    assert await sink.get(3) == [0x00, 0xFF, 0x3C]
    assert not sink.taken


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def bytes_leave_back_to_back(dut):
    source, _ = await begin(dut)
    sent = awkward(30)
    source.put(sent)
    while int(dut.tx.value):
        await FallingEdge(dut.clk)
    levels = []
    for position in range(10 * len(sent)):
        await Timer(round((bit_time() / 2 if position == 0 else bit_time()) * PERIOD_NS * PICOSECONDS), unit="ps")
        levels.append(int(dut.tx.value))
    expected = [level for byte in sent for level in (0, *(byte >> n & 1 for n in range(8)), 1)]
    assert levels == expected
    for _ in range(3):
        await Timer(round(bit_time() * PERIOD_NS * PICOSECONDS), unit="ps")
        assert int(dut.tx.value) == 1


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def both_directions_at_once(dut):
    source, sink = await begin(dut)
    line, sent = Line(dut), awkward(20)
    source.put(sent)
    for byte in sent:
        await line.send(byte)
    await line.level(1, 2)
    assert await sink.get(len(sent)) == sent
