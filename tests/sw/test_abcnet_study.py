"""The study: runs cached by their settings, resumed, costed and reported; and the benchmark of training steps."""

import csv
import json
import re
from dataclasses import replace

import pytest
import torch

from hw.arch.config import preset
from sw.abcnet import checkpoint, plots, speed, study
from sw.abcnet.models import architecture
from sw.abcnet.recipe import Recipe
from sw.abcnet.report import Report
from sw.abcnet.schemes import scheme
from sw.abcnet.study import Cost, Result, Study, points
from sw.cli import main
from sw.export import export

SETTINGS = Study("digits", "digits", 64, 30, Recipe(0, 1), Recipe(0, 2), "small")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A quick study, and where its report and its runs are."""
    folder = tmp_path_factory.mktemp("study")
    arguments = ["study", "--quick", "--quiet", "--out", str(folder / "report"), "--runs", str(folder / "runs")]
    assert main(arguments) == 0
    return folder, arguments


def test_a_quick_study_writes_its_report(quick):
    folder, _ = quick
    text = (folder / "report" / "README.md").read_text()
    rows = list(csv.DictReader((folder / "report" / "results.csv").read_text().splitlines()))
    assert [row["scheme"] for row in rows] == [
        "real", "abc 1x1", "abc 3x3", "abc-real 3xFP", "abc 3x3 symmetric", "dorefa W1A4"]
    by_name = {row["scheme"]: row for row in rows}
    assert f"| 3 x 3 | {100 * float(by_name['abc 3x3']['integer accuracy']):.2f} |" in text
    assert "python -m sw study --quick --seeds 0" in text
    assert by_name["abc 3x3"]["command"] == 'python -m sw study --quick --seeds 0 --only "abc 3x3" --seeds 0'
    assert all(float(row["agreement"]) >= 0.9 for row in rows)
    for name in ("planes.png", "frontier.png"):
        assert (folder / "report" / name).read_bytes()[:4] == b"\x89PNG"


def test_symmetric_coefficients_need_fewer_convolutions_and_cycles(quick):
    rows = list(csv.DictReader((quick[0] / "report" / "results.csv").read_text().splitlines()))
    cost = {row["scheme"]: (int(row["convolutions"]), int(row["cycles"])) for row in rows}
    assert (cost["abc 1x1"][0], cost["abc 3x3"][0], cost["abc 3x3 symmetric"][0]) == (1, 9, 4)
    assert cost["abc 1x1"][1] < cost["abc 3x3 symmetric"][1] < cost["abc 3x3"][1]


def test_what_is_there_is_not_trained_again(quick, monkeypatch, capsys):
    folder, arguments = quick
    before = (folder / "report" / "README.md").read_text()
    monkeypatch.setattr(study, "_train", lambda *_: pytest.fail("trained again"))
    assert main(arguments) == 0
    assert main([*arguments, "--report"]) == 0
    assert (folder / "report" / "README.md").read_text() == before
    assert "6 of 6 runs" in capsys.readouterr().out


def test_a_killed_study_goes_on_with_the_same_figures(quick, tmp_path, monkeypatch):
    """Killed in the third run's training: two results and a state are there, and the rest follows as if nothing was."""
    class Killed(BaseException):
        pass

    steps = []

    def killing(self, images, labels, optimizer, real=study.Trainer._step):
        steps.append(1)
        if len(steps) > 14:
            raise Killed
        return real(self, images, labels, optimizer)

    arguments = ["study", "--quick", "--quiet", "--out", str(tmp_path / "report"), "--runs", str(tmp_path / "runs")]
    with monkeypatch.context() as patch:
        patch.setattr(study.Trainer, "_step", killing)
        with pytest.raises(Killed):
            main(arguments)
    assert len(list((tmp_path / "runs").glob("*.json"))) == 2
    assert main([*arguments, "--only", "abc 3x3"]) == 0
    kept, found = ({path.name: json.loads(path.read_text()) | {"seconds": 0} for path in folder.glob("runs/*.json")}
                   for folder in (quick[0], tmp_path))
    assert len(found) == 3
    assert all(kept[key] == value for key, value in found.items())


