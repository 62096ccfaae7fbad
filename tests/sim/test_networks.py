"""Whole networks of random weights: exact in the emulator, and in the RTL, cycle for cycle."""

import pytest

from hw.arch.config import preset
from sim.core.frames import replay
from sim.networks import build
from sim.networks.__main__ import main
from sw.compiler import compile
from tests.graphs import random_images
from tests.sim.test_core import case

CONFIG = preset("tiny").replace(
    weight_depth=2048, activation_depth=8192, value_depth=2048, threshold_depth=1024, coefficient_depth=1024,
    tap_depth=1024, program_depth=256, accumulator_bits=18, sum_bits=32, coefficient_bits=14)


def test_lenet5_in_rtl():
    graph = build.lenet5()
    replay(case(graph, CONFIG, random_images(graph, 1)))


def test_cnv_fits_the_large_preset():
    assert compile(build.cnv(), preset("large")).predicted_cycles < 7_500


def test_tables_are_of_exact_networks(tmp_path, capsys):
    document = tmp_path / "networks.md"
    assert main(["lenet5", "--output", str(document)]) == 0
    assert "| conv1 | 5x5, pool 2 | 1x8 |" in document.read_text()
    assert capsys.readouterr().out.strip() in document.read_text()


def test_an_unknown_network_is_one_sentence(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["alexnet"])
    assert capsys.readouterr().err.startswith("sim.networks: network must be one of lenet5, ")
