"""What the project knows about a board: data only, nothing here imports Amaranth until a platform is asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from .pll import Pll, clocks, pll

# Name and number of a resource of the board's platform, and of a part of it if it has several.
Pin = tuple[str, int] | tuple[str, int, str]


class BoardError(ValueError):
    """A board or variant that does not exist; the message is one sentence listing those that do."""


@dataclass(frozen=True)
class Part:
    """An FPGA, with the limits its vendor sells it with (the die of a 35T, say, is a 50T)."""

    name: str  # as the open tools call it
    family: str  # "xc7", "ecp5" or "gowin": which flow builds for it
    luts: int  # LUT6 on xc7, else LUT4
    ffs: int
    bram_kbits: int  # block RAM, 1024 bits each
    multipliers: int  # DSP48E1, MULT18X18D or MULT18X18
    die: str = ""  # xc7, gowin: the die whose database describes the part


@dataclass(frozen=True)
class Board:
    """One variant of a board.

    `uart`, `alive`, `busy` and `error` name resources of the amaranth-boards platform `module`.`platform`.
    `clock_hz` is its oscillator, `preset` the configuration built when none is asked for, `preset_clock_hz` the core
    clock of presets (None: the oscillator's), `loader` the board's name in openFPGALoader.
    """

    name: str
    variant: str
    title: str
    part: Part
    module: str
    platform: str
    preset: str
    clock_hz: int
    baud: int
    loader: str
    uart: Pin = ("uart", 0)
    alive: Pin = ("led", 0)
    busy: Pin = ("led", 1)
    error: Pin = ("led", 2)
    preset_clock_hz: int | None = None

    @property
    def core_clocks(self) -> tuple[int, ...]:
        """Core clocks in Hz that the board makes, ascending: its oscillator, and multiples of 5 MHz from the PLL."""
        return clocks(self.part.family, self.clock_hz, 10_000_000, 250_000_000, 5_000_000)

    def pll(self, clock_hz: int) -> Pll | None:
        """Dividers of the PLL that makes `clock_hz`; None if it cannot."""
        return pll(self.part.family, self.clock_hz, clock_hz)

    def make_platform(self, toolchain: str) -> Any:
        """A fresh Amaranth platform for one of its toolchains; a platform builds one design."""
        return getattr(importlib.import_module(self.module), self.platform)(toolchain=toolchain)
