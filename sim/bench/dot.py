"""LUTs per binary multiply-accumulate of the dot-product unit, accumulator included."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config, preset
from hw.build.lut6 import luts
from hw.dot import Dot, Keep
from sim.figures import NOTHING, Figure
from sim.synthesis import netlist

# By word width: the bar, and LUT6 per bit of BISMO v2 (Vivado) without and with its result lane.
XC7 = {64: (1.30, 1.86, 3.74), 128: (1.25, 1.51, 2.45), 256: (None, 1.34, 1.81)}


class Undrained(wiring.Component):
    """A `Dot` whose accumulator is read directly: count and accumulate, without the way out."""

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "weight": In(config.word), "activation": In(config.word), "enable": In(1), "split": In(1), "keep": In(Keep),
            "value": Out(config.accumulator_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.dot = dot = Dot(self._config)
        m.d.comb += [getattr(dot, name).eq(getattr(self, name))
                     for name in ("weight", "activation", "enable", "split", "keep")]
        m.d.comb += [dot.load.eq(1), self.value.eq(dot.value)]
        return m


def measure(quick: bool, seed: int) -> list[Figure]:
    """Units of three widths for 7-series and ECP5; nothing is random."""
    figures = []
    for word, (bar, peer, lane) in [*XC7.items()][: 1 if quick else None]:
        config = preset("medium").replace(word=word)
        name = f"{word}-bit unit, {config.accumulator_bits}-bit accumulator"
        count = luts(netlist(Undrained(config), "xc7"))
        figures.append(Figure(
            f"LUT6 per MAC, {name} (BISMO v2 with Vivado: {peer:.2f})", f"<= {bar:.2f}" if bar else NOTHING,
            f"{count / word:.2f} ({count} LUT6)", bar is None or count <= bar * word))
        count = luts(netlist(Dot(config), "xc7"))
        figures.append(Figure(f"LUT6 per MAC with its way out (BISMO v2 with its result lane: {lane:.2f})",
                              NOTHING, f"{count / word:.2f} ({count} LUT6)", True))
        count = luts(netlist(Dot(config), "ecp5"))
        figures.append(Figure(
            "LUT4 per MAC with its way out, ECP5", NOTHING, f"{count / word:.2f} ({count} LUT4)", True))
    return figures
