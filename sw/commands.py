"""What the commands of `python -m sw` do. Each takes parsed arguments and returns the exit status."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hw.arch.config import PRESETS, Config, ConfigError, Space, preset
from sw import artifact, images
from sw.artifact import Model
from sw.compiler import CompileError, Program, compile
from sw.compiler.pace import INTAKE_RATE, frame_cycles
from sw.driver import Accelerator, Progress, Stats
from sw.errors import AbacusError, ArtifactError, Mismatch
from sw.graph import Graph
from sw.link import open_link
from sw.serial_link import DEFAULT_BAUD

DEFAULT_PRESET = "small"


def run(args: argparse.Namespace) -> int:
    """Classify images on a device; with `--check` 1 unless every logit equals the integer reference."""
    model = artifact.load(args.model)
    batch = images.load(args.images, model.graph.image, limit=args.limit, directory=args.data)
    expected = reference_logits(model.graph, batch.images) if args.check else None
    logits, stats = classify(model, batch.images, args)
    for name, row in zip(batch.names, logits, strict=True):
        print(f"{name}: {model.graph.classes[int(row.argmax())]}  {' '.join(map(str, row))}")
    print(f"{len(logits)} images in {stats.seconds:.2f} s, {stats.cycles // len(logits)} cycles each")
    if batch.labels is not None:
        right = int((logits.argmax(axis=1) == batch.labels).sum())
        print(f"accuracy {right}/{len(logits)}")
    return 0 if expected is None else report_equality(logits, expected)


def info(args: argparse.Namespace) -> int:
    """Print layers, memories and predicted cycles of a model on one configuration."""
    model = artifact.load(args.model)
    program = stored_program(model, args) or compiled(model.graph, chosen_config(args) or preset(DEFAULT_PRESET))
    graph, config = model.graph, program.config
    image = graph.image
    print(f"{graph.name}: {image.rows} x {image.columns} x {image.channels} -> {len(graph.classes)} classes "
          f"({', '.join(graph.classes)})")
    for key, value in graph.metadata.items():
        print(f"  {key}: {value}")
    lanes = f"{config.row_lanes} x {config.column_lanes} lanes of {config.word} bits, M = {config.M}, N = {config.N}"
    print(f"configuration {config_name(config)}: {lanes}, {config.macs_per_cycle} MAC/cycle")
    print("\n".join(["", *_layer_table(program), "", *_memory_table(program)]))
    milliseconds = 1e3 * program.predicted_cycles / config.clock_hz
    print(f"\n{program.predicted_cycles} cycles per image, {milliseconds:.3f} ms at {config.clock_hz / 1e6:g} MHz")
    if len(program.stream) or len(program.bands) > 1:
        print("\n".join(_pace(program)))
    return 0


def compile_model(args: argparse.Namespace) -> int:
    """Write a copy of a model file that holds the program for one configuration."""
    model = artifact.load(args.model)
    config = chosen_config(args) or preset(DEFAULT_PRESET)
    artifact.save(args.output, dataclasses.replace(model, program=compiled(model.graph, config)))
    print(f"{args.output}: {model.graph.name} for configuration {config_name(config)}")
    return 0


def add_torch_command(parser: argparse.ArgumentParser, name: str) -> None:
    """Complete the parser of a command that needs torch."""
    part = torch_part(name if name == "train" else f"{name}_command")
    part.add_arguments(parser)
    parser.set_defaults(command=part.run)


def classify(model: Model, batch: np.ndarray, args: argparse.Namespace) -> tuple[np.ndarray, Stats]:
    """Load the model's program into the device at `args.link` and run the images: logits, and what that took."""
    program = stored_program(model, args)
    config = program.config if program else chosen_config(args)
    if args.link.startswith("sim:") and sys.stderr.isatty():
        print("starting the virtual board; the first start of a configuration compiles it", file=sys.stderr)
    link = open_link(args.link, config or preset(DEFAULT_PRESET))
    with Accelerator(link, timeout=getattr(args, "timeout", None)) as accelerator:
        if program is None:
            program = program_for(model, accelerator, config)
        with tqdm(desc="load", unit="B", unit_scale=True, disable=None, leave=False) as bar:
            accelerator.load(program, _progress(bar))
        with tqdm(desc="infer", unit="image", disable=None, leave=False) as bar:
            logits = accelerator.infer(batch, _progress(bar))
        return logits, accelerator.stats()


def stored_program(model: Model, args: argparse.Namespace) -> Program | None:
    """The program in the model file, if any; `ArtifactError` if it is for another configuration than asked for."""
    config = chosen_config(args)
    if model.program is None or config is None or model.program.config == config:
        return model.program
    raise ArtifactError(
        f"model file {args.model} is compiled for configuration {config_name(model.program.config)}, "
        f"not {config_name(config)}: compile it for that one, or choose neither --preset nor --config"
    )


