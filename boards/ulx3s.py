"""Radiona ULX3S: ECP5, 25 MHz oscillator, FT231X bridge; no reset button (power-on reset only)."""

from .board import Board, Part

# Data sheet limits: the tools know the 12F as a 25F die.
LFE5U_12F = Part("LFE5U-12F-6BG381C", "ecp5", luts=12_000, ffs=12_000, bram_kbits=576, multipliers=28)
LFE5U_25F = Part("LFE5U-25F-6BG381C", "ecp5", luts=24_288, ffs=24_288, bram_kbits=1_008, multipliers=28)
LFE5U_45F = Part("LFE5U-45F-6BG381C", "ecp5", luts=43_848, ffs=43_848, bram_kbits=1_944, multipliers=72)
LFE5U_85F = Part("LFE5U-85F-6BG381C", "ecp5", luts=83_640, ffs=83_640, bram_kbits=3_744, multipliers=156)


def _board(variant: str, part: Part, preset: str = "small") -> Board:
    return Board(
        name="ulx3s", variant=variant, title=f"Radiona ULX3S-{variant}F", part=part,
        module="amaranth_boards.ulx3s", platform=f"ULX3S_{variant}F_Platform", preset=preset,
        clock_hz=25_000_000, baud=3_000_000, loader="ulx3s",
    )


VARIANTS = (_board("85", LFE5U_85F), _board("12", LFE5U_12F, "tiny"), _board("25", LFE5U_25F), _board("45", LFE5U_45F))
