"""Whole batches in simulated time: how close inference comes to what the wire or the core alone would allow."""

from __future__ import annotations

import dataclasses

import numpy as np

from hw.arch.wire import Hello, Type
from sim.faults import Faults
from sim.figures import Figure
from sim.line import BITS_PER_BYTE, Line, converse, drive
from sim.torture import network
from sw.batch import Batch
from sw.compiler import Program, compile
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.session import Session

COUNT, QUICK_COUNT = 100, 24
CONFIG = network.CONFIG.replace(weight_depth=8192, activation_depth=8192, tap_depth=1024)
LATENCY = 0.001
CLEAN = Faults()
# Line, core clock, side of the images, and the least percentage of the bound. Little is asked where a frame takes
# about as long as a round trip, for which the core has to wait.
CASES = ((3_000_000, 25_000_000, 28, 80.0), (3_000_000, 3_000_000, 28, 80.0), (3_000_000, 1_000_000, 56, 80.0),
         (3_000_000, 1_000_000, 28, 55.0), (12_000_000, 25_000_000, 28, None))


class TimedMachine(Machine):
    """A core that is busy for as many cycles as it counts, and takes no time of its own otherwise."""

    def __init__(self, program: Program) -> None:
        self.now = self._done_at = 0.0
        super().__init__(program.config)
        network.load(self, program)

    @property
    def busy(self) -> bool:
        """Whether a frame runs at time `now`."""
        return self._running or self.now < self._done_at

    @busy.setter
    def busy(self, value: bool) -> None:
        self._running = value

    def run(self) -> None:
        """Execute at once what takes until later."""
        if self._running or not self.busy:
            self._done_at = 0.0
            super().run()
            if not self._running:
                self._done_at = self.now + self.cycles / self.config.clock_hz


def measure(quick: bool, seed: int) -> list[Figure]:
    """Batches of random images with a fast and a slow line, a fast and a slow core."""
    count, figures = QUICK_COUNT if quick else COUNT, []
    for baud, clock_hz, side, least in CASES:
        program = compile(network.graph(seed, side), CONFIG.replace(clock_hz=clock_hz))
        rate, bound, busy = infer(program, baud, count, seed, side=side)
        percent = 100 * rate / bound
        figures.append(Figure(
            f"{count} images of {side} x {side} at {baud:,} baud, core at {clock_hz / 1e6:g} MHz, "
            f"{1e3 * LATENCY:g} ms latency",
            f">= {least:g} % of what the slower of wire and core allows, logits exact" if least else "-",
            f"{percent:.0f} % ({rate:.0f} images/s, core busy {busy:.0%})", least is None or percent >= least,
        ))
    return figures


def infer(
    program: Program, baud: int, count: int, seed: int, faults: Faults = CLEAN, side: int = 28
) -> tuple[float, float, float]:
    """Images per second, the bound, and the core's share of the time. `AssertionError` on wrong logits."""
    machine = TimedMachine(program)
    device = EmulatedDevice(machine, epoch=1)

    def feed(data: bytes, now: float) -> bytes:
        machine.now = now
        return device.feed(data)

    up, down = Line(baud, faults, 2 * seed), Line(baud, dataclasses.replace(faults, latency=LATENCY), 2 * seed + 1)
    session = Session(7, timeout=0.3, retries=100, rate=up.bytes_per_second)
    (reply,), start = converse(session, device.feed, up, down, [(Type.HELLO, b"")])
    images, logits = network.images(count, seed, side), {}
    batch = Batch(images, program, Hello.unpack(reply.payload), "device", lambda i, row: logits.update({i: row}))
    seconds = drive(session, feed, up, down, batch, start) - start
    assert np.array_equal([logits[i] for i in range(count)], network.expected(program, images))
    wire = len(program.image_bytes(images[0])) * BITS_PER_BYTE / baud
    core = program.predicted_cycles / program.config.clock_hz
    return count / seconds, 1 / max(wire, core), core * count / seconds
