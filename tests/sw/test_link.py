"""Links: URLs, serial ports over pseudo-terminals, and what can be wrong with them."""

from __future__ import annotations

import errno
import os
import pty
import select
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from hw.arch.config import ConfigError, preset
from sw.abcnet.reference import reference
from sw.compiler import compile
from sw.device import EmulatedDevice
from sw.driver import Accelerator
from sw.emulator import Machine
from sw.errors import LinkError, NoReply
from sw.link import EmulatedLink, SerialLink, SimulatedLink, open_link
from tests.sw.samples import small_graph, some_images

CONFIG = preset("tiny-2x2")


class Terminal:
    """A pseudo-terminal with something at its far end."""

    def __init__(self, answer) -> None:
        self.master, self._slave = pty.openpty()
        self.path = os.ttyname(self._slave)
        serial.Serial(self.path).close()  # raw mode, before anything is echoed
        self._answer, self._stop = answer, threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if select.select([self.master], [], [], 0.02)[0]:
                try:
                    os.write(self.master, self._answer(os.read(self.master, 4096)))
                except OSError:
                    return

    def unplug(self) -> None:
        """The far end disappears, as a USB adapter pulled out."""
        self._stop.set()
        self._thread.join()
        for end in (self.master, self._slave):
            os.close(end)
        self.master = self._slave = -1

    def close(self) -> None:
        if self.master >= 0:
            self.unplug()


@pytest.fixture
def board() -> Iterator[Terminal]:
    terminal = Terminal(EmulatedDevice(Machine(CONFIG)).feed)
    yield terminal
    terminal.close()


def test_inference_over_a_serial_port(board: Terminal) -> None:
    images = some_images(3)
    with Accelerator(open_link(f"uart:{board.path}?baud=115200"), timeout=5) as accelerator:
        accelerator.load(compile(small_graph(), CONFIG))
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(), images).logits)
        assert accelerator.stats().link.resent == 0


def test_receive_waits_no_longer_than_told(board: Terminal) -> None:
    port = SerialLink(board.path)
    assert port.receive(0.01) == b""
    assert port.receive(-1.0) == b""
    port.close()
    port.close()


def test_a_port_has_one_owner(board: Terminal) -> None:
    first = open_link(f"uart:{board.path}")
    with pytest.raises(LinkError, match=f"serial port {board.path} is in use by process {os.getpid()}"):
        open_link(f"uart:{board.path}")
    first.close()
    open_link(f"uart:{board.path}").close()


def test_unplugged(board: Terminal) -> None:
    with Accelerator(open_link(f"uart:{board.path}"), timeout=5, retries=1) as accelerator:
        board.unplug()
        with pytest.raises(LinkError, match=f"serial port {board.path} is gone"):
            accelerator.ping()
        with pytest.raises(LinkError):
            accelerator.ping()


def test_a_port_that_only_echoes() -> None:
    terminal = Terminal(bytes)
    try:
        with pytest.raises(NoReply, match=f"{terminal.path} does not answer: it only repeats what it is sent"):
            Accelerator(open_link(f"uart:{terminal.path}"), timeout=5, retries=1).ping(b"")
    finally:
        terminal.close()


def test_no_device_at_the_port() -> None:
    with pytest.raises(LinkError, match="serial port /dev/ttyUSB77 does not exist: is the board plugged in"):
        open_link("uart:/dev/ttyUSB77")


def test_not_a_serial_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    with pytest.raises(LinkError, match=f"serial port {path} cannot be opened as a serial port"):
        open_link(f"uart:{path}")
    assert path.read_bytes() == b"hello"


@pytest.mark.parametrize(("number", "message"), [
    (errno.EACCES, "may not be opened: your user needs permission"),
    (errno.EBUSY, "is in use by another program"),
    (errno.ENODEV, "does not exist"),
])
def test_other_reasons_not_to_open(monkeypatch: pytest.MonkeyPatch, number: int, message: str) -> None:
    def fail(*args: object, **options: object) -> None:
        raise serial.SerialException(number, "no")

    monkeypatch.setattr(serial, "Serial", fail)
    with pytest.raises(LinkError, match=message):
        open_link("uart:/dev/ttyUSB0")


