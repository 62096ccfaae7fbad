"""Digilent Nexys 4 DDR (also sold as Nexys A7-100T): Artix-7, 100 MHz oscillator, FT2232HQ bridge, reset button."""

from .arty_a7 import A100T
from .board import Board

VARIANTS = (
    Board(
        name="nexys4ddr", variant="100", title="Digilent Nexys 4 DDR", part=A100T, module="amaranth_boards.nexys4ddr",
        platform="Nexys4DDRPlatform", preset="large", clock_hz=100_000_000, baud=3_000_000, loader="nexys_a7_100",
    ),
)
