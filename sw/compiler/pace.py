"""How long frames take when the bytes of the image stream come at some rate: what a slow line costs."""

from __future__ import annotations

import math

from hw.arch import timing
from hw.arch.isa import NO_VALUES, Await, Conv, End, Load, Pack, Source, Values, Walk
from hw.arch.packed import Packed
from sw.compiler.program import Program

INTAKE_RATE = 1.0  # bytes per cycle that the intake takes at most; more are a wider one's


def frame_cycles(program: Program, rate: float = INTAKE_RATE) -> int:
    """Cycles from one frame to the next while images follow each other, waits for the stream included.

    `rate` are the bytes per cycle that come when the intake is at work on an image or a `Load`. Those that buffers take
    before that are not counted, nor is what the host takes to start a frame.
    """
    core = _Core(program, rate)
    first = core.frame()
    return core.frame() - first


class _Core:
    """The time on the clocks of sequencer and intake."""

    def __init__(self, program: Program, rate: float) -> None:
        self._program, self._config, self._rate = program, program.config, rate
        self._now = self._free = 0  # the intake has nothing to do from `_free` on
        self._held = False
        self._walk: Walk
        self._source: Source
        self._values = NO_VALUES

    def frame(self) -> int:
        """Run a frame; the cycle in which it ends."""
        self._values = NO_VALUES
        for instruction in self._program.instructions:
            match instruction:
                case Conv():
                    self._now += timing.conv_cycles(
                        self._config, instruction, self._walk, self._source, self._values)
                case Pack() if self._held:
                    self._now += timing.PACK
                case Pack():
                    self._held = True
                    size = instruction.rows * instruction.columns * instruction.channels
                    self._begin(timing.PACK, 0, timing.pack_cycles(self._config, instruction), size)
                case Load():
                    self._begin(timing.LOAD, timing.LOADED, timing.LOADED, instruction.stream_bytes(self._config))
                case Await():
                    self._now, self._held = max(self._now, self._free) + timing.AWAIT, False
                case End():
                    self._now += timing.END
                case _:
                    self._set(instruction)
                    self._now += timing.FETCH
        return self._now

    def _set(self, instruction: Packed) -> None:
        match instruction:
            case Walk():
                self._walk = instruction
            case Source():
                self._source = instruction
            case Values():
                self._values = instruction

    def _begin(self, cycles: int, prepare: int, least: int, size: int) -> None:
        """An instruction of `cycles` gives the intake work on `size` bytes, for `least` cycles at least."""
        self._now = max(self._now, self._free) + cycles
        self._free = self._now + max(least, prepare + math.ceil(size / self._rate))
