"""Receipts: a later process finds the program it loaded before, and never another or a half-loaded one."""

from __future__ import annotations

import numpy as np
import pytest

from hw.arch.config import Space
from hw.arch.wire import Address, Type
from sw import receipt
from sw.abcnet.reference import reference
from sw.compiler import compile
from sw.driver import Accelerator
from sw.link import EmulatedLink
from tests.sw.links import TINY_2X2, Spy, device, program_for
from tests.sw.samples import small_graph, some_images

IMAGES = some_images(2)


def test_the_next_process_finds_its_program() -> None:
    board, program = device(), program_for()
    with Accelerator(EmulatedLink(board)) as accelerator:
        assert accelerator.load(program)
        accelerator.infer(IMAGES)
    link = Spy(board)
    with Accelerator(link) as accelerator:
        assert not accelerator.load(program)
        np.testing.assert_array_equal(accelerator.infer(IMAGES), reference(small_graph(), IMAGES).logits)
    assert link.count(Type.WRITE) == 0


@pytest.mark.parametrize("loss", ["power_cycle", "reset_button"])
def test_another_epoch_makes_receipts_void(loss: str) -> None:
    board = device()
    with Accelerator(EmulatedLink(board)) as accelerator:
        accelerator.load(program_for())
    getattr(board, loss)()
    with Accelerator(EmulatedLink(board)) as accelerator:
        assert accelerator.load(program_for())


def test_another_program_is_not_found() -> None:
    board = device()
    for seed in (1, 9, 1):
        with Accelerator(EmulatedLink(board)) as accelerator:
            assert accelerator.load(program_for(seed))
            np.testing.assert_array_equal(accelerator.infer(IMAGES), reference(small_graph(seed), IMAGES).logits)


class _Stop(BaseException):
    pass


@pytest.mark.parametrize("writes", [0, 1, 2, 5, 10, 1000])
def test_a_load_that_ends_early_leaves_no_receipt(writes: int) -> None:
    board, count = device(), 0

    def stop(done: int, total: int) -> None:
        nonlocal count
        count += 1
        if count > writes and done < total:
            raise _Stop

    with Accelerator(EmulatedLink(board), window=1) as accelerator:
        accelerator.load(program_for(9))
        whole = writes == 1000
        if whole:
            accelerator.load(program_for(), stop)
        else:
            with pytest.raises(_Stop):
                accelerator.load(program_for(), stop)
    with Accelerator(EmulatedLink(board)) as accelerator:
        assert accelerator.load(program_for()) != whole
        np.testing.assert_array_equal(accelerator.infer(IMAGES), reference(small_graph(), IMAGES).logits)


def test_programs_that_need_the_room_are_loaded_every_time() -> None:
    program = program_for(config=TINY_2X2.replace(result_depth=8))
    assert receipt.place(program) is None
    board = device(program.config)
    for _ in range(2):
        with Accelerator(EmulatedLink(board)) as accelerator:
            assert accelerator.load(program)
            np.testing.assert_array_equal(accelerator.infer(IMAGES), reference(small_graph(), IMAGES).logits)


@pytest.mark.parametrize("bits", [8, 12, 32, 48])
def test_receipts_fit_words_of_any_width(bits: int) -> None:
    graph_program = compile(small_graph(), TINY_2X2)
    config = TINY_2X2.replace(sum_bits=bits)
    program = type(graph_program)(**{**vars(graph_program), "config": config})
    place, words = receipt.place(program), receipt.words(program, 7, bytes(16))
    assert place is not None
    assert len(place) == len(words)
    assert place.stop == config.result_depth
    assert max(words) < 1 << bits
    assert words != receipt.words(program, 8, bytes(16))
    assert words != receipt.words(program, 7, bytes(15) + b"\x01")
    before, after = receipt.writes(program, 7, bytes(16))
    start = Address(Space.RESULTS, 0, place.start).pack()
    assert before[0][:4] == after[0][:4] == start
    assert not any(before[0][4:])
    assert len(before[0]) == len(after[0])
