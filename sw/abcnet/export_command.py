"""`python -m sw export`: a checkpoint as a model file, with what the integers change."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from sw import artifact, data
from sw.export import ExportError, agreement, export

from . import checkpoint, memory
from .architecture import Network

GOLDEN = 20  # images of the test set kept in a model file with their logits
CALIBRATION = 1000  # training images that the exporter rounds by
DATASETS = {"digits": "digits", "fashion": "fashion", "lenet5": "mnist", "cnv": "cifar10", "resnet20": "cifar10"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `python -m sw export`."""
    add = parser.add_argument
    add("checkpoint", help="trained weights (.npz)")
    add("-o", "--output", type=Path, metavar="FILE", help="model file to write (.abacus)")
    add("--dataset", metavar="NAME", help="data set it was trained on (default: what suits its network)")
    add("--data", type=Path, metavar="DIR", help=f"directory of the data sets (default: environment's {data.VARIABLE})")
    add("--bits", type=int, metavar="N", help="coefficient bits (default: the least that agree)")


def run(args: argparse.Namespace) -> int:
    """Export, write the file if asked to, and print widths and agreement. Raises `AbacusError` for bad input."""
    if args.output is not None and (args.output.suffix != ".abacus" or not args.output.parent.is_dir()):
        raise ExportError(f"output must be a .abacus file in a directory that exists, not {args.output}")
    memory.keep()
    model = checkpoint.load(args.checkpoint)
    spec = model.architecture
    dataset = data.load(args.dataset or DATASETS.get(spec.name, "folder"), args.data, image=spec.image)
    facts = artifact.load(args.output).graph.metadata if args.output is not None and args.output.is_file() else {}
    facts = {key: facts[key] for key in ("recipe", "seed") if key in facts}
    report = ship(args.output, model, dataset, facts, bits=args.bits)
    print(report)
    return 0


def ship(path: Path | None, model: Network, dataset: data.Dataset, facts: dict[str, str], *,
         bits: int | None = None) -> str:
    """Export `model` and, with `path`, write it with a golden sample, `facts` and its agreement on the test set.

    Returns lines for people: widths, agreement.
    """
    images = np.asarray(dataset.train_images[:CALIBRATION])
    graph = export(model, images=images, classes=dataset.classes, coefficient_bits=bits)
    report = agreement(model, graph, np.asarray(dataset.test_images[:]), dataset.test_labels)
    graph = replace(graph, metadata=graph.metadata | facts | {"test": str(report)})
    if path is not None:
        artifact.save_graph(path, graph, np.asarray(dataset.test_images[:GOLDEN]))
    widths = ", ".join(f"{graph.metadata[key]} {key.replace('_', ' ')}" for key in (
        "coefficient_bits", "image_coefficient_bits", "sum_bits"))
    chosen = [graph.metadata["calibration"]] if "calibration" in graph.metadata else []
    return "\n".join([f"{graph.name}, {graph.metadata['scheme']}: {widths}", *chosen, str(report)])
