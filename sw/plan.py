"""`python -m sw plan MODEL`: what a network costs on any configuration, one JSON object per line of standard input.

A request is the fields of a `Config`. The answer to one that the network runs on is

    {"cycles": of one frame, "stream_bytes": loaded in each, "needs": {depth field: words},
     "layers": [{"name", "kernel", "planes", "macs", "cycles", "weight_bits"}]}

and to any other {"error": sentence}; whoever asks chooses depths, so tensors are not tiled. Programs that choose
a configuration, `python -m hw.build --for` first of all, ask many of them through one pipe; the cycles are the
compiler's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from hw.arch.config import Config, ConfigError, Space
from hw.arch.isa import NO_VALUES, Conv, Pack, Values, Walk
from sw import artifact
from sw.compiler import CompileError, Program, compile
from sw.compiler.recode import recode
from sw.graph import Graph

RECEIPT_WORDS = 16  # of the result memory, room for `sw.receipt`
FIELDS = {
    Space.PROGRAM: "program_depth", Space.TAPS: "tap_depth", Space.WEIGHTS: "weight_depth",
    Space.COEFFICIENTS: "coefficient_depth", Space.THRESHOLDS: "threshold_depth",
}


def run(args: argparse.Namespace) -> int:
    """Answer every line of standard input; 0 at its end."""
    graph = recode(artifact.load(args.model).graph)
    for line in sys.stdin:
        print(json.dumps(answer(graph, line)), flush=True)
    return 0


def answer(graph: Graph, request: str) -> dict[str, Any]:
    """What `graph`, recoded before, costs on the configuration of a request."""
    try:
        program = compile(graph, Config.from_json(request), recoding=False, tiling=False)
    except (CompileError, ConfigError) as error:
        return {"error": str(error)}
    bits = {layer.name: layer.weights.size for layer in graph.layers}
    layers = [
        {
            "name": stage.name, "kernel": stage.kernel, "planes": stage.planes, "macs": stage.macs,
            "cycles": stage.cycles, "weight_bits": bits.get(stage.name, 0),
        }
        for stage in program.stages
    ]
    return {"cycles": program.predicted_cycles, "stream_bytes": len(program.stream), "needs": needs(program),
            "layers": layers}


def needs(program: Program) -> dict[str, int]:
    """Words of every memory that a program uses, by the configuration's field of its depth."""
    used = {field: program.words(space) for space, field in FIELDS.items()}
    pack = next(instruction for instruction in program.instructions if isinstance(instruction, Pack))
    return used | {
        "activation_depth": program.activation_words,
        "value_depth": value_words(program),
        "result_depth": program.result_words + RECEIPT_WORDS,
        "image_depth": max(1, pack.window_rows - 1) * pack.columns * pack.channels + 1,
    }


def value_words(program: Program) -> int:
    """Words of the value memory, 0 without residual connections: what instructions in turn set up and run."""
    config, end = program.config, 0
    walk, values = None, NO_VALUES
    for instruction in program.instructions:
        if isinstance(instruction, Walk):
            walk = instruction
        elif isinstance(instruction, Values):
            values = instruction
        elif isinstance(instruction, Conv) and walk and (values.add or values.keep):
            groups = instruction.row_groups * -(-walk.pixels // config.pixel_lanes)
            end = max(end, values.base + groups * config.chain_channels)
    return end
