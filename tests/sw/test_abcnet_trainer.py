"""The training loop: killed and resumed, in parallel, best epoch, log, and batches that depend on the seed alone."""

import csv
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sw import data
from sw.abcnet import checkpoint, state, trainer
from sw.abcnet.batches import Batches, Moves
from sw.abcnet.models import architecture
from sw.abcnet.parallel import Group, joined
from sw.abcnet.recipe import Recipe, TrainError
from sw.abcnet.schemes import scheme
from sw.abcnet.trainer import Trainer

QUICK = Recipe(float_epochs=1, epochs=2, batch=32, rate=0.05, shift=1, flip=True)
STEPS = 3  # of an epoch


class Killed(BaseException):
    """What a kill is to the code it hits: no handler runs."""


@pytest.fixture(scope="module")
def digits():
    whole = data.load("digits")
    return replace(whole, train_images=whole.train_images[:100], train_labels=whole.train_labels[:100],
                   test_images=whole.test_images[:40], test_labels=whole.test_labels[:40])


def build(seed=0, using=None):
    torch.manual_seed(seed)
    return architecture("digits", using).build()


def make(digits, folder=None, recipe=QUICK, **options):
    return Trainer(build(), digits, recipe, 3, folder=folder, quiet=True, save_seconds=0, **options)


def weights(run):
    return run.model.state_dict()


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    run = make(digits, folder, replace(QUICK, holdout=4, optimizer="adam", rate=0.01))
    return run, run.run(), (folder / "log.csv").read_text()


@pytest.mark.parametrize("moment", range(3 * STEPS + 1))
def test_killed_and_resumed_equals_uninterrupted(digits, whole, tmp_path, monkeypatch, moment):
    """Killed before step `moment`, or at the end before the last epoch is saved."""
    recipe = replace(QUICK, holdout=4, optimizer="adam", rate=0.01)
    count = 0

    def killing(self, images, labels, optimizer, real=Trainer._step):
        nonlocal count
        count += 1
        if count > moment:
            raise Killed
        return real(self, images, labels, optimizer)

    def killing_save(self, optimizer, real=Trainer._save):
        if count == 3 * STEPS and self.state.step == 0:
            raise Killed
        real(self, optimizer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", killing)
        patch.setattr(Trainer, "_save", killing_save)
        with pytest.raises(Killed):
            make(digits, tmp_path, recipe).run()
    again = make(digits, tmp_path, recipe)
    torch.manual_seed(99)  # nothing may depend on where the generator was
    assert again.run() == whole[1]
    assert_equal(weights(again), weights(whole[0]))
    assert (tmp_path / "log.csv").read_text() == whole[2]


def test_killed_while_saving(digits, tmp_path, monkeypatch):
    """The state before remains, a half-written file is no harm."""
    def torn(source, target, real=os.replace):
        Path(source).write_bytes(b"half")
        raise Killed

    first = make(digits, tmp_path / "b")
    (tmp_path / "b").mkdir()
    saves = []

    def tearing(self, optimizer, real=Trainer._save):
        saves.append(1)
        if len(saves) == 4:
            monkeypatch.setattr(state.os, "replace", torn)
        real(self, optimizer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", tearing)
        with pytest.raises(Killed):
            first.run()
    monkeypatch.undo()
    again, reference = make(digits, tmp_path / "b"), make(digits)
    assert again.run() == reference.run()
    assert_equal(weights(again), weights(reference))


def test_a_killed_process_goes_on(tmp_path):
    """The real thing: SIGKILL, and the same command again."""
    command = [sys.executable, "-m", "sw", "train", "--model", "digits", "--out", "d.abacus", "--state", "run",
               "--float-epochs", "0", "--epochs", "2", "--checkpoint", "d.npz", "--threads", "1", "--quiet"]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    while not (tmp_path / "run" / "state.pt").exists():
        assert process.poll() in (None, 0)
        time.sleep(0.01)
    process.kill()
    process.wait()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    reference = Trainer(build(), data.load("digits"), Recipe(float_epochs=0, epochs=2, rate=0.1), quiet=True)
    reference.run()
    torch.set_num_threads(threads)
    assert_equal(checkpoint.load(tmp_path / "d.npz").state_dict(), weights(reference))


def test_a_state_of_another_run_is_refused(digits, tmp_path):
    make(digits, tmp_path).run()
    for change, key in ((replace(QUICK, rate=0.01), "rate"), (replace(QUICK, batch=16), "batch")):
        with pytest.raises(TrainError, match=f"state.pt must be of a run with the same {key}: remove it to start"):
            make(digits, tmp_path, change).run()
    other = make(digits, tmp_path)
    other.model = build(using=scheme("abc", M=3, N=2))
    with pytest.raises(TrainError, match="must be of a run with the same architecture"):
        other.run()


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-100], lambda b: b[:2000] + b"!" + b[2001:],
                                    lambda b: b"text"])
