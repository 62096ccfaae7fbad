"""The cost model against the synthesis results that the repository keeps."""

import json
import re

import pytest

from boards import BOARDS
from hw.arch.config import PRESETS, Config, preset
from hw.build import calibrate, cost
from hw.build.errors import BuildError

# What boards are built with, as far as it has been synthesised for the model.
SHIPPED = sorted({(board.part.family, board.preset) for variants in BOARDS.values() for board in variants})
SAMPLES = {(record["family"], record["sample"]): record for record in cost.samples()}


@pytest.mark.parametrize(("family", "name"), [key for key in SHIPPED if key in SAMPLES])
def test_what_is_shipped_is_within_a_tenth(family, name):
    record = SAMPLES[family, name]
    config = Config(**record["config"])
    assert config.replace(clock_hz=1_000_000) == preset(name).replace(clock_hz=1_000_000)  # or calibrate again
    luts, ffs, kbits, multipliers = record["usage"]
    guess = cost.estimate(config, family)
    assert abs(guess.luts / luts - 1) <= 0.10
    assert abs(guess.ffs / ffs - 1) <= 0.10
    assert abs(guess.bram_kbits / kbits - 1) <= 0.10
    assert guess.multipliers == multipliers


@pytest.mark.parametrize("family", sorted(calibrate.BOARDS))
def test_more_of_anything_costs_more(family):
    base = preset("small")
    least = cost.estimate(base, family)
    for change in ({"column_lanes": 8}, {"word": 64}, {"row_lanes": 16}):
        more = cost.estimate(base.replace(**change), family)
        assert more.luts > least.luts
        assert more.ffs > least.ffs
        assert more.bram_kbits >= least.bram_kbits


def test_a_part_of_no_family():
    with pytest.raises(BuildError, match="^family must be one with samples of hw.build.calibrate, not 'ice40'$"):
        cost.estimate(preset("tiny"), "ice40")


def test_table(capsys):
    assert cost.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(cost.samples())
    assert re.match(r"\| \w+ \| [\w-]+ \| [\d,]+ \| [\d,]+ \| [+-][\d.]+% \|", lines[2])


def test_a_finished_build_is_a_sample(tmp_path, monkeypatch, capsys):
    kept = tmp_path / "synthesis.json"
    kept.write_text("[]")
    monkeypatch.setattr(calibrate, "RESULTS", kept)
    record = SAMPLES["ecp5", "tiny"]
    names = ("luts", "ffs", "bram_kbits", "multipliers")
    report = {
        "board": "ulx3s", "variant": "85", "configuration": "mine", "config": record["config"], "status": "routed",
        "synthesis": dict(zip(names, record["usage"], strict=True)),
        "blocks": {name: dict(zip(names, usage, strict=True)) for name, usage in record["blocks"].items()},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    for _ in range(2):
        assert calibrate.main(["--build", str(tmp_path)]) == 0
        assert json.loads(kept.read_text()) == [record | {"sample": "mine"}]
    del report["synthesis"]
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert calibrate.main(["--build", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"hw.build.calibrate: {tmp_path} has no synthesis result, its build ended as 'routed'\n")


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["ice40"], "family must be one of xc7, ecp5, gowin, not 'ice40'"),
    (["xc7", "--sample", "huge"], f"--sample must be one of {', '.join(PRESETS)}, .*, not 'huge'"),
])
def test_refusals_are_one_sentence(capsys, arguments, sentence):
    assert calibrate.main(arguments) == 1
    assert re.fullmatch(f"hw.build.calibrate: {sentence}\n", capsys.readouterr().err)
