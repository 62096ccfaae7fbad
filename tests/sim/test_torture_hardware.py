"""The quick part of torture that needs the RTL, and proof that it would notice."""

import pytest

from sim.native import figures, harness
from sim.torture import deframer, programs, uart


@pytest.mark.parametrize("module", [uart, deframer, programs])
def test_quick_figures_are_met(module):
    measured = module.measure(quick=True, seed=3)
    assert measured
    assert all(figure.passed for figure in measured), measured


@pytest.mark.parametrize(("error", "glitch"), [(0.06, 0), (-0.06, 0), (0, 0.5)])
def test_what_the_receiver_cannot_do_is_noticed(error, glitch):
    clock_hz, baud = uart.RATES[0]
    assert uart.wrong(clock_hz, baud, error, count=2000, glitch=glitch, seed=4) > 0


def lying(line):
    """A line of the corpus that says something wrong; most are left as they are."""
    match line.split():
        case ["result", word]:
            return f"result {int(word) ^ 1}"
        case ["field", opcode, offset, width, _, high]:  # of nothing: whatever is there is out of range
            return f"field {opcode} {offset} {width} {int(high) + 1} {high}"
        case _:
            return line


def test_a_core_that_does_something_else_is_noticed(tmp_path):
    """Seen from a corpus that lies, the core's results and faults are wrong."""
    corpus = tmp_path / "corpus"
    corpus.write_text("".join(lying(line) + "\n" for line in programs.corpus().read_text().splitlines()))
    run = figures(harness(programs.Watched(programs.CONFIG), programs.PROGRAM), corpus, 300, 3)
    assert run["wrong"] == run["probes"] == 3
    assert run["contradicting"] > 30
