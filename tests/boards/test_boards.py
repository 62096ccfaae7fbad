import pytest

from boards import BOARDS, BoardError, find
from hw.arch.config import PRESETS

ALL = [board for variants in BOARDS.values() for board in variants]


@pytest.mark.parametrize("board", ALL, ids=lambda b: f"{b.name}-{b.variant}")
def test_data_agree_with_the_platform(board):
    platform = board.make_platform({"xc7": "Xray", "ecp5": "Trellis", "gowin": "Apicula"}[board.part.family])
    assert platform.default_clk_frequency == board.clock_hz
    for name, number, *part in (board.uart, board.alive, board.busy, board.error):
        resource = platform.lookup(name, number)
        assert set(part) <= {signal.name for signal in resource.ios if hasattr(signal, "name")}
    if board.part.family == "gowin":
        assert platform.part == board.part.name
        return
    device = board.part.name.lower().split("-")
    assert platform.device.lower().startswith(device[0].split("csg")[0])
    assert board.part.family == "xc7" or board.part.name.startswith(f"{platform.device}-{platform.speed}")
    assert platform.package.lower() in board.part.name.lower()


@pytest.mark.parametrize("board", ALL, ids=lambda b: f"{b.name}-{b.variant}")
def test_default_preset_runs_at_a_clock_of_the_board(board):
    assert board.clock_hz in board.core_clocks
    assert board.preset in PRESETS
    assert board.preset_clock_hz is None or board.preset_clock_hz in board.core_clocks
    assert list(board.core_clocks) == sorted(set(board.core_clocks))


@pytest.mark.parametrize("board", ALL, ids=lambda b: f"{b.name}-{b.variant}")
def test_status_leds_are_three(board):
    assert len({board.alive, board.busy, board.error}) == 3


def test_defaults():
    assert find("arty_a7").variant == "35"
    assert find("ulx3s").variant == "85"
    assert find("arty_a7", "100").part.luts == 63_400


def test_a_35t_is_sold_smaller_than_its_die():
    part = find("arty_a7", "35").part
    assert (part.luts, part.ffs, part.bram_kbits, part.multipliers) == (20_800, 41_600, 50 * 36, 90)
    assert part.die == "xc7a50t"


def test_unknown_board():
    with pytest.raises(BoardError, match=rf"^board must be one of {', '.join(BOARDS)}, not 'artie'$"):
        find("artie")


def test_unknown_variant():
    with pytest.raises(BoardError, match=r"^variant of ulx3s must be one of 85, 12, 25, 45, not '100'$"):
        find("ulx3s", "100")
