"""Digilent Arty A7: Artix-7, 100 MHz oscillator, FT2232HQ bridge, reset button."""

from .board import Board, Part

A35T = Part("xc7a35tcsg324-1", "xc7", luts=20_800, ffs=41_600, bram_kbits=1_800, multipliers=90, die="xc7a50t")
A100T = Part("xc7a100tcsg324-1", "xc7", luts=63_400, ffs=126_800, bram_kbits=4_860, multipliers=240, die="xc7a100t")


def _board(variant: str, part: Part, platform: str, preset: str, preset_clock_hz: int) -> Board:
    return Board(
        name="arty_a7", variant=variant, title=f"Digilent Arty A7-{variant}T", part=part,
        module="amaranth_boards.arty_a7", platform=platform, preset=preset, clock_hz=100_000_000,
        preset_clock_hz=preset_clock_hz, baud=3_000_000, loader=f"arty_a7_{variant}t",
    )


VARIANTS = (
    # Below what every build of `medium` reached (docs/boards.md); `large` is not routed yet.
    _board("35", A35T, "ArtyA7_35Platform", "medium", 100_000_000),
    _board("100", A100T, "ArtyA7_100Platform", "large", 75_000_000),
)
