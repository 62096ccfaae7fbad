"""Sipeed Tang Primer 20K on its dock: Gowin GW2A-18, 27 MHz oscillator, BL616 bridge."""

from .board import Board, Part

GW2A_18 = Part(
    "GW2A-LV18PG256C8/I7", "gowin", luts=20_736, ffs=15_552, bram_kbits=828, multipliers=48, die="GW2A-18",
)

VARIANTS = (
    Board(
        name="tang_primer_20k", variant="dock", title="Sipeed Tang Primer 20K", part=GW2A_18,
        module="amaranth_boards.tang_primer_20k", platform="TangPrimer20kDockPlatform", preset="compact",
        clock_hz=27_000_000, baud=2_000_000, loader="tangprimer20k",
    ),
)
