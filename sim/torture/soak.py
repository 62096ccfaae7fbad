"""Inferences for a long time over the noisy proxy: nothing wrong, and nothing that grows."""

from __future__ import annotations

import dataclasses
import gc
import os
from pathlib import Path

from sim.faults import NOISY, Faults
from sim.figures import Figure
from sim.torture import network
from sim.torture.boards import Board
from sw.driver import Accelerator
from sw.serial_link import SerialLink

COUNT, QUICK_COUNT = 10_000, 60
BATCH = 20
PER_OPEN = 25  # batches between closing and opening the port
WARM = 0.2  # share of the run after which nothing may grow
GROWTH_KB = 2048


def measure(quick: bool, seed: int) -> list[Figure]:
    """Batches through a serial link, the proxy with all kinds of faults and an emulated device."""
    count = QUICK_COUNT if quick else COUNT
    options = [f"--{field.name.replace('_', '-')}={getattr(NOISY, field.name)}" for field in dataclasses.fields(Faults)]
    with Board("emulated", "--seed", str(seed), *options) as board:
        wrong, resent, memory, files = soak(board.path, count, seed)
    return [Figure(
        f"{count:,} inferences over the proxy with every kind of fault",
        f"0 mismatches, files and memory do not grow (by {GROWTH_KB} KB)",
        f"{wrong} mismatches, {resent:,} requests sent again, {files:+d} files, {memory:+d} KB",
        wrong == 0 and resent > 0 and files <= 0 and memory <= GROWTH_KB,
    )]


def soak(path: str, count: int, seed: int) -> tuple[int, int, int, int]:
    """Wrong inferences, requests sent again, growth of resident memory in KB and of open files."""
    program = network.program()
    wrong = resent = done = batches = 0
    before: tuple[int, int] | None = None
    while done < count:
        with Accelerator(SerialLink(path), retries=20) as accelerator:
            accelerator.load(program)
            for _ in range(PER_OPEN):
                images = network.images(min(BATCH, count - done), seed + batches)
                wrong += int((accelerator.infer(images) != network.expected(program, images)).any(axis=1).sum())
                done, batches = done + len(images), batches + 1
                if done >= count:
                    break
            resent += accelerator.stats().link.resent
        if before is None and done >= WARM * count:
            before = _usage()
    after = _usage()
    assert before is not None
    return wrong, resent, after[0] - before[0], after[1] - before[1]


def _usage() -> tuple[int, int]:
    """Resident KB and open files of this process."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(resident.split()[1]), len(os.listdir("/proc/self/fd"))
