"""What stands around a block in its bench: memories, the walk over the target tensor, and a record of outputs."""

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from hw.arch.config import Config
from sim.helpers import settings


def configuration() -> Config:
    """The configuration that the caller asks for."""
    return Config.from_json(str(settings()["config"]))


def flat(values, width: int) -> int:
    """Integers as one array port, first value in the low bits; negative ones in two's complement."""
    return sum((value & (1 << width) - 1) << width * n for n, value in enumerate(values))


def split(word: int, width: int, count: int) -> list[int]:
    """Inverse of `flat`, unsigned."""
    return [word >> width * n & (1 << width) - 1 for n in range(count)]


class Rom:
    """A synchronous memory: the word that `read(address)` gives is on port `data` in the cycle after `address`."""

    def __init__(self, dut, address: str, data: str, read):
        self.dut, self.address, self.data, self.read = dut, getattr(dut, address), getattr(dut, data), read
        self.data.value = 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        word = 0
        while True:
            await FallingEdge(self.dut.clk)
            self.data.value = word
            await ReadOnly()
            word = self.read(int(self.address.value))


class Targets:
    """In place of `TargetWalk`: the pixels' (bank, address), two cycles behind `walk_step`; `walk_begin` starts anew.

    `number` is the pixel at hand; a bench whose block has no `walk_begin` sets it.
    """

    def __init__(self, dut, places):
        self.dut, self.places, self.number = dut, places, 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut, place = self.dut, (0, 0)
        begin = getattr(dut, "walk_begin", None)  # the sequencer begins the packer's walk
        while True:
            await FallingEdge(dut.clk)
            if hasattr(dut, "bank"):
                dut.bank.value = place[0]
            dut.address.value = place[1]
            await ReadOnly()
            place = self.places[min(self.number, len(self.places) - 1)]
            self.number += int(dut.walk_step.value)
            if begin is not None and int(begin.value):
                self.number = 0


class Watch:
    """What a port shows in each cycle, from cycle 0 on."""

    def __init__(self, dut, *names: str):
        self.dut, self.names, self.seen = dut, names, []
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            await FallingEdge(self.dut.clk)
            await ReadOnly()
            self.seen.append(tuple(int(getattr(self.dut, name).value) for name in self.names))
