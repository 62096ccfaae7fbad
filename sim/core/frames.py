"""Frames of a compiled network as the emulator runs them, and the same on the core's RTL."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hw.arch.config import Config, Space
from hw.core import Core
from sim.runner import build, play
from sw.compiler import Program
from sw.emulator import Machine


def recorded(program: Program, images: Iterable[np.ndarray], stall: float = 0.0) -> dict[str, Any]:
    """What `sim.core.bench_core` replays: memories, and per frame the stream, the results and the cycles.

    Streams pause in `stall` of the cycles, a share.
    """
    machine = Machine(program.config)
    memories = [
        (int(space), bank, words) for space in program.memories for bank, _, words in program.memory_words(space)]
    for space, bank, words in memories:
        machine.write(Space(space), bank, 0, words)
    runs = []
    for image in images:
        stream = program.image_bytes(image)
        machine.feed(stream)
        machine.run()
        assert not machine.busy and not machine.fault
        results = machine.read(Space.RESULTS, 0, 0, program.result_words)
        runs.append((memories, list(stream), (0, 0), results, machine.cycles))
        memories = []
    return {"config": json.loads(program.config.to_json()), "runs": runs, "stall": stall}


def replay(content: dict[str, Any]) -> None:
    """Run such a record on the core's RTL; `SimulationError` if a result, a fault or a cycle differs."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "case.json")
        path.write_text(json.dumps(content))
        folder = _core(Config.from_json(json.dumps(content["config"])))
        play(folder, "sim.core.bench_core", simulator="verilator", settings={"case": str(path)})


@cache
def _core(config: Config) -> Path:
    """The simulated core, whose Verilog alone takes a while for a large configuration."""
    return build(Core(config), "verilator")
