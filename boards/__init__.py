"""Floor 1: the boards, one small file of data each on top of an amaranth-boards platform."""

from . import arty_a7, ecpix5, nexys4ddr, tang_primer_20k, ulx3s
from .board import Board, BoardError, Part
from .pll import Pll

__all__ = ["BOARDS", "Board", "BoardError", "Part", "Pll", "find"]

# Board name -> variants, the default first.
BOARDS: dict[str, tuple[Board, ...]] = {
    module.VARIANTS[0].name: module.VARIANTS
    for module in (arty_a7, nexys4ddr, ulx3s, ecpix5, tang_primer_20k)
}


def find(name: str, variant: str | None = None) -> Board:
    """The board called `name` in one of its variants, the default one if None; `BoardError` if there is none."""
    if name not in BOARDS:
        raise BoardError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    if variant is None:
        return BOARDS[name][0]
    for board in BOARDS[name]:
        if board.variant == variant:
            return board
    raise BoardError(f"variant of {name} must be one of {', '.join(b.variant for b in BOARDS[name])}, not {variant!r}")
