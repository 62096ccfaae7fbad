"""What a family's flow must do, and the data that its stages share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards import Board

from .report import Timing, Usage
from .tools import Console, find

ROUTE_LIMIT = 3600.0  # seconds per attempt to place and route; a stuck router must not run for ever
SYNTHESIS_LIMIT = 3600.0


@dataclass(frozen=True)
class Stage:
    """Where a flow works: unfinished files in `work`, logs in `logs`; `design()` makes the top for one platform.

    `clock_hz` is the core's clock.
    """

    board: Board
    design: Callable[[], Any]
    clock_hz: int
    seed: int
    work: Path
    logs: Path
    console: Console


class Flow(ABC):
    """Steps from a design to a bitstream, run in the order of the methods; all files go to `stage.work`."""

    name = "open"  # of the toolchain
    tools: tuple[str, ...]  # needed beyond synthesis
    constraints: str  # file name of the constraints
    bitstream: str  # file name of the bitstream
    weights: Mapping[str, Usage]  # what each type of cell takes
    ignored: frozenset[str]  # types of cells that take nothing that is counted

    def missing(self) -> list[str]:
        """Names of what place and route needs and is not here."""
        return [tool for tool in self.tools if find(tool) is None]

    @abstractmethod
    def prepare(self, stage: Stage) -> None:
        """Elaborate; writes the constraints, the sources for synthesis and the build plan `plan.zip`."""

    @abstractmethod
    def synthesise(self, stage: Stage) -> Usage:
        """Map to the part; writes `top.v` and `top.json`."""

    @abstractmethod
    def route(self, stage: Stage) -> tuple[Timing, ...]:
        """Place and route; writes nextpnr's report `route.json` and its netlist with places, `placed.json`."""

    @abstractmethod
    def pack(self, stage: Stage) -> None:
        """Write the bitstream."""