def program_for(model: Model, accelerator: Accelerator, config: Config | None) -> Program:
    """The model compiled for `config` or, without one, for the preset that the device has."""
    return compiled(model.graph, config or config_of(accelerator.hello().digest))


def compiled(graph: Graph, config: Config) -> Program:
    """The graph compiled for a configuration; a refusal names the smallest preset that runs it."""
    try:
        return compile(graph, config)
    except CompileError as error:
        raise CompileError(f"{error}; {_advice(graph)}") from None


def _advice(graph: Graph) -> str:
    """Which preset would do."""
    sizes = {name: (c.macs_per_cycle, sum(memory.total_bits for memory in c.memories.values()))
             for name, c in PRESETS.items()}
    for name in sorted(PRESETS, key=lambda name: sizes[name]):
        try:
            compile(graph, PRESETS[name])
        except CompileError:
            continue
        return f"{name} is the smallest preset that runs {graph.name}"
    return f"no preset runs {graph.name}"


def chosen_config(args: argparse.Namespace) -> Config | None:
    """The configuration of `--preset` or `--config`, if given."""
    if args.preset is not None:
        return preset(args.preset)
    if args.config is None:
        return None
    try:
        return Config.from_json(Path(args.config).read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"configuration file {args.config} cannot be read: {reason}") from None
    except ConfigError as error:
        raise ConfigError(f"configuration file {args.config}: {error}") from None


def config_name(config: Config) -> str:
    """The preset's name, or the start of the digest."""
    return next((name for name, known in PRESETS.items() if known == config), config.digest.hex()[:16])


def reference_logits(graph: Graph, batch: np.ndarray) -> np.ndarray:
    """Integer logits of the PyTorch reference, int64 [B, classes]."""
    return np.asarray(torch_part("reference").reference(graph, batch).logits)


def report_equality(logits: np.ndarray, expected: np.ndarray) -> int:
    """Print `equal K/K`, counting logits; the exit status."""
    equal = int((logits == expected).sum())
    print(f"equal {equal}/{expected.size}")
    return 0 if equal == expected.size else 1


def torch_part(name: str) -> Any:
    """A module of `sw.abcnet`, imported when asked for: the driver works without torch."""
    try:
        return importlib.import_module(f"sw.abcnet.{name}")
    except ModuleNotFoundError as error:
        raise AbacusError(f"this needs the package {error.name}: pip install 'abacus-fpga[train]'") from None


def config_of(digest: bytes) -> Config:
    """The preset that a device has."""
    for config in PRESETS.values():
        if config.digest == digest:
            return config
    raise Mismatch(f"device has configuration {digest.hex()}, which is no preset: give it with --config")


def _progress(bar: tqdm) -> Progress:
    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show


def _layer_table(program: Program) -> list[str]:
    peak = program.config.macs_per_cycle
    rows: list[tuple[str, ...]] = [("layer", "kernel", "planes", "passes", "MACs", "cycles", "of peak")]
    for stage in program.stages:
        used = f"{stage.macs / (stage.cycles * peak):.1%}" if stage.macs and stage.cycles else ""
        counts = map(str, (stage.passes, stage.macs, stage.cycles))
        rows.append((stage.name, stage.kernel, stage.planes, *counts, used))
    return _columns(rows)


def _pace(program: Program) -> list[str]:
    """What the words and rows cost that come with every image."""
    config, lines = program.config, []
    if len(program.bands) > 1:
        again = sum(rows for _, rows in program.bands) / program.rows - 1
        lines.append(f"the image comes in {len(program.bands)} bands of rows, {again:.0%} of them again")
    if len(program.stream):
        lines.append(f"{len(program.stream)} bytes of words come with every image")
    lines.append("from one image to the next:")
    for rate, source in ((INTAKE_RATE, "a byte per cycle, the most that the core takes"),
                         (DEFAULT_BAUD / 10 / config.clock_hz, f"{DEFAULT_BAUD} baud")):
        cycles = frame_cycles(program, rate)
        lines.append(f"  {cycles} cycles, {1e3 * cycles / config.clock_hz:.3f} ms, at {source}")
    return lines


def _memory_table(program: Program) -> list[str]:
    rows: list[tuple[str, ...]] = [("memory", "banks", "words used", "words", "used")]
    for space, memory in program.config.memories.items():
        used = {Space.ACTIVATIONS: program.activation_words, Space.RESULTS: program.result_words}.get(space)
        if used is None:
            used = program.words(space)
        rows.append((space.name.lower(), str(memory.banks), str(used), str(memory.depth), f"{used / memory.depth:.0%}"))
    return _columns(rows)


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as aligned text, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines
