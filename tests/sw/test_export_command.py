"""`python -m sw export`: widths are chosen by agreement, printed and kept in the file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sw import artifact, cli, data
from sw.abcnet import checkpoint
from sw.abcnet.architecture import Architecture, BlockSpec, head
from sw.abcnet.schemes import scheme
from sw.export import AGREEMENT, COEFFICIENT_BITS, MOST_BITS, export

MODELS = Path(__file__).parents[2] / "models"


def test_digits_are_exported_again_to_the_same_file(tmp_path, capsys):
    """Widths, agreement and integers are those of the file in the repository."""
    out = tmp_path / "digits.abacus"
    out.write_bytes((MODELS / "digits.abacus").read_bytes())
    assert cli.main(["export", str(MODELS / "digits.npz"), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "digits, abc 2x2: 12 coefficient bits, 12 image coefficient bits" in printed
    assert "argmax agreement 1.0000" in printed
    made, kept = (artifact.load(path).graph for path in (out, MODELS / "digits.abacus"))
    assert made.metadata == kept.metadata
    for a, b in zip(made.layers, kept.layers, strict=True):
        assert np.array_equal(a.coefficients, b.coefficients)
        assert a.thresholds is None or np.array_equal(a.thresholds, b.thresholds)


def hard(seed=0):
    """A network whose classes hang on the last bits: logits all but equal."""
    torch.manual_seed(seed)
    blocks = (BlockSpec(6, 3), BlockSpec(6, 3), head(10))
    return Architecture("hard", (8, 8, 1), blocks, scheme("abc")).build().eval()


def test_wider_coefficients_are_taken_where_twelve_bits_do_not_agree():
    model, images = hard(), data.load("digits").train_images[:400]
    graph = export(model, images=images)
    bits = int(graph.metadata["coefficient_bits"])
    told = graph.metadata["calibration"].removeprefix("400 images agree ")
    shares = [float(part.split()[0]) for part in told.split(",")]
    assert COEFFICIENT_BITS < bits <= MOST_BITS
    assert len(shares) == bits - COEFFICIENT_BITS + 1
    assert all(share < AGREEMENT for share in shares[:-1])
    assert bits == MOST_BITS or shares[-1] >= AGREEMENT
    assert max(np.abs(layer.coefficients).max() for layer in graph.layers[1:]) < 1 << (bits - 1)


def test_width_can_be_given(tmp_path, capsys):
    path = tmp_path / "hard.npz"
    checkpoint.save(path, hard())
    assert cli.main(["export", str(path), "--dataset", "digits", "--bits", "9"]) == 0
    assert "hard, abc 3x3: 9 coefficient bits, 9 image coefficient bits" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["none.npz"], "checkpoint none.npz must exist"),
    ([str(MODELS / "digits.npz"), "-o", "x.npz"], "output must be a .abacus file in a directory that exists, not x"),
    ([str(MODELS / "digits.npz"), "-o", "none/x.abacus"], "output must be a .abacus file in a directory that exists"),
    ([str(MODELS / "digits.npz"), "--bits", "40"], "coefficient_bits must be in 2..24, not 40"),
    ([str(MODELS / "digits.npz"), "--dataset", "cats"], "data set must be one of digits"),
])
def test_bad_input_is_one_sentence(arguments, message, capsys):
    assert cli.main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
