"""`python -m sw cards`: the model cards of models/README.md, every figure measured on the files themselves."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw.arch.config import PRESETS
from sw import artifact, data
from sw.compiler import CompileError, compile
from sw.errors import AbacusError
from sw.export import agreement, export
from sw.graph import Graph

from . import checkpoint, memory
from .architecture import Architecture, BlockSpec, Network
from .export_command import DATASETS

HEAD = """# Shipped models

Trained by this project. Each is a model file (`.abacus`: integer graph, and {golden} golden images with their logits)
and the checkpoint it was exported from (`.npz`: PyTorch weights). Every layer, first and last included, has binary
weight planes; the first reads the 8-bit image as eight planes. A model that does not fit a preset's memories may fit
the same configuration with deeper ones.
"""
TAIL = """
Logits deviate where a sum lies next to a threshold and the rounding of coefficients carries it across, which then
changes every sum that follows. The exporter rounds by 1,000 training images (`sw/fixed_point.py`) and takes the fewest
coefficient bits, 12 or more, with which the class of 99.9 % of them stays; the row "to the nearest" is the same network
at the same widths without those images.

This file is written, and a model trained again (accuracy varies with threads and PyTorch version), by

{commands}
"""


class CardError(AbacusError):
    """A card that cannot be written; the message is one sentence."""


@dataclass(frozen=True)
class Shipped:
    """A model file, its checkpoint, and the data that both are measured on."""

    name: str
    graph: Graph
    golden: int
    model: Network
    dataset: data.Dataset
    kilobytes: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("models", nargs="+", type=Path, metavar="MODEL", help="model files (.abacus), checkpoints beside them")
    add("--data", type=Path, metavar="DIR", help=f"directory of the data sets (default: environment's {data.VARIABLE})")
    add("--output", type=Path, metavar="FILE", help="write the cards there")


def run(args: argparse.Namespace) -> int:
    """Print or write the cards. Raises `AbacusError` for bad input."""
    memory.keep()
    text = cards([_read(path, args.data) for path in args.models])
    if args.output is None:
        print(text, end="")
        return 0
    try:
        args.output.write_text(text)
    except OSError as error:
        raise CardError(f"cards {args.output} cannot be written: {error.strerror}") from None
    return 0


def cards(shipped: list[Shipped]) -> str:
    """The whole file: a column per model."""
    columns = [rows(each) for each in shipped]
    lines = ["| | " + " | ".join(f"`{each.name}`" for each in shipped) + " |", "|---|" + "---|" * len(shipped)]
    lines += [f"| {key} | " + " | ".join(column[key] for column in columns) + " |" for key in columns[0]]
    files = " ".join(f"models/{each.name}.abacus" for each in shipped)
    commands = [f"python -m sw cards {files} --data DIR --output models/README.md"]
    commands += [f"python -m sw train --model {each.model.architecture.name} --data DIR --out {each.name}.abacus "
                 f"--checkpoint {each.name}.npz" for each in shipped]
    tail = TAIL.format(commands="\n".join(f"    {command}" for command in commands))
    return HEAD.format(golden=shipped[0].golden) + "\n" + "\n".join(lines) + "\n" + tail


def rows(shipped: Shipped) -> dict[str, str]:
    """One column: what is measured, and its figure."""
    graph, dataset, spec = shipped.graph, shipped.dataset, shipped.model.architecture
    images, facts = np.asarray(dataset.test_images[:]), graph.metadata
    report = agreement(shipped.model, graph, images, dataset.test_labels)
    plain = export(shipped.model, classes=dataset.classes, coefficient_bits=int(facts["coefficient_bits"]))
    nearest = agreement(shipped.model, plain, images, dataset.test_labels)
    found = {
        "data": f"{dataset.name}, {' × '.join(map(str, spec.image[:2]))}, {len(dataset.train_labels):,} train, "
                f"{len(dataset.test_labels):,} test",
        "scheme": facts["scheme"],
        "layers": layers(spec),
        "recipe": facts.get("recipe", "-").removeprefix("Recipe(").removesuffix(")"),
        "seed": facts.get("seed", "-"),
        "coefficient bits": facts["coefficient_bits"],
        "sum bits": facts["sum_bits"],
        "float test accuracy": _percent(report.float_accuracy),
        "integer test accuracy": _percent(report.integer_accuracy),
        "argmax agreement, whole test set": _percent(report.argmax_agreement),
        "the same, rounded to the nearest": _percent(nearest.argmax_agreement),
        "largest logit deviation": f"{report.logit_deviation:.4g}",
        "model file": f"{shipped.kilobytes:.0f} kB",
    }
    return found | {f"cycles per image, `{name}`": _cycles(graph, name) for name in PRESETS if "tiny" not in name}


def layers(spec: Architecture) -> str:
    """The blocks of a network in a line."""
    return "; ".join(map(_layer, spec.blocks))


def _layer(block: BlockSpec) -> str:
    text = f"conv {block.kernel}×{block.kernel} {block.channels}" if block.kernel else f"FC {block.channels}"
    return text + (f", pool {block.pool}" if block.pool > 1 else "") + (f", adds {block.add}" if block.add else "")


def _cycles(graph: Graph, name: str) -> str:
    try:
        program = compile(graph, PRESETS[name])
    except CompileError:
        return "does not fit"
    notes = [f"{program.predicted_cycles:,}"]
    if len(program.bands) > 1:
        notes.append(f"in {len(program.bands)} bands of rows")
    if len(program.stream):
        notes.append(f"{len(program.stream) / 1e3:.1f} kB of weights come with each")
    return ", ".join(notes)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _read(path: Path, directory: Path | None) -> Shipped:
    found, model = artifact.load(path), checkpoint.load(path.with_suffix(".npz"))
    spec = model.architecture
    if found.graph.name != spec.name or "coefficient_bits" not in found.graph.metadata:
        raise CardError(f"model {path} must be exported from the checkpoint beside it, which is of {spec.name}")
    dataset = data.load(DATASETS.get(spec.name, "folder"), directory, image=spec.image)
    return Shipped(path.stem, found.graph, len(found.golden_images), model, dataset, path.stat().st_size / 1e3)
