"""Bench, devices and doctor: what they say of devices that are well, and of every trouble the doctor knows."""

from __future__ import annotations

import dataclasses
import errno
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import serial

from hw.arch.config import Space
from sw import artifact, cli, doctor
from sw.emulator import Machine
from sw.errors import LinkError
from sw.link import EmulatedLink, Link
from sw.protocol import encode
from tests.sw.links import TINY, TINY_2X2, Answering, Spy, device, program_for
from tests.sw.samples import fill


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Link]], None]:
    """Put a link in place of whatever a URL names."""
    def install(make: Callable[[], Link]) -> None:
        for module in ("doctor", "devices", "bench"):
            monkeypatch.setattr(f"sw.{module}.open_link", lambda url, config=None: make())
    return install


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    status = cli.main(arguments)
    return status, capsys.readouterr().out.splitlines()


def _visit(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[str], list[str]]:
    """What the doctor found well and what not."""
    status, lines = _run(capsys, "doctor", *arguments)
    assert all(line.startswith(("ok      ", "PROBLEM ")) for line in lines)
    well = [line.split(":")[0][8:] for line in lines if line.startswith("ok")]
    problems = [line[8:] for line in lines if line.startswith("PROBLEM")]
    assert status == (1 if problems else 0)
    return well, problems


