"""`--for MODEL`: the configuration that runs one network fastest on a board, from a search over the whole space.

What a configuration takes is `cost`'s estimate; what a network needs and how long it runs on it says the compiler,
asked through a pipe (`python -m sw plan`), because hw imports nothing of sw.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from boards import BOARDS, Board, Part
from hw.arch.config import Config, ConfigError

from .cost import estimate
from .errors import BuildError
from .report import Usage, rows

# Shares of a part that a search may fill: fuller designs hardly route.
SHARES = Usage(luts=85, ffs=85, bram_kbits=100, multipliers=100)
LARGEST = {f.name: f.metadata["high"] for f in fields(Config) if f.name.endswith("_depth")}
SMALLEST = dict.fromkeys(LARGEST, 64) | {"value_depth": 0}
ROWS = 512  # of a block RAM at its widest: fewer words take as much
LEAST = {"image_depth": 2048, "program_depth": 64}  # of memories whose depth is a power of two
SLOWEST = 1.5  # times the fastest: what is slower even if no lane ever idles is not asked for
Ask = Callable[[Config], dict[str, Any]]


@dataclass(frozen=True)
class Choice:
    """A configuration with the depths that a network needs, what it takes and what the network takes on it."""

    config: Config
    usage: Usage
    cycles: int
    layers: tuple[dict[str, Any], ...]


class Planner:
    """The compiler, asked about one network; answers are those of `sw.plan`. A context manager.

    Raises `BuildError` with the compiler's own sentence when the model cannot be read.
    """

    def __init__(self, model: Path) -> None:
        self.model = model
        self._known: dict[str, dict[str, Any]] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sw", "plan", str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def __call__(self, config: Config) -> dict[str, Any]:
        """The answer for one configuration: cycles, needs and layers, or an error."""
        request = config.to_json()
        if request not in self._known:
            self._known[request] = self._ask(request)
        return self._known[request]

    def _ask(self, request: str) -> dict[str, Any]:
        try:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            _, complaint = self._process.communicate()
            lines = complaint.strip().splitlines() or ["the compiler gave no answer"]
            raise BuildError(lines[-1].removeprefix("python -m sw: "))
        return dict(json.loads(line))


def shapes() -> Iterator[Config]:
    """Every array worth considering, with the smallest memories."""
    for m, n, lanes, pixels, word in product((1, 2, 3, 4), (1, 2, 3, 4), (4, 8, 16, 32, 64), (1, 2, 4, 8, 16),
                                             (16, 32, 64, 128)):
        for channels in (2, 4, 8, 16):
            try:
                yield Config(
                    M=m, N=n, row_lanes=lanes * m, column_lanes=pixels * n, word=word, chain=channels * m,
                    coefficient_bits=11 + n, **SMALLEST)
            except ConfigError:
                continue


def fits(usage: Usage, part: Part) -> bool:
    """Whether a part has room, with some left for routing."""
    return not shortage(usage, part)


def shortage(usage: Usage, part: Part) -> list[str]:
    """What exceeds the part's share that may be filled, in words."""
    shares = (SHARES.luts, SHARES.ffs, SHARES.bram_kbits, SHARES.multipliers)
    return [
        f"{used:,} {what} of {limit * share // 100:,}"
        for (what, used, limit), share in zip(rows(usage, part), shares, strict=True) if used * 100 > limit * share
    ]


def trimmed(config: Config, needs: dict[str, int]) -> Config:
    """The configuration with memories as deep as needed, rounded up to what costs nothing."""
    depths = {}
    for name, words in needs.items():
        deep = max(LEAST[name], 1 << (words - 1).bit_length()) if name in LEAST else -(-words // ROWS) * ROWS
        depths[name] = min(deep, LARGEST[name])
    return config.replace(**depths)


def consider(ask: Ask, part: Part, clock_hz: int) -> tuple[list[Choice], list[Choice], str]:
    """Configurations that run the network on the part, others that would but do not fit, and why others do not run."""
    choices: list[Choice] = []
    larger: list[Choice] = []
    complaint = ""
    fitting = [shape for shape in shapes() if fits(estimate(shape, part.family), part)]
    work, best = 0, math.inf  # binary multiply-accumulates of a frame, cycles of the fastest so far
    for shape in sorted(fitting, key=lambda each: -each.macs_per_cycle):
        if work > SLOWEST * best * shape.macs_per_cycle:
            break  # so small that it is slow at full occupancy
        answer = ask(shape.replace(**LARGEST))
        if "error" in answer:
            complaint = answer["error"]
            continue
        config = trimmed(shape, answer["needs"]).replace(clock_hz=clock_hz)
        choice = Choice(config, estimate(config, part.family), answer["cycles"], tuple(answer["layers"]))
        if fits(choice.usage, part):
            choices.append(choice)
            work, best = sum(layer["macs"] for layer in choice.layers), min(best, choice.cycles)
        else:
            larger.append(choice)
    return choices, larger, complaint


def frontier(choices: list[Choice]) -> list[Choice]:
    """Those that no other beats in both LUTs and cycles, fastest first."""
    best: list[Choice] = []
    for choice in sorted(choices, key=lambda each: (each.cycles, each.usage.luts, each.config.to_json())):
        if not best or choice.usage.luts < best[-1].usage.luts:
            best.append(choice)
    return best


def search(ask: Ask, board: Board, model: str) -> list[Choice]:
    """The frontier for a board, fastest first; `BuildError` saying what is short and which board would do."""
    clock = board.preset_clock_hz or board.clock_hz
    choices, larger, complaint = consider(ask, board.part, clock)
    if choices:
        return frontier(choices)
    if not larger:
        raise BuildError(f"no configuration runs {model}: {complaint or 'the smallest needs more than the part has'}")
    nearest = min(larger, key=lambda each: max(
        used / limit for _, used, limit in rows(each.usage, board.part) if limit))
    raise BuildError(
        f"{model} does not fit {board.title}: the nearest configuration needs "
        f"{' and '.join(shortage(nearest.usage, board.part))}; {_other(ask, board)}"
    )


def _other(ask: Ask, board: Board) -> str:
    """Which board would do: the smallest that does."""
    others = [other for variants in BOARDS.values() for other in variants]
    for other in sorted(others, key=lambda each: each.part.luts):
        if other.part.luts >= board.part.luts and other.part.name != board.part.name:
            choices, _, _ = consider(ask, other.part, other.clock_hz)
            if choices:
                return f"{other.title} would do (--board {other.name} --variant {other.variant})"
    return "no board of the shelf would do"


def describe(choices: list[Choice], part: Part) -> str:
    """The frontier as a table for a person."""
    lines = [f"{'M x N':>6}{'rows x columns':>16}{'word':>6}{'chain':>7}{'MAC/cycle':>11}{'LUT':>9}{'':>5}{'kbit':>7}"
             f"{'cycles':>10}{'ms':>9}"]
    for choice in choices:
        config, usage = choice.config, choice.usage
        lines.append(
            f"{f'{config.M} x {config.N}':>6}{f'{config.row_lanes} x {config.column_lanes}':>16}{config.word:>6}"
            f"{config.chain:>7}{config.macs_per_cycle:>11,}{usage.luts:>9,}{usage.luts / part.luts:>5.0%}"
            f"{usage.bram_kbits:>7,}{choice.cycles:>10,}{1e3 * choice.cycles / config.clock_hz:>9.3f}")
    return "\n".join(lines)
