"""The models kept in the repository: what they are, and that their golden logits are the reference's."""

import re
from pathlib import Path

import numpy as np
import pytest

from sw import artifact, data
from sw.abcnet import checkpoint
from sw.abcnet.layers import PositiveBatchNorm2d
from sw.abcnet.reference import reference
from sw.cli import main

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize(("name", "planes", "layers"), [("digits", 2, 4), ("fashion", 3, 5)])
def test_shipped_model(name, planes, layers):
    path = MODELS / f"{name}.abacus"
    assert path.stat().st_size < 2 << 20
    model = artifact.load(path)
    graph = model.graph
    assert len(graph.layers) == layers
    assert {layer.weight_planes for layer in graph.layers} == {planes}
    assert [layer.planes for layer in graph.layers] == [planes] * (layers - 1) + [0]
    assert len(model.golden_images) == 20
    assert np.array_equal(reference(graph, model.golden_images).logits, model.golden_logits)


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_cards_tell_what_the_files_say(name):
    facts = artifact.load(MODELS / f"{name}.abacus").graph.metadata
    figures = dict(re.findall(r"(float accuracy|integer accuracy|argmax agreement) ([01]\.\d+)", facts["test"]))
    column = 1 + ["digits", "fashion"].index(name)
    told = card((MODELS / "README.md").read_text(), column)
    assert told["coefficient bits"] == facts["coefficient_bits"]
    assert told["sum bits"] == facts["sum_bits"]
    assert told["float test accuracy"] == f"{100 * float(figures['float accuracy']):.2f} %"
    assert told["integer test accuracy"] == f"{100 * float(figures['integer accuracy']):.2f} %"
    assert told["argmax agreement, whole test set"] == f"{100 * float(figures['argmax agreement']):.2f} %"
    assert float(figures["argmax agreement"]) >= 0.999


def card(text, column):
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    return {row[1].strip(): row[1 + column].strip() for row in rows}


def test_cards_are_what_the_command_measures(tmp_path, capsys):
    """The column of the model whose data is always there."""
    shipped = (MODELS / "README.md").read_text()
    assert main(["cards", str(MODELS / "digits.abacus")]) == 0
    measured = capsys.readouterr().out
    assert card(measured, 1) == card(shipped, 1)
    assert len(card(measured, 1)) > 15
    assert measured.splitlines()[:6] == shipped.splitlines()[:6]
    assert main(["cards", str(MODELS / "digits.abacus"), "--output", str(tmp_path / "cards.md")]) == 0
    assert (tmp_path / "cards.md").read_text() == measured


def test_cards_refuse_what_does_not_belong_together(tmp_path, capsys):
    for name, suffix in (("digits", "abacus"), ("fashion", "npz")):
        (tmp_path / f"x.{suffix}").write_bytes((MODELS / f"{name}.{suffix}").read_bytes())
    assert main(["cards", str(tmp_path / "x.abacus")]) == 2
    assert "x.abacus must be exported from the checkpoint beside it, which is of fashion" in capsys.readouterr().err
    assert main(["cards", str(MODELS / "digits.abacus"), "--output", str(tmp_path / "no" / "x.md")]) == 2
    assert re.search("cards .*x.md cannot be written: No such file", capsys.readouterr().err)


@pytest.mark.parametrize(("name", "planes"), [("digits", 2), ("fashion", 3)])
def test_checkpoints_are_those_of_the_files(name, planes):
    """The same weight bits; what rounding makes of the rest is the exporter's test."""
    model = checkpoint.load(MODELS / f"{name}.npz")
    for layer, block in zip(artifact.load(MODELS / f"{name}.abacus").graph.layers, model.block_list, strict=True):
        bits = (block.conv.quantizer.planes(block.conv.weight)[0] > 0).numpy()
        flips = block.norm is not None and not isinstance(block.norm, PositiveBatchNorm2d)
        flipped = (block.norm.weight < 0).numpy() if flips else np.zeros(layer.channels, bool)
        assert np.array_equal(layer.weights, bits ^ flipped[None, :, None, None, None])
        assert layer.weight_planes == planes


def test_digits_accuracy_is_what_its_card_says():
    graph = artifact.load(MODELS / "digits.abacus").graph
    dataset = data.load("digits")
    right = (reference(graph, dataset.test_images, keep=False).logits.argmax(1) == dataset.test_labels).mean()
    assert f"integer accuracy {right:.4f}" in graph.metadata["test"]
    assert f"{100 * right:.2f} %" in (MODELS / "README.md").read_text()
    assert right >= 0.95
