"""The report of a study: markdown with tables, plots as PNG and all figures as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from statistics import mean

from hw.arch.config import Config
from sw.export import AGREEMENT

from . import plots
from .schemes import Scheme, scheme
from .study import BASELINE, PLANES, REAL_PLANES, Cost, Result, Study, StudyError, points

# Top-1 of ResNet-18 on ImageNet (Lin, Zhao, Pan, NIPS 2017, tables 1 to 3).
PAPER_FULL = 69.3
PAPER_GRID = {(1, 1): 42.7, (3, 1): 49.1, (3, 3): 61.0, (3, 5): 63.1, (5, 1): 54.1, (5, 3): 62.5, (5, 5): 65.0}
PAPER_REAL = {1: 62.8, 2: 63.7, 3: 66.2, 5: 68.3}
PAPER_SCHEMES = {"bwn": 60.8, "dorefa": 59.2, "xnor": 51.2, "bnn": 42.2}
RECODED = ((3, 3), (5, 5), (3, 5), (5, 3))  # M x N with a symmetric form
ABSENT = "-"


class Report:
    """All results of a study; what is missing shows as '-'."""

    def __init__(self, study: Study, config: Config, results: Sequence[Result], costs: Mapping[str, Cost],
                 command: str, whole: tuple[int, int]):
        """whole: training and test images that the data set has, of which the study may take fewer."""
        self.study, self.config, self.costs, self.command, self.whole = study, config, costs, command, whole
        self.results = sorted(results, key=lambda result: result.seed)
        self.by_label: dict[str, list[Result]] = {}
        for result in self.results:
            self.by_label.setdefault(result.label, []).append(result)

    def write(self, folder: Path) -> None:
        """README.md, results.csv and the plots, in `folder`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._csv(folder / "results.csv")
            self._plots(folder)
            (folder / "README.md").write_text("\n".join(self._text()) + "\n")
        except OSError as error:
            raise StudyError(f"report {folder} cannot be written: {error.strerror}") from None

    def accuracy(self, using: Scheme) -> float | None:
        """Test accuracy in per cent, the mean over the seeds; None before a run."""
        found = self.by_label.get(str(using))
        return None if not found else mean(result.accuracy for result in found)

    def _cell(self, using: Scheme) -> str:
        value = self.accuracy(using)
        return ABSENT if value is None else f"{value:.2f}"

    def _difference(self, one: Scheme, other: Scheme) -> str:
        a, b = self.accuracy(one), self.accuracy(other)
        return ABSENT if a is None or b is None else f"{a - b:+.2f}"

    def _text(self) -> list[str]:
        study, recipe = self.study, self.study.recipe
        seeds = sorted({result.seed for result in self.results})
        lines = [
            f"# Study: {study.network} on {study.data}{self._shortened()}", "",
            "Written by the command below, which trains what is not cached; nothing here is typed by hand. Accuracies "
            "are those of the integer graph, the accelerator's arithmetic, in per cent of "
            f"{self._of(study.test_images, 1)} test images; of the float network where section 6 says that there is no "
            "graph.", "", f"    {self.command}", "",
            self._start(),
            f"- {recipe.optimizer}, rate {recipe.rate:g}, {recipe.schedule} schedule, batch {recipe.batch}, shift "
            f"{recipe.shift}, flip {recipe.flip}. Seeds: {', '.join(map(str, seeds))}; several are averaged.",
            f"- Every layer is quantised, first and last included. {self._error()}",
            "- `results.csv` has float accuracy, agreement, seed, cost and command of every run. The columns \"paper\" "
            "are the ABC-Net paper's own top-1 for ResNet-18 on ImageNet, not ours: only the order compares.", "",
        ]
        if len(self.by_label) < len(points()):
            lines[-1:-1] = [f"- Shortened: {len(self.by_label)} of the {len(points())} schemes were run; '-' stands "
                            "for what was not."]
        lines += self._short()
        labels = set(self.by_label)
        for section, needs in ((self._weights, {str(scheme("abc-real", M=m)) for m in REAL_PLANES}),
                               (self._grid, {str(scheme("abc", M=m, N=n)) for m in PLANES for n in PLANES}),
                               (self._schemes, {str(scheme(name)) for name in PAPER_SCHEMES}),
                               (self._channelwise, {label for label in labels if "channelwise" in label}),
                               (self._symmetric, {label for label in labels if "symmetric" in label})):
            if needs & labels:
                lines += section()
        return [*lines, *self._costs(), *self._exactness()]

    def _short(self) -> list[str]:
        """The answers, as far as there are any: how accuracy rises, how far it stays behind, what recoding costs."""
        lines, steps = ["## In short", ""], []
        for m, n in ((m, n) for m in PLANES for n in PLANES):
            here = self.accuracy(scheme("abc", M=m, N=n))
            for more in ((m + 2, n), (m, n + 2)):
                if max(more) <= max(PLANES) and here is not None:
                    there = self.accuracy(scheme("abc", M=more[0], N=more[1]))
                    steps += [] if there is None else [there > here]
        if steps:
            lines.append(f"- Two more planes of weights or activations: better in {sum(steps)} of {len(steps)} cases.")
        for using, theirs in ((scheme("abc-real", M=5), PAPER_REAL[5]), (scheme("abc", M=5, N=5), PAPER_GRID[5, 5])):
            gap = self._difference(using, BASELINE)
            if gap != ABSENT:
                lines.append(f"- {using}: {gap} points to full precision; {theirs - PAPER_FULL:+.1f} in the paper.")
        pairs = [(m, n) for m, n in RECODED if self._symmetric_loss(m, n) is not None]
        if pairs:
            losses = ", ".join(f"{self._symmetric_loss(m, n):+.2f} ({m} x {n})" for m, n in pairs)
            lines.append(f"- Symmetric coefficients, which the compiler recodes: {losses} points; the aim is -0.3 or "
                         "better.")
        best = [label for label, _ in self._by_cycles() if label in self._frontier()]
        return [*lines, *([f"- Worth their cycles: {', '.join(best)}."] if best else []), ""]

    def _symmetric_loss(self, m: int, n: int) -> float | None:
        free, symmetric = (self.accuracy(scheme("abc", M=m, N=n, symmetric=on)) for on in (False, True))
        return None if free is None or symmetric is None else symmetric - free

    def _shortened(self) -> str:
        return ", shortened" if (self.study.images, self.study.test_images) != self.whole else ""

    def _of(self, count: int, part: int) -> str:
        """A number of images, and of how many."""
        return f"{count:,}" if count == self.whole[part] else f"{count:,} of {self.whole[part]:,}"

    def _start(self) -> str:
        study, each = self.study, _epochs(self.study.recipe.epochs)
        text = f"- Training images: {self._of(study.images, 0)}. Start: "
        if study.init:
            text += (f"the weights {Path(study.init).name}, which are the full-precision baseline as they are; from "
                     f"them every other run trains {each}, its activations first placed by `sw/abcnet/adapt.py`.")
        else:
            text += (f"full precision, {_epochs(study.start.epochs)}; from it every run trains {each}, the "
                     "full-precision baseline too.")
        seconds = [result.seconds for result in self.results if result.seconds is not None]
        return text + (f" {len(seconds)} runs took {sum(seconds) / 60:.0f} minutes of processor time, their integer "
                       "tests included." if len(seconds) == len(self.results) else "")

    def _error(self) -> str:
        share = mean(result.accuracy for result in self.results) / 100
        error = 100 * (share * (1 - share) / self.study.test_images) ** 0.5
        return (f"On {self.study.test_images:,} images an accuracy of {100 * share:.0f} %, the mean of all runs, has a "
                f"standard error of {error:.2f} points: differences of that size mean nothing.")

    def _weights(self) -> list[str]:
        rows = [[str(m), self._cell(using), self._difference(using, BASELINE), f"{PAPER_REAL[m]:.1f}",
                 f"{PAPER_REAL[m] - PAPER_FULL:+.1f}"]
                for m in REAL_PLANES for using in [scheme("abc-real", M=m)]]
        rows.append(["full precision", self._cell(BASELINE), "", f"{PAPER_FULL:.1f}", ""])
        return ["## 1. How many weight planes, with full-precision activations?", "",
                *_table(["M", "accuracy", "gap", "paper", "paper's gap"], rows), ""]

    def _grid(self) -> list[str]:
        rows = []
        for m in PLANES:
            for n in PLANES:
                using, paper = scheme("abc", M=m, N=n), PAPER_GRID.get((m, n))
                rows.append([f"{m} x {n}", self._cell(using), self._difference(using, BASELINE),
                             ABSENT if paper is None else f"{paper:.1f}",
                             ABSENT if paper is None else f"{paper - PAPER_FULL:+.1f}"])
        return ["## 2. How many weight and activation planes, and how close to full precision?", "",
                *_table(["M x N", "accuracy", "gap", "paper", "paper's gap"], rows), "", "![](planes.png)", ""]

    def _schemes(self) -> list[str]:
        chosen = [scheme("abc", M=5, N=5), scheme("abc-real", M=5), *map(scheme, PAPER_SCHEMES), BASELINE]
        paper = [PAPER_GRID[5, 5], PAPER_REAL[5], *PAPER_SCHEMES.values(), PAPER_FULL]
        rows = [[str(using), self._cell(using), self._difference(using, BASELINE), f"{value:.1f}"]
                for using, value in zip(chosen, paper, strict=True)]
        return ["## 3. Against other schemes", "", *_table(["scheme", "accuracy", "gap", "paper"], rows), ""]

    def _channelwise(self) -> list[str]:
        rows = [[f"{m} x {m}", self._cell(scheme("abc", M=m, N=m)), self._cell(using),
                 self._difference(using, scheme("abc", M=m, N=m))]
                for m in PLANES for using in [scheme("abc", M=m, N=m, channelwise=True)]]
        return ["## 4. One alpha per layer, or per output channel?", "",
                "The paper proposes both and compares them nowhere. Per channel costs the accelerator coefficient "
                "memory, no cycles.", "",
                *_table(["M x N", "whole layer", "channel-wise", "difference"], rows), ""]

    def _symmetric(self) -> list[str]:
        rows = [[f"{m} x {n}", self._cell(scheme("abc", M=m, N=n)), self._cell(using),
                 self._difference(using, scheme("abc", M=m, N=n)), self._convolutions(scheme("abc", M=m, N=n)),
                 self._convolutions(using)]
                for m, n in RECODED
                for using in [scheme("abc", M=m, N=n, symmetric=True)]]
        return ["## 5. What does recoding cost?", "",
                "With symmetric coefficients the compiler reaches the same integers with fewer planes.", "",
                *_table(["M x N", "free", "symmetric", "difference", "convolutions free", "symmetric"], rows), ""]

    def _convolutions(self, using: Scheme) -> str:
        cost = self.costs.get(str(using), Cost())
        return str(cost.convolutions) if cost.cycles else ABSENT

    def _costs(self) -> list[str]:
        rows, frontier = [], self._frontier()
        lines = ["## 6. Accuracy per cycle", "",
                 f"Cycles and memories of preset `{self.study.preset}` ({self.config.macs_per_cycle:,} binary MAC a "
                 f"cycle, M = {self.config.M}, N = {self.config.N}), from the compiler, whose prediction is the "
                 "hardware's counter. All points run on the same bitstream, so LUTs do not differ: docs/boards.md has "
                 "those of finished builds, `python -m hw.build.cost` estimates others. A star marks the frontier: "
                 "nothing faster is as accurate. A dagger: needs deeper memories than the preset has, which "
                 "`results.csv` names; they cost block RAM.", ""]
        for label, results in self._by_cycles():
            cost, value = self.costs[label], mean(result.accuracy for result in results)
            star = "*" if label in frontier else ""
            dagger = "†" if cost.deeper else ""
            figures = ([f"{cost.cycles:,}{dagger}", f"{cost.parameter_bits / 1000:,.0f}",
                        f"{cost.activation_bits / 1000:,.0f}"] if cost.cycles else [cost.reason, ABSENT, ABSENT])
            rows.append([label, f"{value:.2f}", star, *figures])
        table = _table(["scheme", "accuracy", "frontier", "cycles", "parameters kbit", "activations kbit"], rows)
        return [*lines, *table, "", "![](frontier.png)", ""]

    def _exactness(self) -> list[str]:
        known = [result for result in self.results if result.agreement is not None]
        if not known:
            return []
        reached = sum((result.agreement or 0.0) >= AGREEMENT for result in known)
        rows = [[result.label, str(result.seed), *map(_percent, (
            result.float_accuracy, result.integer_accuracy, result.agreement, result.double_agreement))]
            for result in sorted(known, key=lambda result: -(result.agreement or 0.0))]
        return ["## 7. Integers against floats", "",
                "Shares of the test images, in per cent. \"Agreement\": float network and integer graph name the same "
                f"class; the aim, {100 * AGREEMENT:g} %, is reached by {reached} of {len(known)} runs. \"float32, "
                "float64\": the same float network does in single and in double precision. Thresholds make whole "
                "steps of rounding errors, and so do those of the next layers: where even double precision misses the "
                "aim, integers cannot be asked for it, and the two accuracies are what to compare. Weights and "
                "activations in full precision have 8 bits as integers.", "",
                *_table(["scheme", "seed", "float", "integer", "agreement", "float32, float64"], rows), ""]

    def _csv(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["scheme", "seed", "float accuracy", "integer accuracy", "agreement", "logit deviation",
                             "double agreement", *(field.name for field in fields(Cost)), "settings digest", "command"])
            for result in self.results:
                figures = (result.float_accuracy, result.integer_accuracy, result.agreement, result.deviation,
                           result.double_agreement)
                writer.writerow([result.label, result.seed,
                                 *("" if figure is None else f"{figure:.4f}" for figure in figures),
                                 *astuple(self.costs[result.label]), result.digest,
                                 f'{self.command} --only "{result.label}" --seeds {result.seed}'])

    def _plots(self, folder: Path) -> None:
        made = {"N full precision": lambda m: scheme("abc-real", M=m)} | {
            f"N = {n}": lambda m, n=n: scheme("abc", M=m, N=n) for n in PLANES}
        series = {name: [(m, value) for m in REAL_PLANES if (value := self.accuracy(make(m))) is not None]
                  for name, make in made.items()}
        plots.planes(folder / "planes.png", series, self.accuracy(BASELINE))
        best = self._frontier()
        plots.frontier(folder / "frontier.png", [
            plots.Point(label, cycles, mean(result.accuracy for result in results), label in best)
            for label, results in self.by_label.items() if (cycles := self.costs[label].cycles)], self.study.preset)

    def _frontier(self) -> set[str]:
        """Labels of the points than which nothing faster is as accurate."""
        found, best = set(), 0.0
        for label, results in self._by_cycles():
            value = mean(result.accuracy for result in results)
            if self.costs[label].cycles and value > best:
                found.add(label)
                best = value
        return found

    def _by_cycles(self) -> list[tuple[str, list[Result]]]:
        """Fastest first, of equal ones the most accurate; what has no cycles last."""
        return sorted(self.by_label.items(), key=lambda item: (
            self.costs[item[0]].cycles or 1 << 62, -mean(result.accuracy for result in item[1])))


def _percent(share: float | None) -> str:
    return ABSENT if share is None else f"{100 * share:.2f}"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A markdown table, the first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
