"""Hosts killed and boards reset, switched off or unplugged at random moments: the next host must find all in order.

A process loads one of two programs and infers, over and over, until it is stopped. Then another opens the port: it must
be served within a second, without help, and its logits must be those of its own program.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from typing import NoReturn

import numpy as np

from sim.figures import Figure
from sim.torture import network
from sim.torture.boards import Board
from sw.driver import Accelerator
from sw.errors import AbacusError
from sw.serial_link import SerialLink

COUNT, QUICK_COUNT = 200, 6
SEEDS = (1, 9)  # of the two programs
BATCH = 3
# The simulated board has a slow clock of its own: a second of it may take minutes.
TIMEOUT = {"emulated": None, "virtual": 20.0}
PATIENCE = {"emulated": 20.0, "virtual": 300.0}  # seconds to notice that a board lost its memories
LONGEST_LIFE = {"emulated": 0.1, "virtual": 1.0}
NAMES = {"emulated": "emulated device", "virtual": "RTL, in simulated time"}
ENOUGH = 3  # batches after the accident: it happened before the host had begun
LIMIT = 1.0


def measure(quick: bool, seed: int) -> list[Figure]:
    """SIGKILL, then reset, power cycle and unplugging of an emulated device."""
    return accidents("emulated", QUICK_COUNT if quick else COUNT, seed)


def accidents(kind: str, count: int, seed: int) -> list[Figure]:
    """The figures for a kind of `Board`."""
    figures = []
    for what, events in (("host killed with SIGKILL", ("kill",)),
                         ("board reset, switched off or unplugged", ("reset", "power", "unplug"))):
        with Board(kind) as board:
            worst, wrong, foreign = torture(board, kind, events, count, seed)
        figures.append(Figure(
            f"{what} at {count} random points, {NAMES[kind]}",
            f"next open within {LIMIT:g} s, next inference exact, the host ends with a typed exception",
            f"slowest open {worst:.3f} s, {wrong} of {count} inferences wrong or failed, {foreign} hosts ended else",
            worst <= LIMIT and not wrong and not foreign,
        ))
    return figures


def torture(board: Board, kind: str, events: tuple[str, ...], count: int, seed: int) -> tuple[float, int, int]:
    """Seconds of the slowest open, wrong inferences, and hosts that neither ended with an `AbacusError` nor went on."""
    rng, images = random.Random(seed), network.images(BATCH, seed)
    programs = [network.program(n) for n in SEEDS]
    expected = [network.expected(program, images) for program in programs]
    worst, wrong, foreign = 0.0, 0, 0
    for _ in range(count):
        host = _Host(board.path, kind, rng.randrange(1 << 30))
        time.sleep(rng.uniform(0, LONGEST_LIFE[kind]))
        event, which = rng.choice(events), rng.randrange(len(programs))
        if event == "kill":
            host.kill()
        else:
            board.command(event)
            if event == "unplug":
                board.command("replug")
            foreign += not host.ends_well(kind)
        start = _clock(board, kind)  # of a simulated board: begins to count
        try:
            with Accelerator(SerialLink(board.path, timeout=TIMEOUT[kind])) as accelerator:
                now = _clock(board, kind)
                worst = max(worst, now if kind == "virtual" else now - start)
                accelerator.load(programs[which])
                wrong += not np.array_equal(accelerator.infer(images), expected[which])
        except AbacusError as error:
            print(f"after {event}: {error}", file=sys.stderr)
            wrong += 1
    return worst, wrong, foreign


def _clock(board: Board, kind: str) -> float:
    """Seconds now; of the simulated board, what passed on its line since it was last asked."""
    if kind == "emulated":
        return time.monotonic()
    cycles = re.search(r"cycles=(\d+)", board.command("line"))
    assert cycles is not None
    return int(cycles[1]) / network.CONFIG.clock_hz


class _Host:
    """A process that loads programs and infers until it is stopped or its board fails.

    It exits with 0 after an `AbacusError` or SIGTERM, else with 1; a wrong inference counts as such.
    """

    def __init__(self, path: str, kind: str, seed: int) -> None:
        self._progress, progress = os.pipe()
        os.set_blocking(self._progress, False)
        self.pid = os.fork()
        if not self.pid:
            _host(path, kind, random.Random(seed), progress)
        os.close(progress)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._progress)

    def batches(self) -> int:
        """Batches finished since this was last asked."""
        try:
            return len(os.read(self._progress, 4096))
        except BlockingIOError:
            return 0

    def ends_well(self, kind: str) -> bool:
        """Whether it notices by itself what happened to its board, or was not concerned and goes on working."""
        self.batches()
        deadline = time.monotonic() + PATIENCE[kind]
        done = status = batches = 0
        while not done and batches < ENOUGH and time.monotonic() < deadline:
            time.sleep(0.01)
            done, status = os.waitpid(self.pid, os.WNOHANG)
            batches += self.batches()
        if not done:
            os.kill(self.pid, signal.SIGKILL if batches < ENOUGH else signal.SIGTERM)
            _, status = os.waitpid(self.pid, 0)
        os.close(self._progress)
        return os.waitstatus_to_exitcode(status) == 0


class _Stopped(BaseException):
    pass


def _host(path: str, kind: str, rng: random.Random, progress: int) -> NoReturn:
    def stop(number: int, frame: object) -> None:
        raise _Stopped

    status = 1
    try:
        signal.signal(signal.SIGTERM, stop)
        with Accelerator(SerialLink(path, timeout=TIMEOUT[kind])) as accelerator:
            while True:
                program, images = network.program(rng.choice(SEEDS)), network.images(rng.randrange(1, 5), 3)
                accelerator.load(program)
                if not np.array_equal(accelerator.infer(images), network.expected(program, images)):
                    break
                os.write(progress, b".")
    except (AbacusError, _Stopped):
        status = 0
    finally:
        os._exit(status)
