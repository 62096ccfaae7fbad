"""Experiments of a study: what is trained, and the results, cached by the settings that they follow from.

One full-precision network is trained from a seed and becomes the start of every other run, as in the paper; all of
those train equally long, the full-precision baseline included.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hw.arch.config import Config
from sw.compiler import CompileError, compile
from sw.data import Dataset
from sw.errors import AbacusError
from sw.export import ExportError, agreement, export
from sw.graph import Graph

from . import checkpoint
from .adapt import adapt
from .architecture import Network
from .export_command import CALIBRATION
from .inference import evaluate
from .models import architecture
from .pretrained import ADAPTED_BY, start_from
from .recipe import Recipe
from .schemes import Scheme, scheme
from .trainer import Trainer

VERSION = 1  # of the method; a change makes earlier results those of another study
DEEPEST = 4096  # coefficient memory, in words per chain
DEPTHS = ("weight_depth", "activation_depth", "tap_depth", "coefficient_depth", "threshold_depth", "program_depth",
          "value_depth")
FACTORS = (2, 4, 8, 16, 32)
MOST = {"tap_depth": 4096, "program_depth": 4096}  # the others hold 65,536 words
VALUES = 256  # residual values of a configuration that has none, before a factor
COST_IMAGES = 100  # what the exporter wants at least
LEAST_BITS = 8  # of coefficients, before a network counts as not fitting
PLANES = (1, 3, 5)
REAL_PLANES = (1, 2, 3, 5)
BASELINE = scheme("real")


class StudyError(AbacusError):
    """A study that cannot run; the message is one sentence."""


@dataclass(frozen=True)
class Study:
    """Settings that all runs of a study share."""

    network: str
    data: str
    images: int  # training images, the first ones
    test_images: int  # the same
    start: Recipe  # of the full-precision network that all others start from
    recipe: Recipe  # of all others
    preset: str
    init: str = ""  # file of weights in place of a start from a seed; as they are, they are the baseline

    def settings(self, using: Scheme, seed: int) -> dict[str, Any]:
        """What the result of one run follows from."""
        mine = asdict(self)
        mine |= {"init": Path(self.init).name} if mine.pop("init") else {}
        return {"version": VERSION, **mine, "scheme": using.to_json(), "seed": seed,
                "torch": torch.__version__.split("+")[0]}


@dataclass(frozen=True)
class Cost:
    """What a network takes on one configuration: cycles per image; bits of weights, coefficients and thresholds as
    stored; peak activation bits; binary convolutions per layer after recoding, the most of any layer; width of the
    coefficients; what is deeper than in the configuration. Why not, if it does not fit.
    """

    cycles: int = 0
    parameter_bits: int = 0
    activation_bits: int = 0
    convolutions: int = 0
    coefficient_bits: int = 0
    deeper: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """Outcome of one run; accuracies are shares of the test set. Integer figures are None without an integer graph.

    seconds: processor time of training and of both accuracies; None if not all of it was spent in one go.
    double_agreement: `sw.export.Agreement`.
    """

    label: str
    seed: int
    float_accuracy: float
    integer_accuracy: float | None
    agreement: float | None
    deviation: float | None
    digest: str
    seconds: float | None = None
    double_agreement: float | None = None

    @property
    def accuracy(self) -> float:
        """Of the accelerator's integers where there are any, in per cent."""
        return 100 * (self.float_accuracy if self.integer_accuracy is None else self.integer_accuracy)

    @classmethod
    def from_json(cls, text: str) -> Result:
        return cls(**json.loads(text))


def points() -> list[Scheme]:
    """Every scheme of the study once, the most telling first: a study may be stopped early."""
    grid = [scheme("abc", M=m, N=n) for m in PLANES for n in PLANES]
    corners = [scheme("abc", M=m, N=m, **{what: True}) for what in ("symmetric", "channelwise") for m in (3, 5)]
    real = [scheme("abc-real", M=m) for m in REAL_PLANES]
    others = [scheme(name) for name in ("bwn", "bnn", "xnor", "dorefa")]
    more = [scheme("abc", M=1, N=1, channelwise=True), scheme("abc", M=3, N=5, symmetric=True),
            scheme("abc", M=5, N=3, symmetric=True)]
    return [BASELINE, *grid, *real, *corners, *others, *more]


