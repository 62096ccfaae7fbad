"""Who owns a serial port, and the adapter's latency timer."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from sw import serial_link
from sw.errors import LinkError
from sw.serial_link import SerialLink, owner


@pytest.fixture
def port() -> Iterator[str]:
    master, slave = pty.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_a_second_process_is_told_the_owner(port: str) -> None:
    link = SerialLink(port)
    code = "import sys\nfrom sw.serial_link import SerialLink\ntry:\n    SerialLink(sys.argv[1])\n" \
           "except Exception as error:\n    print(type(error).__name__, error)"
    second = subprocess.run([sys.executable, "-c", code, port], capture_output=True, text=True, check=True)
    assert second.stdout == f"LinkError serial port {port} is in use by process {os.getpid()}\n"
    link.close()
    third = subprocess.run([sys.executable, "-c", code, port], capture_output=True, text=True, check=True)
    assert third.stdout == ""


def test_an_owner_without_a_lock_is_found_by_its_open_file(port: str) -> None:
    code = "import os, sys\nos.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)\nprint(flush=True)\nsys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdout.readline()
    assert owner(port) == other.pid
    other.stdin.close()
    other.stdout.close()
    other.wait(10)
    assert owner("/dev/no-such-port") is None


@pytest.mark.parametrize("pseudo", [True, False])
def test_other_users_are_kept_out_of_real_ports(port: str, pseudo: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = fcntl.ioctl

    def ioctl(number: int, request: int, *rest: object) -> object:
        asked.append(request)
        return real(number, request, *rest) if request != termios.TIOCEXCL else 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    if not pseudo:
        monkeypatch.setattr(serial_link, "_PSEUDO_TERMINALS", "/nowhere/")
    SerialLink(port).close()
    assert (termios.TIOCEXCL in asked) != pseudo


def test_a_refused_lock_is_a_sentence(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = os.open(port, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(LinkError, match=f"is in use by process {os.getpid()}"):
        SerialLink(port)
    os.close(holder)


def test_a_port_that_goes_while_it_is_opened(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: serial.Serial) -> None:
        raise termios.error(5, "Input/output error")

    monkeypatch.setattr(serial.Serial, "reset_input_buffer", gone)
    with pytest.raises(LinkError, match=f"serial port {port} cannot be opened as a serial port: .*Input/output error"):
        SerialLink(port)


@pytest.mark.parametrize(("writable", "expected"), [(True, 1), (False, 16)])
def test_the_latency_timer_is_set_where_possible(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool, expected: int
) -> None:
    folder = tmp_path / Path(port).name
    folder.mkdir()
    (folder / "latency_timer").write_text("16\n")
    monkeypatch.setattr(serial_link, "_SYSFS", tmp_path)
    asked = []
    monkeypatch.setattr(serial.Serial, "set_low_latency_mode", lambda self, on: asked.append(on))
    if not writable:
        def refuse(self: Path, text: str) -> None:
            raise PermissionError(13, "no")

        monkeypatch.setattr(Path, "write_text", refuse)
    link = SerialLink(port)
    assert link.latency_ms == expected
    assert asked == ([] if writable else [True])
    link.close()


def test_ports_without_timer_are_left_alone(port: str) -> None:
    link = SerialLink(port)
    assert link.latency_ms is None
    assert link.bytes_per_second == 300_000
    link.close()
