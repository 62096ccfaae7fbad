"""`--list`: the boards, and what can be built for them here."""

from typing import Any

from boards import BOARDS

from .job import flow_of
from .tools import sources


def listing() -> list[dict[str, Any]]:
    """Every board and variant: part, limits, clock, link, default preset and what its flow lacks here."""
    return [
        {
            "board": board.name, "variant": board.variant, "title": board.title, "part": board.part.name,
            "luts": board.part.luts, "ffs": board.part.ffs, "bram_kbits": board.part.bram_kbits,
            "multipliers": board.part.multipliers, "clock_hz": board.clock_hz, "link": "uart", "baud": board.baud,
            "preset": board.preset, "missing": flow_of(board).missing(),
        }
        for variants in BOARDS.values() for board in variants
    ]


def table() -> str:
    """The listing for a person."""
    lines = [
        f"{'board':<17}{'variant':<9}{'part':<22}{'LUT':>7}{'FF':>8}{'kbit':>6}{'mult':>5}{'MHz':>5}{'baud':>11}"
        f"  {'preset':<8}builds here"
    ]
    for row in listing():
        builds = f"synthesis; bitstream with {sources(row['missing'])}" if row["missing"] else "bitstream"
        lines.append(
            f"{row['board']:<17}{row['variant']:<9}{row['part']:<22}{row['luts']:>7}{row['ffs']:>8}"
            f"{row['bram_kbits']:>6}{row['multipliers']:>5}{row['clock_hz'] // 10**6:>5}{row['baud']:>11,}"
            f"  {row['preset']:<8}{builds}"
        )
    return "\n".join(lines)
