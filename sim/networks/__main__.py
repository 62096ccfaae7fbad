"""Networks on the accelerator: `python -m sim.networks [NAME ...] [--output FILE]`, all of them for docs/cycles.md.

Each is compiled and emulated, and its logits and cycles are compared with PyTorch's integers and the prediction. The
weights are random: cycles do not depend on them. With `--rtl` those that take minutes also run in the simulated core.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hw.arch.config import Config, preset
from hw.options import FAILURE, SUCCESS, Parser
from sim.core.frames import recorded, replay
from sim.networks import build
from sim.runner import SimulationError
from sw.abcnet.reference import reference
from sw.compiler import Program, compile
from sw.compiler.pace import INTAKE_RATE, frame_cycles
from sw.graph import Graph

# Presets with memories for whole networks.
ROOM = {"value_depth": 2048, "weight_depth": 8192, "activation_depth": 8192, "threshold_depth": 4096,
        "coefficient_depth": 2048, "tap_depth": 1024, "program_depth": 256, "accumulator_bits": 18}
# Weights, thresholds, coefficients and taps come with every image.
MORE = {"value_depth": 16384, "activation_depth": 65536, "result_depth": 2048, "program_depth": 512,
        "accumulator_bits": 20, "sum_bits": 36, "coefficient_bits": 16}
# Weights stay; a whole frame for the simulated core.
RESIDENT = {"weight_depth": 16384, "threshold_depth": 2048, "tap_depth": 512}
FAST = 1e9  # bytes per second of a line that networks larger than their memories are streamed over
MEDIUM, LARGE = preset("medium-short").replace(**ROOM), preset("large").replace(**MORE)
DEEP = preset("medium-short").replace(**MORE | RESIDENT)


@dataclass(frozen=True)
class Entry:
    """A network as the table has it."""

    title: str
    make: partial
    preset: str
    config: Config
    rtl: bool = False  # the whole frame takes minutes


NETWORKS = {
    "lenet5": Entry("LeNet-5, 28 x 28, 1 x 1 planes", partial(build.lenet5), "medium-short", MEDIUM, rtl=True),
    "cnv-w1a1": Entry("FINN's CNV, 32 x 32, W1A1", partial(build.cnv), "medium-short", MEDIUM, rtl=True),
    "cnv-w1a2": Entry("FINN's CNV, W1A2", partial(build.cnv, 1, 2), "medium-short", MEDIUM, rtl=True),
    "cnv-w2a2": Entry("FINN's CNV, W2A2", partial(build.cnv, 2, 2), "medium-short", MEDIUM, rtl=True),
    "cnv-3x3": Entry("FINN's CNV, ABC 3 x 3", partial(build.cnv, 3, 3), "medium-short", MEDIUM, rtl=True),
    "resnet20": Entry("ResNet-20, 32 x 32, 1 x 1 planes", partial(build.resnet20), "medium-short", MEDIUM, rtl=True),
    "resnet20-3x3": Entry(
        "ResNet-20, ABC 3 x 3", partial(build.resnet20, 3, 3), "medium-short", MEDIUM, rtl=True),
    "resnet18": Entry(
        "ResNet-18, 224 x 224, 1 x 1 planes", partial(build.resnet18, 1, 1), "medium-short", DEEP, rtl=True),
    "resnet18-5x5": Entry("ResNet-18, 224 x 224, ABC 5 x 5", partial(build.resnet18), "large", LARGE),
}
HEAD = """# Networks

Written by `make networks` from what it computed: every network of random weights, compiled and emulated; the logits are
PyTorch's integers and the cycles those predicted. `sim/networks/` has the networks and the depths of the memories, in
which a preset is enlarged where a network does not fit. Efficiency is useful binary multiply-accumulates against
lanes x word x cycles.
"""


def exact(graph: Graph, program: Program, seed: int, rtl: bool = False) -> bool:
    """Whether the emulator's logits are the reference's and its cycles the prediction, for one random image.

    `SimulationError` if with `rtl` the simulated core has others.
    """
    image = np.random.default_rng(seed).integers(0, 256, graph.image.shape).astype(np.uint8)
    content = recorded(program, [image])
    *_, results, cycles = content["runs"][0]
    expected = reference(graph, image[None], keep=False).logits[0]
    if cycles != program.predicted_cycles or not np.array_equal(program.logits(results), expected):
        return False
    if rtl:
        replay(content)
    return True


def table(entry: Entry, graph: Graph, program: Program, rtl: bool = False) -> str:
    """Cycles and efficiency of every layer; `rtl`: the simulated core had the same."""
    peak, config = entry.config.macs_per_cycle, entry.config
    lines = [f"\n## {entry.title}\n", f"On `{entry.preset}` of {peak:,} MAC/cycle, {len(graph.layers)} layers.\n",
             "| layer | kernel | planes | cycles | efficiency |", "|---|---|---|---:|---:|"]
    layers = [stage for stage in program.stages if stage.macs]
    for stage in layers:
        lines.append(f"| {stage.name} | {stage.kernel} | {stage.planes} | {stage.cycles:,} | "
                     f"{stage.macs / (stage.cycles * peak):.1%} |")
    cycles, macs = sum(stage.cycles for stage in layers), sum(stage.macs for stage in layers)
    time = f"{cycles / config.clock_hz * 1e3:.3f} ms at {config.clock_hz / 1e6:g} MHz"
    lines.append(f"| **all layers** | | | **{cycles:,}** | **{macs / (cycles * peak):.1%}** |")
    core = " The core's RTL, simulated, took these cycles and gave these integers." if rtl else ""
    lines.append(f"\n{time}, the intake apart.{core}")
    if len(program.stream):
        lines.append(f"\n{len(program.stream):,} bytes of words come with every image. From one image to the next:\n")
        lines += [f"- {_pace(program, rate)}, at {text}" for rate, text in (
            (INTAKE_RATE, "a byte per cycle, which is what the core takes"),
            (FAST / config.clock_hz, f"{FAST / 1e9:g} GB/s, which takes a wider intake"))]
    return "\n".join(lines)


def _pace(program: Program, rate: float) -> str:
    """Time from one image to the next at a rate of bytes per cycle."""
    cycles = frame_cycles(program, rate)
    return f"{cycles:,} cycles, {cycles / program.config.clock_hz * 1e3:.3f} ms"


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status: 1 if a network is not computed exactly."""
    parser = Parser(prog="python -m sim.networks", description="What networks cost, and that they are exact.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}; all without")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--rtl", action="store_true", help="run those in the simulated core that take minutes")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in NETWORKS]:
        parser.error(f"network must be one of {', '.join(NETWORKS)}, not {unknown[0]!r}")
    text = HEAD
    for name in args.names or NETWORKS:
        entry = NETWORKS[name]
        graph = entry.make()
        program, rtl = compile(graph, entry.config), args.rtl and entry.rtl
        try:
            same = exact(graph, program, 1, rtl)
        except SimulationError as error:
            print(f"sim.networks: {name}: {error}", file=sys.stderr)
            return FAILURE
        if not same:
            print(f"sim.networks: {name} is not computed exactly", file=sys.stderr)
            return FAILURE
        part = table(entry, graph, program, rtl)
        print(part, flush=True)
        text += part + "\n"
    if args.output:
        args.output.write_text(text)
    return SUCCESS


if __name__ == "__main__":
    sys.exit(main())