def test_a_study_starts_from_given_weights(tmp_path, capsys):
    """They are the baseline as they are, and the report does not say where they lay."""
    torch.manual_seed(0)
    weights = tmp_path / "weights.npz"
    checkpoint.save(weights, architecture("digits", scheme("real")).build())
    arguments = ["study", "--quick", "--quiet", "--init", str(weights), "--out", str(tmp_path / "report"),
                 "--runs", str(tmp_path / "runs")]
    for label in ("real", "abc 3x3"):
        assert main([*arguments, "--only", label]) == 0
    runs = tmp_path / "runs"
    found = {json.loads(path.read_text())["label"]: path.with_suffix(".npz") for path in runs.glob("*.json")}
    first = checkpoint.load(weights).state_dict()
    real, quantised = (checkpoint.load(found[label]) for label in ("real", "abc 3x3"))
    assert all(torch.equal(value, first[name]) for name, value in real.state_dict().items() if "conv" in name)
    assert not torch.equal(quantised.blocks["block0"].conv.weight, first["blocks.block0.conv.weight"])
    assert not torch.equal(quantised.blocks["block0"].activation.v, architecture(
        "digits", scheme("abc")).build().blocks["block0"].activation.v)
    text = (tmp_path / "report" / "README.md").read_text()
    assert "the weights weights.npz, which are the full-precision baseline as they are" in text
    assert re.search(r"2 runs took \d+ minutes of processor time", text)
    assert str(tmp_path) not in text
    assert "--float-epochs" not in text


def test_settings_decide_what_is_the_same_run():
    def digest(of=SETTINGS, using="bnn", seed=0):
        return study.digest(of.settings(scheme(using), seed))

    assert digest() == digest()
    others = {digest(seed=1), digest(using="xnor"), digest(replace(SETTINGS, images=65)),
              digest(replace(SETTINGS, recipe=Recipe(0, 3))), digest(replace(SETTINGS, start=Recipe(0, 2))),
              digest(replace(SETTINGS, init="x.npz"))}
    assert digest(replace(SETTINGS, init="a/x.npz")) == digest(replace(SETTINGS, init="b/x.npz"))
    assert len(others | {digest()}) == 7


def test_points_have_names_of_their_own():
    labels = [str(using) for using in points()]
    assert len(set(labels)) == len(labels) == 25
    assert {"real", "abc 5x5", "abc-real 2xFP", "abc 5x5 symmetric", "abc 5x5 channelwise", "bnn"} <= set(labels)


def result(label, accuracy, seed=0):
    return Result(label, seed, accuracy, accuracy, 1.0, 0.0, "0")


def test_report_averages_seeds_and_marks_the_frontier(tmp_path):
    results = [result("real", 0.9), result("real", 0.8, 1), result("abc 3x3", 0.8), result("abc 1x1", 0.82),
               Result("bnn", 0, 0.5, None, None, None, "0")]
    costs = {label: Cost(cycles, 1000, 1000, 1) for label, cycles in (("real", 100), ("abc 3x3", 50), ("abc 1x1", 40))}
    costs["bnn"] = Cost(reason="too large")
    Report(SETTINGS, preset("small"), results, costs, "command", (64, 300)).write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "| 3 x 3 | 80.00 | -5.00 | 61.0 | -8.3 |" in text
    assert "| 5 x 5 | - | - | 65.0 | -4.3 |" in text
    assert "| abc 1x1 | 82.00 | * | 40 | 1 | 1 |" in text
    assert "| abc 3x3 | 80.00 |  | 50 | 1 | 1 |" in text
    assert "| real | 85.00 | * | 100 | 1 | 1 |" in text
    assert "| bnn | 50.00 |  | too large | - | - |" in text
    assert "- Two more planes" not in text
    assert "- Shortened: 4 of the 25 schemes were run; '-' stands for what was not." in text
    assert "- Worth their cycles: abc 1x1, real." in text
    assert "is reached by 4 of 4 runs" in text
    assert "| abc 3x3 | 0 | 80.00 | 80.00 | 100.00 | - |" in text
    assert "# Study: digits on digits, shortened" in text
    assert "per cent of 30 of 300 test images" in text
    assert "- Training images: 64." in text
    assert [line[3] for line in text.splitlines() if line.startswith("## ")] == ["I", "2", "3", "6", "7"]


def test_report_answers_in_short(tmp_path):
    found = {"real": 0.9, "abc 1x1": 0.7, "abc 3x1": 0.69, "abc 3x3": 0.8, "abc 5x5": 0.85, "abc-real 5xFP": 0.895,
             "abc 3x3 symmetric": 0.798}
    results = [result(label, accuracy) for label, accuracy in found.items()]
    Report(SETTINGS, preset("small"), results, dict.fromkeys(found, Cost(40, 1000, 1000, 1)), "command",
           (64, 300)).write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "- Two more planes of weights or activations: better in 1 of 2 cases." in text
    assert "- abc 5x5: -5.00 points to full precision; -4.3 in the paper." in text
    assert "- abc-real 5xFP: -0.50 points to full precision; -1.0 in the paper." in text
    assert "recodes: -0.20 (3 x 3) points; the aim is -0.3 or better." in text


