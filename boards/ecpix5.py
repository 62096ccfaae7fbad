"""LambdaConcept ECPIX-5: ECP5, 100 MHz oscillator, FT2232H bridge, reset button; its LEDs are three-coloured."""

from .board import Board, Part

LFE5UM5G_45F = Part("LFE5UM5G-45F-8BG554C", "ecp5", luts=43_848, ffs=43_848, bram_kbits=1_944, multipliers=72)
LFE5UM5G_85F = Part("LFE5UM5G-85F-8BG554C", "ecp5", luts=83_640, ffs=83_640, bram_kbits=3_744, multipliers=156)


def _board(variant: str, part: Part) -> Board:
    return Board(
        name="ecpix5", variant=variant, title=f"LambdaConcept ECPIX-5 {variant}F", part=part,
        module="amaranth_boards.ecpix5", platform=f"ECPIX5{variant}Platform", preset="small", clock_hz=100_000_000,
        preset_clock_hz=50_000_000, baud=3_000_000, loader="ecpix5",
        alive=("rgb_led", 0, "g"), busy=("rgb_led", 1, "b"), error=("rgb_led", 2, "r"),
    )


VARIANTS = (_board("85", LFE5UM5G_85F), _board("45", LFE5UM5G_45F))
