"""Training on a handful of digits, its command line, and checkpoints good and bad."""

import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sw import artifact, data
from sw.abcnet import checkpoint
from sw.abcnet.inference import evaluate, logits
from sw.abcnet.models import architecture
from sw.abcnet.recipe import Recipe, TrainError
from sw.abcnet.schemes import scheme
from sw.abcnet.train import train
from sw.cli import main

QUICK = Recipe(float_epochs=1, epochs=2, batch=32, rate=0.05)


@pytest.fixture(scope="module")
def digits():
    whole = data.load("digits")
    return replace(whole, train_images=whole.train_images[:320], train_labels=whole.train_labels[:320])


def build(seed=0):
    torch.manual_seed(seed)
    return architecture("digits").build()


def test_training_learns_and_repeats(digits):
    one, two = build(), build()
    before = evaluate(one, digits.test_images, digits.test_labels)
    accuracy = train(one, digits, replace(QUICK, float_epochs=4, epochs=6), seed=3, quiet=True)
    assert accuracy > max(0.5, before + 0.2)
    assert accuracy == evaluate(one, digits.test_images, digits.test_labels)
    assert train(two, digits, replace(QUICK, float_epochs=4, epochs=6), seed=3, quiet=True) == accuracy
    assert np.array_equal(logits(one, digits.test_images), logits(two, digits.test_images))


def test_adam_trains_too(digits):
    model = build()
    weight = model.blocks["head"].conv.weight
    start = weight.detach().clone()
    train(model, digits, replace(QUICK, optimizer="adam", rate=0.001, float_epochs=0, epochs=1), quiet=True)
    assert not torch.equal(start, weight)


def test_a_loss_that_is_not_finite_ends_in_a_sentence(digits):
    model = build()
    with torch.no_grad():
        model.blocks["head"].conv.bias.fill_(float("inf"))
    with pytest.raises(TrainError, match="loss must stay finite, but it was nan in epoch 1; try a lower --rate"):
        train(model, digits, QUICK, quiet=True)


@pytest.mark.parametrize(("change", "message"), [
    ({"epochs": -1}, "epochs must be in 0..10000, not -1"), ({"batch": 1}, "batch must be in 2..65536, not 1"),
    ({"rate": float("nan")}, "rate must be in 0.0..10.0, not nan"),
    ({"optimizer": "lbfgs"}, "optimizer must be one of sgd, adam, not 'lbfgs'")])
def test_impossible_recipes_are_refused(change, message):
    with pytest.raises(TrainError, match=message):
        replace(QUICK, **change)


def test_command_line_writes_model_and_checkpoint(tmp_path, capsys):
    out, weights = tmp_path / "d.abacus", tmp_path / "d.npz"
    status = main(["train", "--model", "digits", "--out", str(out), "--checkpoint", str(weights), "--float-epochs", "1",
                   "--epochs", "1", "-M", "1", "-N", "3", "--seed", "4", "--threads", "1", "--quiet"])
    assert status == 0
    assert "360 images, float accuracy 0." in capsys.readouterr().out
    assert out.stat().st_size > 1000
    assert len(checkpoint.load(weights).architecture.scheme.v) == 3


def test_options_from_a_file_and_flags_that_win(tmp_path, monkeypatch, capsys):
    """The file's epochs count, its rate does not; the second run starts from the first one's weights."""
    monkeypatch.chdir(tmp_path)
    Path("train.toml").write_text("""
        model = "digits"
        out = "d.abacus"
        checkpoint = "d.npz"
        scheme = "dorefa"
        float-epochs = 0
        epochs = 1
        rate = 7
        quiet = true
    """)
    assert main(["train", "--config", "train.toml", "--rate", "0.05"]) == 0
    assert "epochs=1, batch=64, rate=0.05" in artifact.load("d.abacus").graph.metadata["recipe"]
    first = checkpoint.load("d.npz")
    assert str(first.architecture.scheme) == "dorefa W1A4"
    assert main(["train", "--config", "train.toml", "--init", "d.npz", "--epochs", "0", "--scheme", "bwn",
                 "--checkpoint", "e.npz"]) == 0
    second = checkpoint.load("e.npz")
    assert str(second.architecture.scheme) == "bwn"
    for (name, one), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other), name
    capsys.readouterr()