def digest(settings: dict[str, Any]) -> str:
    """A short name for settings: equal exactly when they are."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


def results_of(study: Study, schemes: list[Scheme], seeds: list[int], dataset: Dataset, config: Config, folder: Path, *,
               quiet: bool = False) -> Iterator[Result]:
    """Results of all schemes and seeds, trained unless they are in `folder` already. A killed study goes on there."""
    for seed in seeds:
        for using in schemes:
            path = folder / f"{digest(study.settings(using, seed))}.json"
            result = load(study, using, seed, folder)
            if result is None:
                result = _train(study, using, seed, dataset, config, folder, quiet)
                temporary = path.with_name(path.name + ".part")
                temporary.write_text(json.dumps(asdict(result), indent=1))
                os.replace(temporary, path)
            yield result


def load(study: Study, using: Scheme, seed: int, folder: Path) -> Result | None:
    """A result that is there already."""
    path = folder / f"{digest(study.settings(using, seed))}.json"
    try:
        return Result.from_json(path.read_text()) if path.exists() else None
    except (OSError, ValueError, TypeError, KeyError):
        raise StudyError(f"result {path} must be an undamaged result of a study: remove it to run it again") from None


def _train(study: Study, using: Scheme, seed: int, dataset: Dataset, config: Config, folder: Path,
           quiet: bool) -> Result:
    """The result of one run. Its weights stay in the folder, so that it can be judged again without training."""
    name = digest(study.settings(using, seed))
    path, began = folder / f"{name}.npz", time.process_time()
    trained = path.exists() or path.with_suffix("").exists()
    if not path.exists():
        start = _start(study, seed, dataset, folder, quiet)
        torch.manual_seed(seed)
        model = architecture(study.network, using).build()
        weights = checkpoint.load(start).state_dict()
        model.load_state_dict({key: weights.get(key, value) for key, value in model.state_dict().items()})
        if study.init and using != BASELINE:
            adapt(model, np.asarray(dataset.train_images[:ADAPTED_BY]))
        recipe = replace(study.recipe, epochs=0) if study.init and using == BASELINE else study.recipe
        _fit(model, dataset, recipe, seed, path, start.name, None if quiet else f"{using}, seed {seed}")
    return replace(_judge(checkpoint.load(path), dataset, config), label=str(using), seed=seed, digest=name,
                   seconds=None if trained else time.process_time() - began)


def _fit(model: Network, dataset: Dataset, recipe: Recipe, seed: int, path: Path, start: str,
         title: str | None) -> None:
    """Train, going on where an earlier attempt was killed, and save the weights to `path`."""
    if title:
        print(title, file=sys.stderr)
    work = path.with_suffix("")
    work.mkdir(exist_ok=True)
    Trainer(model, dataset, recipe, seed, folder=work, start=start, quiet=title is None).run()
    checkpoint.save(path, model)
    shutil.rmtree(work)


def _judge(model: Network, dataset: Dataset, config: Config) -> Result:
    """Float and integer accuracy of a trained network."""
    sample, test = np.asarray(dataset.train_images[:CALIBRATION]), np.asarray(dataset.test_images[:])
    graph, _ = _fitting(model, sample, config)
    if graph is None:
        return Result("", 0, evaluate(model, test, dataset.test_labels), None, None, None, "")
    report = agreement(model, graph, test, dataset.test_labels)
    return Result("", 0, report.float_accuracy, report.integer_accuracy, report.argmax_agreement,
                  report.logit_deviation, "", double_agreement=report.double_agreement)


def _fitting(model: Network, images: np.ndarray, config: Config) -> tuple[Graph | None, Cost]:
    """The graph with coefficients as wide as the configuration holds after recoding, which adds symmetric ones up."""
    graph, found = None, Cost()
    for bits in range(config.coefficient_bits, LEAST_BITS - 1, -1):
        try:
            graph = export(model, images=images, coefficient_bits=bits)
        except ExportError as error:
            return None, Cost(reason=str(error))
        found = replace(cost(graph, config), coefficient_bits=bits)
        if "signed bits" not in found.reason:
            break
    return graph, found


def cost_of(study: Study, using: Scheme, config: Config) -> Cost:
    """Cost of a scheme on the study's network, from today's compiler: it follows from shapes and planes, not from what
    was learnt, so weights are random here, and so are betas, lest equal ones look symmetric.
    """
    torch.manual_seed(0)
    model = architecture(study.network, using).build()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("beta"):
                parameter.uniform_(0.5, 1.5)
    shape = (COST_IMAGES, *model.architecture.image)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return _fitting(model, images, config)[1]


def _start(study: Study, seed: int, dataset: Dataset, folder: Path, quiet: bool) -> Path:
    """Checkpoint of the full-precision network that all others start from: trained, or given weights as they are."""
    settings = replace(study, recipe=study.start).settings(BASELINE, seed)
    path = folder / f"start-{digest(settings)}.npz"
    if not path.exists():
        torch.manual_seed(seed)
        model = architecture(study.network, BASELINE).build()
        if study.init:
            start_from(model, study.init, dataset.train_images)
        _fit(model, dataset, study.start, seed, path, "seed", None if quiet else f"full-precision start, seed {seed}")
    return path


def cost(graph: Graph, config: Config) -> Cost:
    """Cost of a graph on a configuration, as its compiled program has it; with deeper memories if need be, which cost
    block RAM and no cycles. All of the network stays in them.
    """
    reason = ""
    for deeper, larger in _deeper(config):
        try:
            program = compile(graph, larger)
        except CompileError as error:
            reason = str(error)
            continue
        if len(program.stream):  # whose time is the link's
            reason = f"{len(program.stream)} bytes of parameters must travel with every image"
            continue
        memory = {space: larger.memories[space] for space in program.memories}
        bits = sum(words.shape[0] * words.shape[1] * memory[space].bits for space, words in program.memories.items())
        planes = [stage.planes.split(" ")[0].split("x") for stage in program.stages if "x" in stage.planes]
        activation_bits = program.activation_words * config.pixel_lanes * config.N * config.word
        return Cost(program.predicted_cycles, bits, activation_bits,
                    max(int(np.prod([int(count) for count in pair])) for pair in planes[1:]), deeper=deeper)
    return Cost(reason=reason)


def _deeper(config: Config) -> Iterator[tuple[str, Config]]:
    """(what is deeper, configuration): as it is, with more coefficients, with more of everything."""
    yield "", config
    depth = 2 * config.coefficient_depth
    while depth <= DEEPEST:
        yield f"{depth} coefficients", config.replace(coefficient_depth=depth)
        depth *= 2
    for factor in FACTORS:
        depths = {name: getattr(config, name) for name in DEPTHS} | {"value_depth": config.value_depth or VALUES}
        yield f"all memories x{factor}", config.replace(**{
            name: min(factor * depth, MOST.get(name, 1 << 16)) for name, depth in depths.items()})
