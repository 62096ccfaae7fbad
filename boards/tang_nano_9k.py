"""Sipeed Tang Nano 9K: Gowin GW1NR-9C, 27 MHz oscillator, BL702 bridge."""

from .board import Board, Part

GW1NR_9C = Part(
    "GW1NR-LV9QN88PC6/I5", "gowin", luts=8_640, ffs=6_480, bram_kbits=468, multipliers=20, die="GW1N-9C",
)

VARIANTS = (
    Board(
        name="tang_nano_9k", variant="9", title="Sipeed Tang Nano 9K", part=GW1NR_9C,
        module="amaranth_boards.tang_nano_9k", platform="TangNano9kPlatform", preset="micro",
        clock_hz=27_000_000, baud=2_000_000, loader="tangnano9k",
    ),
)
