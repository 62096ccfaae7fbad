"""Useful work of networks against the array's peak, batch 1, the image's eight planes counted as eight."""

from __future__ import annotations

from collections.abc import Sequence

from hw.arch.config import Config, preset
from sim.figures import NOTHING, Figure
from sim.networks.__main__ import LARGE, MEDIUM
from sim.networks.build import cnv, resnet18
from sw.compiler import Program, compile
from sw.compiler.program import Stage

LATENCY = 50e-6  # seconds of a frame of CNV that are asked for


def measure(quick: bool, seed: int) -> list[Figure]:
    """Cycles do not depend on the weights, which are random; memories are as in `sim.networks` where they must be."""
    graph = cnv(seed=seed)
    program, fast = compile(graph, MEDIUM), compile(graph, preset("large")).predicted_cycles
    figures = [
        _figure("FINN's CNV W1A1 on `medium-short`, achieved of peak (FINN: 79.9 %)", _layers(program), MEDIUM, 85),
        Figure("FINN's CNV W1A1 on `large` as it is", NOTHING,
               f"{fast:,} cycles, {LATENCY * 1e3} ms at {fast / LATENCY / 1e6:.0f} MHz", True),
    ]
    if not quick:
        layers = _layers(compile(resnet18(3, 3, seed=seed), LARGE), "3x3")
        figures.append(_figure("3x3 layers of ResNet-18 ABC 3 x 3 on `large`, achieved of peak", layers, LARGE, 90))
    return figures


def _layers(program: Program, kernel: str = "") -> list[Stage]:
    """Layers whose kernel begins so."""
    return [stage for stage in program.stages if stage.macs and stage.kernel.startswith(kernel)]


def _figure(what: str, layers: Sequence[Stage], config: Config, bar: int) -> Figure:
    """Multiply-accumulates of the layers against what the array could do in their cycles, `bar` in per cent."""
    cycles = sum(stage.cycles for stage in layers)
    done, peak = sum(stage.macs for stage in layers), cycles * config.macs_per_cycle
    return Figure(what, f">= {bar} %", f"{done / peak:.1%} ({cycles:,} cycles)", 100 * done >= bar * peak)