def test_a_port_that_takes_no_bytes(monkeypatch: pytest.MonkeyPatch, board: Terminal) -> None:
    def stuck(self: serial.Serial, data: bytes) -> int:
        raise serial.SerialTimeoutException("Write timeout")

    port = SerialLink(board.path)
    monkeypatch.setattr(serial.Serial, "write", stuck)
    with pytest.raises(LinkError, match="takes no bytes"):
        port.send(b"x")
    port.close()


@pytest.mark.parametrize(("url", "message"), [
    ("", "link must start with one of emu:, sim:, uart:, tcp:, not ''"),
    ("emu", "link must start with one of emu:, sim:, uart:, tcp:, not 'emu'"),
    ("pcie:0000:01:00.0", "link must start with one of emu:, sim:, uart:, tcp:, not 'pcie:0000:01:00.0'"),
    ("/dev/ttyUSB0", "link must start with one of"),
    ("uart:", "link uart: must name a serial port"),
    ("uart:/dev/x?speed=9600", 'link uart: has the options baud, not "speed"'),
    ("uart:/dev/x?baud=fast", "link option baud must be an integer in 300..12000000, not 'fast'"),
    ("uart:/dev/x?baud=0", "link option baud must be an integer in 300..12000000, not '0'"),
    ("uart:/dev/x?baud=", "link option baud must be an integer"),
    ("emu:small?baud=9600", 'link emu: has the options none, not "baud"'),
    ("emu:", "link emu: must name a preset, such as emu:small"),
    ("sim:", "link sim: must name a preset, such as sim:small"),
])
def test_wrong_urls(url: str, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        open_link(url)


@pytest.mark.parametrize("scheme", ["emu", "sim"])
def test_unknown_preset(scheme: str) -> None:
    with pytest.raises(ConfigError, match="preset must be one of .*tiny, .* not 'huge'"):
        open_link(f"{scheme}:huge")


def test_the_url_chooses_the_emulated_device_before_the_program() -> None:
    for url, config in (("emu:", CONFIG), ("emu:tiny", preset("tiny"))):
        opened = open_link(url, CONFIG)
        assert isinstance(opened, EmulatedLink)
        assert opened.device.machine.config == config


BOARD = """
import os, pty, sys, threading
from hw.arch.config import Config, preset
from sw.device import EmulatedDevice
from sw.emulator import Machine

option, value, end = sys.argv[1:]
assert end == "--until-eof"
config = preset(value) if option == "--preset" else Config.from_json(open(value).read())
device = EmulatedDevice(Machine(config))
master, slave = pty.openpty()
import tty
tty.setraw(slave)
print("compiling", flush=True)
print("board:", os.ttyname(slave), flush=True)
def serve():
    while True:
        os.write(master, device.feed(os.read(master, 4096)))
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
"""


@pytest.fixture
def fake_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`python -m sim.board` replaced by a script, as the interpreter that `SimulatedLink` starts."""

    def install(script: str) -> None:
        (tmp_path / "board.py").write_text(script)
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {tmp_path / "board.py"} "$@"\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        monkeypatch.setenv("PYTHONPATH", os.getcwd())

    return install


@pytest.mark.parametrize("config", [CONFIG, CONFIG.replace(result_depth=99)], ids=["preset", "file"])
def test_a_virtual_board_is_started_used_and_stopped(fake_board, config) -> None:
    fake_board(BOARD)
    opened, images = open_link("sim:", config), some_images(2)
    assert isinstance(opened, SimulatedLink)
    with Accelerator(opened) as accelerator:
        accelerator.load(compile(small_graph(), config))
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(), images).logits)
    assert opened._board.returncode == 0


@pytest.mark.parametrize(("script", "message"), [
    ("import sys; sys.exit('sim.board: the simulator is not installed')",
     "virtual board did not start: sim.board: the simulator is not installed"),
    ("pass", "virtual board did not start: it said nothing"),
    ("print('board: /dev/pts/none', flush=True); input()", "serial port /dev/pts/none does not exist"),
])
def test_a_virtual_board_that_does_not_start(fake_board, script: str, message: str) -> None:
    fake_board(script)
    with pytest.raises(LinkError, match=message):
        open_link("sim:tiny")


def test_a_virtual_board_that_takes_too_long(fake_board, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_board("import sys; print('wait', file=sys.stderr, flush=True); sys.stdin.read()")
    monkeypatch.setattr("sw.simulated_link.BOARD_START_SECONDS", 0.5)
    with pytest.raises(LinkError, match="virtual board did not start: (wait|it said nothing)"):
        open_link("sim:tiny")
