"""`python -m sw`: what it prints, and one sentence with the right exit status for every bad input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hw.arch.config import Space, preset
from sw import artifact
from sw.abcnet.reference import reference
from sw.cli import main
from sw.compiler import compile
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.graph import Image
from sw.link import EmulatedLink
from tests.sw.samples import fill, small_graph, some_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    fill(folder)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and error."""
    try:
        status = main(arguments)
    except SystemExit as leave:  # how argparse ends
        status = int(leave.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def fails(capsys: pytest.CaptureFixture[str], status: int, message: str, *arguments: str) -> None:
    """One sentence on standard error, after argparse's usage if it is argparse's."""
    got, out, err = run(capsys, *arguments)
    sentence = err.splitlines()[-1]
    assert got == status, err
    assert re.search(message, sentence), err
    assert sentence.startswith("python -m sw")
    assert "Traceback" not in err
    assert out == ""
    assert "usage" in err or err.count("\n") == 1


def test_run_prints_classes_and_logits(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "run", "compiled.abacus", "images.npz", "--link", "emu:")
    expected = reference(small_graph(), some_images(4)).logits
    lines = [f"{i}: class {row.argmax()}  {' '.join(map(str, row))}" for i, row in enumerate(expected)]
    cycles = compile(small_graph(), preset("tiny-2x2")).predicted_cycles
    assert status == 0
    assert out.splitlines()[:4] == lines
    assert re.fullmatch(rf"4 images in [0-9.]+ s, {cycles} cycles each", out.splitlines()[4])
    assert out.splitlines()[5:] == ["accuracy 4/4"]


@pytest.mark.parametrize("options", [
    ["model.abacus"], ["model.abacus", "--preset", "tiny"], ["model.abacus", "--link", "emu:large"],
    ["compiled.abacus"], ["compiled.abacus", "--preset", "tiny-2x2"], ["model.abacus", "--config", "config.json"],
], ids=" ".join)
def test_check_finds_equal_logits(capsys: pytest.CaptureFixture[str], folder: Path, options: list[str]) -> None:
    (folder / "config.json").write_text(preset("tiny").replace(result_depth=77).to_json())
    preset_of_link = ["--preset", "large"] if "emu:large" in options else []
    status, out, _ = run(capsys, "run", options[0], "images.npy", "--check", *options[1:], *preset_of_link)
    assert status == 0
    assert out.splitlines()[-1] == "equal 20/20"


def test_check_finds_unequal_logits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Liar(EmulatedDevice):
        """Flips the lowest bit of the first result of every frame."""

        def __init__(self, machine: Machine) -> None:
            super().__init__(machine)
            honest = machine.read
            machine.read = lambda s, b, a, n: [
                word ^ (s == Space.RESULTS and i == 0) for i, word in enumerate(honest(s, b, a, n))
            ]

    link = EmulatedLink(Liar(Machine(preset("tiny-2x2"))))
    monkeypatch.setattr("sw.commands.open_link", lambda url, config: link)
    status, out, _ = run(capsys, "run", "compiled.abacus", "images.npy", "--check")
    assert status == 1
    assert out.splitlines()[-1] == "equal 16/20"


def test_limit(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "run", "model.abacus", "images.npy", "--limit", "2")
    assert status == 0
    assert len(out.splitlines()) == 3


def test_a_device_that_is_a_preset_needs_no_preset(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = EmulatedLink(EmulatedDevice(Machine(preset("tiny"))))
    monkeypatch.setattr("sw.commands.open_link", lambda url, config: link)
    assert run(capsys, "run", "model.abacus", "images.npy", "--link", "uart:x")[0] == 0


def test_png_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = pytest.importorskip("PIL.Image")
    for name, image in zip("abcd", some_images(4), strict=True):
        picture.fromarray(image[..., 0]).save(tmp_path / f"{name}.png")
    status, out, _ = run(capsys, "run", "model.abacus", str(tmp_path), "--check")
    assert status == 0
    assert out.startswith("a.png: class ")
    assert out.endswith("equal 20/20\n")
    status, out, _ = run(capsys, "run", "model.abacus", str(tmp_path / "b.png"), "--check")
    assert status == 0
    assert out.startswith("b.png: class ")
    assert out.endswith("equal 5/5\n")


def test_data_sets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    graph = small_graph(image=Image(8, 8, 1), classes=10)
    artifact.save_graph(tmp_path / "d.abacus", graph, some_images(1, image=graph.image))
    status, out, _ = run(capsys, "run", str(tmp_path / "d.abacus"), "dataset:digits", "--limit", "3", "--check")
    assert status == 0
    assert re.search(r"accuracy \d/3\nequal 30/30\n$", out)


def test_info_shows_layers_memories_and_cycles(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "info", "compiled.abacus")
    program = compile(small_graph(), preset("tiny-2x2"))
    assert status == 0
    assert "sample: 6 x 6 x 1 -> 5 classes" in out
    assert "configuration tiny-2x2: 8 x 4 lanes of 16 bits" in out
    for stage in program.stages:
        assert re.search(rf"^{stage.name} .*{stage.cycles}", out, re.MULTILINE)
    for space, words in program.memories.items():
        depth = program.config.memories[space].depth
        assert re.search(rf"^{space.name.lower()} +{len(words)} +{words.shape[1]} +{depth} +\d+%$", out, re.MULTILINE)
    assert f"{program.predicted_cycles} cycles per image" in out


def test_info_of_another_preset(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "info", "model.abacus", "--preset", "large")
    assert status == 0
    assert "configuration large: 32 x 8 lanes of 64 bits" in out


def test_compile_binds_a_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = run(capsys, "compile", "model.abacus", "--preset", "tiny", "-o", str(tmp_path / "t.abacus"))
    assert status == 0
    assert out.endswith("sample for configuration tiny\n")
    model = artifact.load(tmp_path / "t.abacus")
    assert model.program is not None
    assert model.program.config == preset("tiny")


def test_demo_draws_and_checks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "out" / "demo.png"
    arguments = ["--model", "model.abacus", "--images", "images.npz", "--link", "emu:", "-o", str(picture)]
    status, out, _ = run(capsys, "demo", *arguments)
    assert status == 0
    assert out.endswith("equal 20/20\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5000


@pytest.fixture
def bad(folder: Path) -> None:
    """Files that are not what they should be."""
    good = (folder / "model.abacus").read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    files = {"empty": b"", "cut": good[:-5], "flipped": bytes(flipped), "zip": b"PK\x03\x04" + bytes(99),
             "text.png": b"hello", "text.npy": b"hello", "text.npz": b"hello", "odd.json": b"\xff", "list.json": b"[]",
             "key.json": b'{"lanes": 8}', "range.json": b'{"M": 9}', "images.txt": b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    np.save(folder / "shape.npy", np.zeros((4, 7, 6, 1), np.uint8))
    np.save(folder / "float.npy", np.zeros((4, 6, 6, 1)))
    np.save(folder / "none.npy", np.zeros((0, 6, 6, 1), np.uint8))
    np.save(folder / "pickle.npy", np.array([{}]), allow_pickle=True)
    np.savez(folder / "two.npz", a=np.zeros(1), b=np.zeros(1))
    np.savez(folder / "labels.npz", images=some_images(4), labels=np.zeros(3, np.int64))
    (folder / "nothing").mkdir(exist_ok=True)


@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize(("arguments", "message"), [
    (["run", "missing.abacus", "images.npy"], "model file missing.abacus cannot be read: No such file"),
    (["run", "empty", "images.npy"], "model file empty: it is not an Abacus model file"),
    (["run", "cut", "images.npy"], "model file cut: it is damaged or truncated"),
    (["run", "flipped", "images.npy"], "model file flipped: it is damaged or truncated"),
    (["info", "zip"], "model file zip: it is not an Abacus model file"),
    (["compile", "cut", "-o", "x"], "model file cut: it is damaged"),
    (["run", "model.abacus", "missing.npy"], "image file missing.npy cannot be read: No such file"),
    (["run", "model.abacus", "missing.png"], "image missing.png cannot be read as PNG: No such file"),
    (["run", "model.abacus", "text.png"], "image text.png cannot be read as PNG"),
    (["run", "model.abacus", "text.npy"], "image file text.npy cannot be read"),
    (["run", "model.abacus", "text.npz"], "image file text.npz cannot be read"),
    (["run", "model.abacus", "pickle.npy"], "image file pickle.npy cannot be read"),
    (["run", "model.abacus", "two.npz"], "must hold an array 'images' or only one array, not a, b"),
    (["run", "model.abacus", "labels.npz"], r"labels of labels.npz must be 4 integers, not int64 of shape \[3\]"),
    (["run", "model.abacus", "images.txt"], "images must be a .npy, .npz or .png file"),
    (["run", "model.abacus", "nothing"], "directory nothing must hold PNG files, but has none"),
    (["run", "model.abacus", "shape.npy"], r"must be uint8 of shape \[B, 6, 6, 1\], not uint8 of shape \[4, 7, 6, 1\]"),
    (["run", "model.abacus", "float.npy"], r"must be uint8 of shape \[B, 6, 6, 1\], not float64"),
    (["run", "model.abacus", "none.npy"], "images of none.npy must be one or more, not 0"),
    (["run", "model.abacus", "dataset:cats"], "data set must be one of digits, .* not 'cats'"),
    (["run", "model.abacus", "images.npy", "--preset", "huge"], "preset must be one of .*tiny, .* not 'huge'"),
    (["info", "model.abacus", "--config", "missing.json"], "configuration file missing.json cannot be read: No such"),
    (["info", "model.abacus", "--config", "odd.json"], "configuration file odd.json cannot be read: it is not text"),
    (["info", "model.abacus", "--config", "list.json"], "file list.json: configuration must be a JSON object"),
    (["info", "model.abacus", "--config", "key.json"], "configuration key must be one of .* not 'lanes'"),
    (["info", "model.abacus", "--config", "range.json"], "Config.M .* must be an integer in 1..8, not 9"),
    (["run", "compiled.abacus", "images.npy", "--preset", "small"], "is compiled for .* tiny-2x2, not small"),
    (["info", "compiled.abacus", "--preset", "small"], "is compiled for configuration tiny-2x2, not small"),
    (["run", "model.abacus", "images.npy", "--limit", "0"], "--limit: must be an integer of 1 or more, not '0'"),
    (["run", "model.abacus", "images.npy", "--timeout", "x"], "--timeout: must be a number of seconds"),
    (["run", "model.abacus", "images.npy", "--preset", "tiny", "--config", "x"], "not allowed with argument"),
    (["compile", "model.abacus", "-o", "no/where.abacus"], "model file no/where.abacus cannot be written"),
    (["walk"], "invalid choice: 'walk'"),
    ([], "the following arguments are required: COMMAND"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    fails(capsys, 2, message, *arguments)


@pytest.mark.parametrize(("url", "message"), [
    ("uart:/dev/ttyUSB77", "serial port /dev/ttyUSB77 does not exist"),
    ("uart:images.npy", "serial port images.npy cannot be opened as a serial port"),
    ("usb:1", "link must start with one of emu:, sim:, uart:, tcp:, not 'usb:1'"),
    ("emu:small", "program needs a device of configuration .*tiny-2x2.*, but the device at emu: has .*small"),
])
def test_bad_devices_are_one_sentence(capsys: pytest.CaptureFixture[str], url: str, message: str) -> None:
    fails(capsys, 1, message, "run", "compiled.abacus", "images.npy", "--link", url)


def test_a_device_that_answers_garbage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Console(EmulatedLink):
        def send(self, data: bytes) -> None:
            self._arrived += b"login: "

    link = Console(EmulatedDevice(Machine(preset("tiny-2x2"))), timeout=0.01)
    monkeypatch.setattr("sw.commands.open_link", lambda url, config: link)
    message = "does not answer: no valid reply to HELLO .* bytes that are not a frame"
    fails(capsys, 1, message, "run", "compiled.abacus", "images.npy")


def test_an_unknown_device_without_preset(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    link = EmulatedLink(EmulatedDevice(Machine(preset("tiny").replace(result_depth=33))))
    monkeypatch.setattr("sw.commands.open_link", lambda url, config: link)
    fails(capsys, 1, "which is no preset: give it with --config", "run", "model.abacus", "images.npy")


def test_a_model_that_does_not_fit(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "small.json").write_text(preset("tiny").replace(weight_depth=2).to_json())
    fails(capsys, 2, "more than its depth of 2", "info", "model.abacus", "--config", "small.json")


def test_train_help_comes_from_training(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    status, out, _ = run(capsys, "train", "--help")
    assert status == 0
    assert "--seed" in out