@pytest.mark.parametrize(("label", "family", "text"), [
    ("abc 3x5", "abc", "3x5"), ("abc 3x5 symmetric", "symmetric", "3x5"), ("abc 1x1 channelwise", "channelwise", "1x1"),
    ("abc-real 2xFP", "abc-real", "2xFP"), ("dorefa W1A4", "others", "dorefa W1A4"), ("real", "others", "real"),
])
def test_points_of_a_family_look_alike(label, family, text):
    point = plots.Point(label, 1, 1.0, False)
    assert (point.family, point.text) == (family, text)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--only", "abc 9x9"], "--only must be one of real, abc 1x1, .*, not 'abc 9x9'"),
    (["--images", "0"], "--images must be in 1..1437, not 0"),
    (["--test-images", "999"], "--test-images must be in 1..360, not 999"),
    (["--seeds", "1,x"], "--seeds must be non-negative integers with commas between, not '1,x'"),
    (["--epochs", "-1"], "epochs must be in 0..10000, not -1"),
    (["--preset", "huge"], "preset must be one of .*, not 'huge'"),
    (["--network", "alexnet"], "model must be one of .*, not 'alexnet'"),
    (["--dataset", "cats"], "data set must be one of .*, not 'cats'"),
    (["--report"], "--runs .* must hold results of this study to report, but has none"),
])
def test_bad_command_lines_end_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "--network", "digits", "--dataset", "digits", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1


def test_damaged_results_are_refused(tmp_path):
    path = tmp_path / f"{study.digest(SETTINGS.settings(scheme('bnn'), 0))}.json"
    for text in ("", "{}", json.dumps({"label": 1})):
        path.write_text(text)
        with pytest.raises(study.StudyError, match="must be an undamaged result of a study: remove it to run it again"):
            study.load(SETTINGS, scheme("bnn"), 0, tmp_path)


def test_speed_measures_every_pair_of_planes(monkeypatch, capsys, tmp_path):
    """Figures of a layer this small mean nothing; the table and the verdict do."""
    monkeypatch.setattr(speed, "SHAPES", (speed.Shape(2, 3, 4, 5),))
    for limit, status in ((0.0, 1), (1e9, 0)):
        monkeypatch.setattr(speed, "LIMIT", limit)
        assert main(["bench", "--training", "--rounds", "1", "--output", str(tmp_path / "steps.md")]) == status
    text = (tmp_path / "steps.md").read_text()
    assert "3 -> 4 channels, 5 x 5, batch 2: plain" in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line[:3] in [f"| {m}" for m in range(1, 6)]]
    assert [len(row) for row in rows] == [6] * 5
    ratios = [float(cell) for row in rows for cell in row[1:]]
    assert all(ratio > 0 for ratio in ratios)
    assert f"largest ratio {max(ratios):.2f}" in capsys.readouterr().out


def test_a_ratio_is_of_steps_one_after_the_other(monkeypatch):
    """A machine that gets three times slower meanwhile changes no ratio."""
    count = iter(range(1000))
    monkeypatch.setattr(speed, "_step", lambda layer, x, grad: (
        (3.0 if next(count) >= 50 else 1.0) * (1.0 if isinstance(layer, torch.nn.Conv2d) else 1.5)))
    seconds, found = speed.ratios(speed.Shape(1, 1, 1, 3), 1)
    assert (seconds, set(found.values())) == (3.0, {1.5})


def test_bench_refuses_an_output_that_cannot_be(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(speed, "SHAPES", ())
    assert main(["bench", "--training", "--output", str(tmp_path / "no" / "file.md")]) == 2
    assert re.search("--output .*file.md cannot be written: No such file", capsys.readouterr().err)


def test_a_deeper_coefficient_memory_where_the_preset_has_too_little():
    """5 x 5 with activations recoded to 3 planes: 40 + 3 * 120 words; and deeper memories all in all."""
    torch.manual_seed(0)
    graph = export(architecture("digits", scheme("abc", M=5, N=5)).build(), coefficient_bits=9)
    full = study.cost(graph, preset("medium"))
    deeper = study.cost(graph, preset("medium").replace(coefficient_depth=64))
    assert (full.deeper, deeper.deeper) == ("", "512 coefficients")
    assert full.cycles == deeper.cycles > 0
    everything = study.cost(graph, preset("medium").replace(threshold_depth=64))
    assert (everything.deeper, everything.cycles) == ("all memories x4", full.cycles)
    assert not study.cost(graph, preset("medium").replace(threshold_depth=2)).cycles
