"""The models kept in the repository: what they are, and that their golden logits are the reference's."""

from pathlib import Path

import numpy as np
import pytest

from sw import artifact, data
from sw.abcnet.reference import reference

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


def test_digits_accuracy_is_what_its_card_says():
    graph = artifact.load(MODELS / "digits.abacus").graph
    dataset = data.load("digits")
    right = (reference(graph, dataset.test_images, keep=False).logits.argmax(1) == dataset.test_labels).mean()
    assert f"integer accuracy {right:.4f}" in graph.metadata["test"]
    assert f"{100 * right:.2f} %" in (MODELS / "README.md").read_text()
    assert right >= 0.95
