"""Hosts killed and boards reset, switched off or unplugged at random moments: the next host must find all in order.

A process loads one of two programs and infers, over and over, until it is stopped. Then another opens the port: it must
be served within a second, without help, and its logits must be those of its own program.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time

import numpy as np

from sim.torture import network
from sim.torture.boards import Board
from sim.torture.figures import Figure
from sw.driver import Accelerator
from sw.errors import AbacusError
from sw.serial_link import SerialLink

COUNT, QUICK_COUNT = 200, 6
SEEDS = (1, 9)  # of the two programs
BATCH = 3
# The simulated board has a slow clock of its own: a second of it may take minutes.
TIMEOUT = {"emulated": None, "virtual": 20.0}
LONGEST_LIFE = {"emulated": 0.1, "virtual": 1.0}
NAMES = {"emulated": "emulated device", "virtual": "RTL, in simulated time"}
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
            f"next open within {LIMIT:g} s, next inference exact, every exception typed",
            f"slowest open {worst:.3f} s, {wrong} of {count} inferences wrong, {foreign} other exceptions",
            worst <= LIMIT and not wrong and not foreign,
        ))
    return figures


def torture(board: Board, kind: str, events: tuple[str, ...], count: int, seed: int) -> tuple[float, int, int]:
    """Seconds of the slowest open, wrong inferences, and hosts that died of anything but an `AbacusError`."""
    rng, images = random.Random(seed), network.images(BATCH, seed)
    programs = [network.program(n) for n in SEEDS]
    expected = [network.expected(program, images) for program in programs]
    worst, wrong, foreign = 0.0, 0, 0
    for _ in range(count):
        pid = _start_host(board.path, kind, rng.randrange(1 << 30))
        time.sleep(rng.uniform(0, LONGEST_LIFE[kind]))
        event, which = rng.choice(events), rng.randrange(len(programs))
        if event == "kill":
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        else:
            board.command(event)
            if event == "unplug":
                board.command("replug")
            foreign += not _ended_well(pid, kind)
        start = _clock(board, kind)  # of a simulated board: begins to count
        with Accelerator(SerialLink(board.path, timeout=TIMEOUT[kind])) as accelerator:
            now = _clock(board, kind)
            worst = max(worst, now if kind == "virtual" else now - start)
            accelerator.load(programs[which])
            wrong += not np.array_equal(accelerator.infer(images), expected[which])
    return worst, wrong, foreign


def _clock(board: Board, kind: str) -> float:
    """Seconds now; of the simulated board, what passed on its line since it was last asked."""
    if kind == "emulated":
        return time.monotonic()
    cycles = re.search(r"cycles=(\d+)", board.command("line"))
    assert cycles is not None
    return int(cycles[1]) / network.CONFIG.clock_hz


def _start_host(path: str, kind: str, seed: int) -> int:
    """Process id of a host that loads programs and infers until something ends it; it then exits with 0 or 1."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _host(path, kind, random.Random(seed))
    except AbacusError:
        status = 0
    finally:
        os._exit(status)


def _host(path: str, kind: str, rng: random.Random) -> None:
    with Accelerator(SerialLink(path, timeout=TIMEOUT[kind])) as accelerator:
        while True:
            accelerator.load(network.program(rng.choice(SEEDS)))
            accelerator.infer(network.images(rng.randrange(1, 5), rng.randrange(1000)))


def _ended_well(pid: int, kind: str) -> bool:
    """Whether a host noticed by itself that its board was reset or is gone."""
    deadline = time.monotonic() + (20 if kind == "emulated" else 600)
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False
