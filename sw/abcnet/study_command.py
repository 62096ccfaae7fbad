"""`python -m sw study`: train every point of the comparison, unless its result is there, and write the report."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np

from hw.arch.config import preset
from sw import data

from . import memory
from .models import architecture
from .recipe import Recipe
from .report import Report
from .study import Result, Study, StudyError, cost_of, load, points, results_of

QUICK = {"network": "digits", "dataset": "digits", "images": 256, "test_images": 100, "float_epochs": 1, "epochs": 1,
         "preset": "small"}
QUICK_SCHEMES = ("real", "abc 1x1", "abc 3x3", "abc 3x3 symmetric", "abc-real 3xFP", "dorefa W1A4")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("build/study/report"), metavar="DIR", help="report; default %(default)s")
    add("--runs", type=Path, default=Path("build/study/runs"), metavar="DIR", help="results kept; default %(default)s")
    add("--network", default="lenet5", help="default %(default)s")
    add("--dataset", default="fashion", help="default %(default)s")
    add("--data", type=Path, metavar="DIR", help=f"directory of the data sets (default: environment's {data.VARIABLE})")
    add("--images", type=int, metavar="N", help="only the first N training images")
    add("--test-images", type=int, metavar="N", help="only the first N test images")
    add("--float-epochs", type=int, default=8, help="of the full-precision start; default %(default)s")
    add("--epochs", type=int, default=8, help="of every run; default %(default)s")
    add("--batch", type=int, default=64, help="images per step; default %(default)s")
    add("--optimizer", default="adam", help="sgd or adam; default %(default)s")
    add("--rate", type=float, default=0.002, help="learning rate; default %(default)s")
    add("--seeds", default="0", metavar="N,N", help="default %(default)s")
    add("--init", default="", metavar="FILE",
        help="weights that all runs start from in place of a trained network: resnet20-12fca82f.th, or a checkpoint")
    add("--preset", default="medium", help="configuration whose cost is shown; default %(default)s")
    add("--only", metavar="SCHEME", help="one scheme, as the report names it")
    add("--quick", action="store_true", help="digits and one epoch, in seconds: shows that everything works")
    add("--report", action="store_true", help="train nothing: write the report of the results that are there")
    add("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Run the study; the exit status. `AbacusError` for bad input."""
    command = _command(args)
    if args.quick:
        for key, value in QUICK.items():
            setattr(args, key, value)
    config = preset(args.preset)
    dataset = data.load(args.dataset, args.data, image=architecture(args.network).image)
    whole = (len(dataset.train_labels), len(dataset.test_labels))
    dataset = _first(dataset, args.images, args.test_images)
    recipe = Recipe(float_epochs=0, epochs=args.epochs, batch=args.batch, rate=args.rate, optimizer=args.optimizer)
    study = Study(args.network, args.dataset, len(dataset.train_labels), len(dataset.test_labels),
                  replace(recipe, epochs=0 if args.init else args.float_epochs), recipe, args.preset, args.init)
    known = [using for using in points() if not args.quick or str(using) in QUICK_SCHEMES]
    schemes = [using for using in known if args.only in (None, str(using))]
    if not schemes:
        raise StudyError(f"--only must be one of {', '.join(map(str, known))}, not {args.only!r}")
    try:
        args.runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"--runs {args.runs} cannot be a directory: {error.strerror}") from None
    seeds = _seeds(args.seeds)
    memory.keep()
    if not args.report:
        for result in results_of(study, schemes, seeds, dataset, config, args.runs, quiet=args.quiet):
            print(f"{result.label}, seed {result.seed}: {result.accuracy:.2f} %", flush=True)
    found = [load(study, using, seed, args.runs) for using in known for seed in seeds]
    results: list[Result] = [result for result in found if result is not None]
    if not results:
        raise StudyError(f"--runs {args.runs} must hold results of this study to report, but has none")
    labels = {result.label for result in results}
    costs = {str(using): cost_of(study, using, config) for using in known if str(using) in labels}
    Report(study, config, results, costs, command, whole).write(args.out)
    print(f"{args.out / 'README.md'}: {len(results)} of {len(known) * len(seeds)} runs")
    return 0


def _first(dataset: data.Dataset, train: int | None, test: int | None) -> data.Dataset:
    """The data set with its first images only."""
    counts = []
    for option, wanted, labels in (("images", train, dataset.train_labels), ("test-images", test, dataset.test_labels)):
        if wanted is not None and not 1 <= wanted <= len(labels):
            raise StudyError(f"--{option} must be in 1..{len(labels)}, not {wanted}")
        counts.append(len(labels) if wanted is None else wanted)
    train, test = counts
    return replace(dataset, train_images=data.Selection(dataset.train_images, np.arange(train)),
                   train_labels=dataset.train_labels[:train], test_labels=dataset.test_labels[:test],
                   test_images=data.Selection(dataset.test_images, np.arange(test)))


def _seeds(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise StudyError(f"--seeds must be non-negative integers with commas between, not {text!r}")
    return [int(part) for part in parts]


def _command(args: argparse.Namespace) -> str:
    """The command line without what does not matter to the figures."""
    names = ("network", "dataset", "images", "test_images", "float_epochs", "epochs", "batch", "optimizer", "rate",
             "seeds", "preset")
    words = ["python", "-m", "sw", "study", *(["--quick"] if args.quick else [])]
    for name in ("seeds",) if args.quick else names:
        if getattr(args, name) is not None and not (args.init and name == "float_epochs"):
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    if args.init:
        words += ["--init", Path(args.init).name]
    return shlex.join(words)
