"""The quick part of torture that needs the RTL, and proof that it would notice."""

import pytest

from sim.torture import deframer, uart


@pytest.mark.parametrize("module", [uart, deframer])
def test_quick_figures_are_met(module):
    figures = module.measure(quick=True, seed=3)
    assert figures
    assert all(figure.passed for figure in figures), figures


@pytest.mark.parametrize(("error", "glitch"), [(0.06, 0), (-0.06, 0), (0, 0.5)])
def test_what_the_receiver_cannot_do_is_noticed(error, glitch):
    clock_hz, baud = uart.RATES[0]
    assert uart.wrong(clock_hz, baud, error, count=2000, glitch=glitch, seed=4) > 0