@pytest.mark.parametrize(("text", "message"), [
    ("model = ", "config file c.toml must be readable TOML"),
    ("colour = 1", "config file c.toml option must be one of model, out, .*, quiet, not 'colour'"),
    ("epochs = 'two'", "config file c.toml option epochs must be of type int, not 'two'"),
    ("quiet = 1", "config file c.toml option quiet must be of type bool, not 1"),
    (None, "config file c.toml must be readable TOML: No such file or directory"),
])
def test_bad_config_files_end_in_one_sentence(tmp_path, monkeypatch, capsys, text, message):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("c.toml").write_text(text)
    assert main(["train", "--config", "c.toml"]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1


GIVEN = ["--model", "digits", "--out", "x.abacus"]


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "--out must name the model file to write"),
    (["--out", "x.abacus"], "--model must name the network to train"),
    (["--model", "digits", "--out", "x.npz"], "output must be a .abacus file in a directory that exists, not x.npz"),
    (["--model", "digits", "--out", "none/x.abacus"], "output must be a .abacus file in a directory that exists"),
    ([*GIVEN, "--checkpoint", "y"], "output must be a .npz file in a directory that"),
    (["--model", "cats", "--out", "x.abacus"], "model must be one of digits, fashion, lenet5, "),
    ([*GIVEN, "-M", "9"], "M must be an integer in 1..8, not 9"),
    ([*GIVEN, "-N", "0"], "N must be an integer in 1..8, not 0"),
    ([*GIVEN, "--scheme", "magic"], "scheme must be one of abc, abc-real, "),
    ([*GIVEN, "--scheme", "bnn", "-M", "2"], "option of scheme bnn must be one of none, not 'M'"),
    ([*GIVEN, "--threads", "0"], "--threads must be in 1..1024, not 0"),
    ([*GIVEN, "--seed", "-1"], "--seed must be 0 or more, not -1"),
    ([*GIVEN, "--rate", "-1"], "rate must be in 0.0..10.0, not -1.0"),
    ([*GIVEN, "--schedule", "never"], "schedule must be one of cosine, step, not 'never'"),
    ([*GIVEN, "--device", "tpu"], "device must be one of auto, cpu, cuda, not 'tpu'"),
    ([*GIVEN, "--tensorboard"], "--tensorboard must come with a --state directory for its events"),
    ([*GIVEN, "--init", "none.npz"], "checkpoint none.npz must exist"),
    ([*GIVEN, "--init", "resnet20.th"], "weights resnet20.th are of resnet20, not of digits"),
    ([*GIVEN, "--init", "other.npz"], "checkpoint other.npz must be of the network digits, but lacks blocks.block"),
    ([*GIVEN, "--dataset", "cats"], "data set must be one of digits, mnist, "),
    (["--model", "resnet18", "--out", "x.abacus"], "data set must be one of digits, mnist, "),
    (["--model", "fashion", "--out", "x.abacus", "--data", "/nowhere"], "data set fashion must lie in /nowhere"),
    ([*GIVEN, "--state", "/proc/none"], "--state /proc/none must be a directory"),
])
def test_bad_command_lines_end_in_one_sentence(tmp_path, monkeypatch, arguments, message, capsys):
    monkeypatch.chdir(tmp_path)
    if "other.npz" in arguments:
        checkpoint.save("other.npz", architecture("fashion").build())
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_checkpoint_restores_every_value(tmp_path):
    model = build(5)
    path = tmp_path / "c.npz"
    checkpoint.save(path, model)
    loaded = checkpoint.load(path)
    assert loaded.architecture == model.architecture
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]


def entries(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


OTHER = architecture("digits", scheme("abc", M=3, N=3)).to_json()


def header(**changes):
    value = {"format": "abacus-checkpoint", "version": 2, "architecture": json.loads(architecture("digits").to_json())}
    return np.frombuffer(json.dumps(value | changes).encode(), np.uint8)


@pytest.mark.parametrize(("change", "message"), [
    ({"header.json": None}, "must have a JSON header"),
    ({"header.json": np.zeros(3, np.uint8)}, "must have a JSON header"),
    ({"header.json": header(format="other")}, "must be of format abacus-checkpoint version 2"),
    ({"header.json": header(version=1)}, "must be of format abacus-checkpoint version 2"),
    ({"header.json": header(architecture=7)}, "must hold a buildable network: architecture must be the JSON"),
    ({"header.json": header(architecture=json.loads(OTHER))}, "array .* be float32"),
    ({"blocks.head.conv.bias": None}, "must hold exactly the arrays of its network, but differs in blocks.head"),
    ({"extra": np.zeros(1)}, "must hold exactly the arrays of its network, but differs in extra"),
    ({"blocks.head.conv.bias": np.zeros(9, np.float32)}, r"blocks.head.* must be float32 \[10\], not float32 \[9\]"),
    ({"blocks.head.conv.bias": np.zeros(10)}, r"array blocks.head.* must be float32 \[10\], not float64 \[10\]"),
    ({"blocks.head.conv.bias": np.full(10, np.nan, np.float32)}, "array blocks.head.conv.bias must be finite"),
    ({"blocks.head.conv.bias": np.array([{}] * 10)}, "must be an undamaged .npz of plain arrays: Object arrays cannot"),
])
def test_checkpoints_of_another_kind_are_refused(tmp_path, change, message):
    path = tmp_path / "c.npz"
    checkpoint.save(path, build())
    arrays = {name: value for name, value in (entries(path) | change).items() if value is not None}
    np.savez(path, **arrays)
    with pytest.raises(checkpoint.CheckpointError, match=message):
        checkpoint.load(path)


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "c.npz"
    with pytest.raises(checkpoint.CheckpointError, match="c.npz must exist"):
        checkpoint.load(path)
    checkpoint.save(path, build())
    content = path.read_bytes()
    for damaged in (b"", b"text", content[:-30], content[:4000] + bytes([content[4000] ^ 1]) + content[4001:]):
        path.write_bytes(damaged)
        with pytest.raises(checkpoint.CheckpointError, match="must be an undamaged .npz of plain arrays"):
            checkpoint.load(path)


def test_huge_checkpoints_are_refused_before_unpacking(tmp_path):
    """A small file that says it unpacks to two gigabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", b"x")
    content = buffer.getvalue().replace((1).to_bytes(4, "little") * 2, (2 << 30).to_bytes(4, "little") * 2)
    path = tmp_path / "c.npz"
    path.write_bytes(content)
    with pytest.raises(checkpoint.CheckpointError, match="must unpack to at most 1073741824 bytes"):
        checkpoint.load(path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="cannot be written: No such file or directory"):
        checkpoint.save(tmp_path / "none" / "c.npz", build())
