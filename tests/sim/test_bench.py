"""Benchmarks in small: what they measure meets its bars, and the counting of LUTs is right."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.build.lut6 import luts
from sim.bench.__main__ import CAMPAIGN
from sim.synthesis import netlist


@pytest.mark.parametrize("name", ["dot", "planes", "networks"])
def test_bars_are_met(name, capsys):
    assert CAMPAIGN.main([name, "--quick"]) == 0, capsys.readouterr().out


class Gates(wiring.Component):
    """Two functions of five inputs together, and one of six."""

    def __init__(self):
        super().__init__({"a": In(5), "b": In(6), "o": Out(3)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq((self.a.xor() << 2) | (self.a.all() << 1) | self.b.xor())
        return m


def test_two_functions_of_five_inputs_share_a_lut():
    cells = netlist(Gates(), "xc7")
    assert sorted(len(cell.inputs) for cell in cells) == [5, 5, 6]
    assert luts(cells) == 2
