"""The quick part of `make verify`: counters count, netlists are their RTL, benches notice mutants."""

import pytest

from hw import popcount
from sim.core.vectors import Vector
from sim.verify import counting, equivalence, mutation
from sim.verify.blocks import BLOCKS
from sim.verify.mutation import TARGETS, Target, reason, score, short

FEW = 40


@pytest.mark.parametrize("name", ["Rounds", "Drain"])
def test_a_netlist_is_its_rtl_and_a_wrong_one_is_refused(name):
    assert equivalence.proved(next(block for block in BLOCKS if block.name == name), "ecp5") == (True, False)


@pytest.mark.parametrize("family", counting.FORMS)
def test_a_counter_is_the_plain_sum_and_a_wrong_one_is_refused(family):
    assert counting.proved(16, (1,), family) == (True, False)


@pytest.mark.parametrize("pairs", [1, 7, 32, 256])
def test_cells_conserve_the_sum(pairs):
    assert counting.conserves(pairs)


@pytest.mark.parametrize(("cell", "spoilt"), [
    ("counter", lambda digits: digits[::-1]), ("fused_adder", lambda digits: [digits[0], digits[0]]),
    ("counter", lambda digits: digits[:-1])])
def test_a_cell_that_does_not_conserve_it_is_found_out(cell, spoilt, monkeypatch):
    right = getattr(popcount, cell)
    monkeypatch.setattr(popcount, cell, lambda *args: spoilt(right(*args)))
    assert not counting.conserves(32)


def test_the_bench_notices():
    figure = score("Combine", FEW, 1)
    assert figure.passed, figure.measured


def test_a_blind_bench_is_found_out(monkeypatch):
    target = TARGETS["Combine"]
    blind = Target(target.make, lambda config, rng: [
        Vector(vector.inputs, {"final": (0, 0)}) for vector in target.vectors(config, rng)])
    monkeypatch.setitem(TARGETS, "Combine", blind)
    monkeypatch.setattr(mutation, "equal", lambda folder, commands: set())
    figure = score("Combine", FEW, 1)
    assert not figure.passed
    assert figure.measured.startswith("0.00%")


@pytest.mark.parametrize(("block", "why"), [("Comparer", "sixteen"), ("Combine", "unexplained")])
def test_survivors_are_explained_per_block(block, why):
    command = "mutate -mode const0 -module top -cell $1 -port Q -portbit 4 -wire dut.word -wirebit 4 -src /a/hw/x.py:6"
    assert why in reason(block, command)
    assert short(command) == "const0 Q[4] x.py:6"
