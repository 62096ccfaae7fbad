import pytest

from boards import BOARDS, Pll
from boards.pll import LIMITS, clocks, pll

ALL = [board for variants in BOARDS.values() for board in variants]


@pytest.mark.parametrize("board", ALL, ids=lambda b: f"{b.name}-{b.variant}")
def test_every_clock_is_exact_and_within_the_data_sheet(board):
    limits = LIMITS[board.part.family]
    for clock in board.core_clocks:
        made = board.pll(clock)
        assert made is not None
        reference = board.clock_hz / made.input_divider
        output = reference * made.multiplier / (1 if limits.loop else made.output_divider)
        assert output == clock
        assert limits.reference[0] <= reference <= limits.reference[1]
        assert limits.oscillator[0] <= clock * made.output_divider <= limits.oscillator[1]
        assert 1 <= made.input_divider <= limits.input_divider
        assert 1 <= made.multiplier <= limits.multiplier
        assert made.output_divider in limits.output_dividers


@pytest.mark.parametrize(("family", "source", "clock", "expected"), [
    ("ecp5", 25_000_000, 50_000_000, Pll(1, 2, 12)),
    ("ecp5", 25_000_000, 33_000_000, None),  # a phase detector of 1 MHz would be too slow
    ("ecp5", 25_000_000, 810_000_000, None),
    ("xc7", 100_000_000, 125_000_000, Pll(1, 10, 8)),
    ("xc7", 100_000_000, 100_000_001, None),
    ("xc7", 12_000_000, 100_000_000, None),
])
def test_dividers(family, source, clock, expected):
    assert pll(family, source, clock) == expected


def test_the_oscillator_itself_is_always_a_clock():
    assert 27_000_000 in clocks("ecp5", 27_000_000, 10_000_000, 20_000_000, 5_000_000)