def test_all_is_well(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    well, problems = _visit(capsys, "compiled.abacus", "--link", "emu:tiny-2x2")
    assert well == ["model", "port", "device", "line", "bitstream", "inference"]
    assert problems == []
    assert _visit(capsys, "model.abacus", "--link", "emu:tiny") == (well, [])
    assert _visit(capsys, "--link", "emu:tiny") == (["port", "device", "line"], [])


@pytest.mark.parametrize(("number", "message"), [
    (errno.ENOENT, "does not exist: is the board plugged in"),
    (errno.EACCES, "your user needs permission"),
    (errno.EBUSY, "is in use by"),
])
def test_ports(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, message: str) -> None:
    def fail(*args: object, **options: object) -> None:
        raise serial.SerialException(number, "no")

    monkeypatch.setattr(serial, "Serial", fail)
    _, (problem,) = _visit(capsys, "--link", "uart:/dev/ttyUSB9")
    assert problem.startswith("port: serial port /dev/ttyUSB9")
    assert message in problem


@pytest.mark.parametrize(("answer", "message"), [
    (lambda frame: b"", "the device sent nothing"),
    (lambda frame: b"login: ", "bytes that are not a frame"),
    (encode, "it only repeats what it is sent"),
], ids=["silence", "console", "loop-back"])
def test_who_answers(capsys: pytest.CaptureFixture[str], use, answer, message: str) -> None:
    use(lambda: Answering(answer))
    well, (problem,) = _visit(capsys, "--link", "uart:/dev/x")
    assert well == ["port"]
    assert message in problem
    assert "nor at any other usual baud rate" in problem


def test_another_baud_rate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def at(url: str, config: object = None) -> Link:
        return EmulatedLink(device()) if url.endswith("=921600") else Answering(lambda frame: b"\xf3\x83")

    for module in ("doctor", "devices"):
        monkeypatch.setattr(f"sw.{module}.open_link", at)
    _, (problem,) = _visit(capsys, "--link", "uart:/dev/x?baud=115200")
    assert problem.endswith("but it answers at 921600 baud: use uart:/dev/x?baud=921600")


def test_another_bitstream(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    well, (problem,) = _visit(capsys, "compiled.abacus", "--link", "emu:tiny")
    assert well == ["model", "port", "device", "line"]
    assert problem.startswith(f"bitstream: device has configuration {TINY.digest.hex()}, but {TINY_2X2.digest.hex()}")
    assert "(tiny-2x2) is wanted" in problem


def test_a_damaged_model(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    data = bytearray((folder / "model.abacus").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.abacus").write_bytes(data)
    well, (problem,) = _visit(capsys, "model.abacus", "--link", "emu:tiny")
    assert well == ["port", "device", "line"]
    assert "damaged" in problem


def test_a_model_with_the_program_of_another(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    model = artifact.load("compiled.abacus")
    artifact.save("compiled.abacus", dataclasses.replace(model, program=program_for(9)))
    _, (problem,) = _visit(capsys, "compiled.abacus", "--link", "emu:tiny-2x2")
    assert problem == "model: even the emulator does not get its golden logits: export and compile it again"


def test_a_line_with_errors(capsys: pytest.CaptureFixture[str], use) -> None:
    rng = random.Random(1)

    def garble(data: bytes) -> bytes:
        return bytes(byte ^ (rng.random() < 2e-4) for byte in data)

    use(lambda: Spy(device(), garble, 0.02))
    _, (problem,) = _visit(capsys, "--link", "emu:")
    assert problem.startswith("line: 200 frames both ways, ")
    assert "0 requests sent again" not in problem
    assert "check cable" in problem


class _Broken(Machine):
    """A core in which one bit of what the `layer`-th convolution writes is always one."""

    def __init__(self, layer: int) -> None:
        super().__init__(TINY_2X2)
        self.layer, self.conv = layer, 0

    def run(self) -> None:
        if not self.busy:
            self.conv = 0
        super().run()

    def _conv(self, conv: object) -> None:
        super()._conv(conv)  # type: ignore[arg-type]
        self.conv += 1
        if self.conv == self.layer:
            if self.layer == 1:
                self._bits[Space.ACTIVATIONS][0, :, ::3] ^= 1
            else:
                self._results[0] ^= 1


@pytest.mark.parametrize(("layer", "name", "space"), [(1, "conv", "activations"), (2, "fc", "results")])
def test_the_first_wrong_layer_is_named(
    capsys: pytest.CaptureFixture[str], folder: Path, use, layer: int, name: str, space: str
) -> None:
    def broken() -> Link:
        board = device()
        board.machine = _Broken(layer)
        return EmulatedLink(board)

    use(broken)
    well, (problem,) = _visit(capsys, "compiled.abacus", "--link", "emu:tiny-2x2")
    assert well[-1] == "bitstream"
    assert f"logits differ from the reference: first in layer {name}, " in problem
    assert f"words of {space} bank 0, word 0 is 0x" in problem


def test_a_fault_that_comes_and_goes(capsys: pytest.CaptureFixture[str], folder: Path, use) -> None:
    class Once(_Broken):
        def _conv(self, conv: object) -> None:
            super()._conv(conv)
            if self.conv == 2:
                self.layer = 0

    def make() -> Link:
        board = device()
        board.machine = Once(2)
        return EmulatedLink(board)

    use(make)
    _, (problem,) = _visit(capsys, "compiled.abacus", "--link", "emu:tiny-2x2")
    assert "every layer run by itself is right" in problem


def test_truncated_programs_run_to_their_end() -> None:
    program = program_for()
    parts = list(doctor.truncated(program))
    assert [name for name, _ in parts] == ["image", "conv", "fc"]
    image = np.zeros((6, 6, 1), np.uint8)
    for _, part in parts:
        machine = doctor.machine_with(part)
        machine.feed(part.image_bytes(image))
        machine.run()
        assert not machine.busy
        assert machine.cycles == part.predicted_cycles


def test_devices_are_listed_with_what_answers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Port:
        device, description = "/dev/ttyUSB0", "FT2232H"

    def at(url: str) -> Link:
        if "USB0" in url:
            raise LinkError("serial port /dev/ttyUSB0 is in use by process 77")
        return EmulatedLink(device())

    monkeypatch.setattr("sw.devices.list_ports.comports", lambda: [Port])
    monkeypatch.setattr("sw.devices.open_link", at)
    status, lines = _run(capsys, "devices", "--port", "/dev/pts/7")
    assert status == 0
    assert lines[0] == "/dev/ttyUSB0  FT2232H  serial port /dev/ttyUSB0 is in use by process 77"
    assert lines[1].startswith("/dev/pts/7  device of configuration tiny-2x2, design 6162")
    status, lines = _run(capsys, "devices")
    assert (status, len(lines)) == (1, 1)
    monkeypatch.setattr("sw.devices.list_ports.comports", list)
    assert _run(capsys, "devices") == (1, ["no serial ports found"])


def test_bench(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    status, lines = _run(capsys, "bench", "compiled.abacus", "--count", "5")
    assert status == 0
    assert [line.split(":")[0] for line in lines] == ["round trip", "goodput", "inference", "errors"]
    assert f"{program_for().predicted_cycles} cycles each" in lines[2]
    assert lines[3].startswith("errors: 0 requests sent again")
    status, lines = _run(capsys, "bench", "--link", "emu:tiny")
    assert (status, len(lines)) == (0, 2)
