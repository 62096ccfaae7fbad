"""Devices and links that behave, watch or misbehave, for tests of the driver."""

from __future__ import annotations

from collections.abc import Callable

from hw.arch.config import Config, preset
from hw.arch.wire import Type
from sw.compiler import Program, compile
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.link import EmulatedLink
from sw.protocol import Deframer, Frame
from tests.sw.samples import small_graph

TINY = preset("tiny")
TINY_2X2 = preset("tiny-2x2")


def program_for(seed: int = 1, config: Config = TINY_2X2) -> Program:
    """The small graph of that seed, compiled."""
    return compile(small_graph(seed), config)


def device(config: Config = TINY_2X2) -> EmulatedDevice:
    """A device of that configuration, just switched on."""
    return EmulatedDevice(Machine(config), epoch=1)


class Spy(EmulatedLink):
    """Remembers the requests that were sent and changes bytes on their way."""

    def __init__(
        self, device: EmulatedDevice, change: Callable[[bytes], bytes] = bytes, timeout: float = 0.02
    ) -> None:
        super().__init__(device, timeout)
        self.sent: list[Frame] = []
        self.closed = 0
        self._change = change
        self._deframer = Deframer()

    def send(self, data: bytes) -> None:
        self.sent += self._deframer.feed(data)
        self._arrived += self._change(self.device.feed(self._change(data)))

    def close(self) -> None:
        super().close()
        self.closed += 1

    def count(self, kind: Type) -> int:
        """Requests of that kind sent so far."""
        return sum(frame.type == kind for frame in self.sent)


class Answering(EmulatedLink):
    """A link whose far end answers every frame as told, whatever device there is."""

    def __init__(self, answer: Callable[[Frame], bytes]) -> None:
        super().__init__(device(), timeout=0.01)
        self.name = "test"
        self._answer, self._deframer = answer, Deframer()

    def send(self, data: bytes) -> None:
        for frame in self._deframer.feed(data):
            self._arrived += self._answer(frame)
