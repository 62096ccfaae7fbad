"""The whole product in seconds: train, export, compile, emulate the device, drive it, compare with PyTorch."""

import re

import pytest

from hw.arch.config import preset
from sw import artifact
from sw.cli import main


@pytest.mark.parametrize("planes", [1, 2])
def test_the_whole_product(planes, tmp_path, capsys):
    model, compiled = tmp_path / "model.abacus", tmp_path / "compiled.abacus"
    configuration = {1: "tiny", 2: "tiny-2x2"}[planes]
    assert main(["train", "--model", "digits", "--out", str(model), "-M", str(planes), "-N", str(planes),
                 "--float-epochs", "3", "--epochs", "2", "--threads", "1", "--quiet"]) == 0
    assert re.search(r"float accuracy 0\.\d+, integer accuracy 0\.\d+, argmax agreement", capsys.readouterr().out)
    assert main(["compile", str(model), "-o", str(compiled), "--preset", configuration]) == 0
    program = artifact.load(compiled).program
    assert program.config == preset(configuration)
    capsys.readouterr()
    assert main(["run", str(compiled), "dataset:digits", "--limit", "40", "--check"]) == 0
    *_, cycles, accuracy, equal = capsys.readouterr().out.splitlines()
    assert equal == "equal 400/400"
    assert re.fullmatch(rf"40 images in [0-9.]+ s, {program.predicted_cycles} cycles each", cycles)
    right, total = map(int, re.fullmatch(r"accuracy (\d+)/(\d+)", accuracy).groups())
    assert total == 40 and right >= 20, "five epochs tell most digits apart"