def test_a_damaged_state_is_refused(digits, tmp_path, damage):
    path = tmp_path / "state.pt"
    make(digits, tmp_path, replace(QUICK, float_epochs=0, epochs=0)).run()
    assert not path.exists()
    make(digits, tmp_path, replace(QUICK, float_epochs=0, epochs=1)).run()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainError, match=r"state.pt must be an undamaged file of this program: remove it"):
        make(digits, tmp_path, replace(QUICK, float_epochs=0, epochs=1)).run()


def test_the_best_epoch_is_kept(digits, tmp_path, monkeypatch):
    """Accuracies on the images held out as given: the second of three epochs wins, in memory and after a resume."""
    recipe = replace(QUICK, float_epochs=0, epochs=3, holdout=10)
    accuracies = iter([0.5, 0.9, 0.7, 0.0])
    monkeypatch.setattr(Trainer, "accuracy", lambda self, images, labels: next(accuracies))
    seen = []
    monkeypatch.setattr(Trainer, "_log", lambda self, row: seen.append(
        {name: value.clone() for name, value in self.model.state_dict().items()}))
    run = make(digits, tmp_path, recipe)
    run.run()
    assert_equal(weights(run), seen[1])
    assert_equal(checkpoint.load(tmp_path / "best.npz").state_dict(), seen[1])
    assert [row["accuracy"] for row in run.state.rows] == [0.5, 0.9, 0.7]
    accuracies = iter([0.0])
    again = make(digits, tmp_path, recipe)
    again.run()
    assert_equal(weights(again), seen[1])


def test_the_log_has_a_row_per_epoch(digits, tmp_path):
    run = make(digits, tmp_path, replace(QUICK, schedule="step", drop_every=1, drop_factor=0.5), tensorboard=True)
    run.run()
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("full precision", "1"), ("quantised", "1"), ("quantised", "2")]
    assert [float(row["rate"]) for row in rows] == [0.05, 0.05, 0.025]
    assert all(float(row["loss"]) > 0 for row in rows)
    assert list((tmp_path / "events").iterdir())


def test_rates():
    cosine = Recipe(float_epochs=0, epochs=4, rate=0.2)
    assert [cosine.rate_at(epoch, 4) for epoch in (0, 2, 4)] == pytest.approx([0.2, 0.1, 0])
    step = replace(cosine, schedule="step", drop_every=2, drop_factor=0.1)
    assert [step.rate_at(epoch, 4) for epoch in (0, 1.9, 2, 3.9)] == pytest.approx([0.2, 0.2, 0.02, 0.02])


@pytest.mark.parametrize("name", ["abc", "abc-real", "bwn", "bnn", "xnor", "dorefa", "real"])
def test_mixed_precision_learns_in_every_scheme(digits, name):
    model = build(using=scheme(name))
    start = model.state_dict()["blocks.head.conv.weight"].clone()
    run = Trainer(model, digits, replace(QUICK, precision="bf16", float_epochs=0, epochs=1), quiet=True)
    run.run()
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert not torch.equal(start, model.state_dict()["blocks.head.conv.weight"])


def test_batches_are_shared_without_loss(digits):
    """Every image once an epoch, the same in any number of processes, in another order every epoch."""
    def epoch(number, rank, world):
        batches = Batches(digits.train_images, digits.train_labels, QUICK, 5, rank, world)
        return [(images, labels) for _, images, labels in batches.epoch(1, number)]

    alone, left, right = epoch(0, 0, 1), epoch(0, 0, 2), epoch(0, 1, 2)
    assert len(alone) == STEPS
    for one, a, b in zip(alone, left, right, strict=True):
        assert torch.equal(one[0], torch.cat([a[0], b[0]]))
        assert torch.equal(one[1], torch.cat([a[1], b[1]]))
    assert not torch.equal(alone[0][1], epoch(1, 0, 1)[0][1])
    plain = Batches(np.arange(96).reshape(96, 1, 1, 1).astype(np.uint8), np.arange(96), replace(
        QUICK, shift=0, flip=False), 5)
    seen = torch.cat([labels for _, _, labels in plain.epoch(0, 0)])
    assert sorted(seen.tolist()) == list(range(96))
    assert all(torch.equal(images.flatten(), labels) for _, images, labels in plain.epoch(0, 0))


def test_augmentation_moves_and_mirrors_whole_images():
    images = torch.arange(1, 13, dtype=torch.uint8).view(1, 3, 4, 1).repeat(200, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    flipped = Moves.draw(200, replace(QUICK, shift=0), generator).apply(images)
    mirrored = (flipped == images.flip(2)).flatten(1).all(1)
    assert 60 < mirrored.sum() < 140
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    moved = Moves.draw(200, replace(QUICK, flip=False), generator).apply(images)
    padded = torch.nn.functional.pad(images[0, :, :, 0], (1, 1, 1, 1))
    windows = {tuple(padded[y:y + 3, x:x + 4].flatten().tolist()) for y in range(3) for x in range(3)}
    assert {tuple(image.flatten().tolist()) for image in moved} == windows


RANKS = """
import sys, torch
from sw.abcnet import train
from sw.cli import main

class Spy(train.Trainer):
    def run(self):
        accuracy = super().run()
        torch.save({"accuracy": accuracy, "model": self.model.state_dict()}, f"{self.group.rank}.pt")
        return accuracy

train.Trainer = Spy
sys.exit(main(sys.argv[1:]))
"""


def test_two_processes_end_with_the_same_weights(tmp_path):
    """The command line under torchrun: equal weights everywhere, and one model file, log and state."""
    (tmp_path / "ranks.py").write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "ranks.py",
               "train", "--model", "digits", "--out", "d.abacus", "--state", "run", "--float-epochs", "1",
               "--epochs", "1", "--batch", "256", "--device", "cpu", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert_equal(one["model"], other["model"])
    assert one["accuracy"] == other["accuracy"]
    assert not torch.equal(one["model"]["blocks.head.conv.weight"], build().state_dict()["blocks.head.conv.weight"])
    assert done.stdout.count("d.abacus: ") == done.stdout.count("\n360 images, float accuracy") == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"state.pt", "log.csv"}


def test_what_cannot_run_is_refused(digits):
    with pytest.raises(TrainError, match="holdout must be less than the 100 training images, not 100"):
        make(digits, recipe=replace(QUICK, holdout=100)).run()
    with pytest.raises(TrainError, match="batch must be a multiple of the 3 processes, not 32"):
        make(digits, group=Group(0, 3)).run()
    with pytest.raises(TrainError, match="device must be one of auto, cpu, cuda, not 'tpu'"), joined("tpu"):
        pass


def test_the_loss_is_looked_at_before_anything_is_kept(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKED_STEPS", 100)
    run = make(digits, tmp_path)
    run.save_seconds = 1e9
    with torch.no_grad():
        run.model.blocks["head"].conv.bias.fill_(float("nan"))
    with pytest.raises(TrainError, match="loss must stay finite, but it was nan in epoch 1; try a lower --rate"):
        run.run()
    assert not list(tmp_path.iterdir())
