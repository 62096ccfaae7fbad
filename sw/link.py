"""Byte streams to a device, opened by URL: `emu:`, `sim:`, `uart:DEVICE`.

The driver knows `Link` and nothing of what is behind it; a new kind of link is a class here and a line in `SCHEMES`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl

import serial

from hw.arch import wire
from hw.arch.config import PRESETS, Config, preset
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.errors import LinkError

DEFAULT_BAUD = 3_000_000
BOARD_START_SECONDS = 600.0  # the first start of a configuration compiles its simulation


class Link(Protocol):
    """An ordered byte stream in both directions that may lose or garble bytes.

    Members
    -------
    name : str, for messages
    timeout : float, seconds within which a live device answers any request
    """

    name: str
    timeout: float

    def send(self, data: bytes) -> None:
        """Send all of `data`. `LinkError` when the link is gone."""

    def receive(self, timeout: float) -> bytes:
        """What has arrived, waiting up to `timeout` seconds for a first byte; empty when none came."""

    def close(self) -> None:
        """Give the link back; may be called twice."""


class EmulatedLink:
    """A link to an `EmulatedDevice` in this process."""

    def __init__(self, device: EmulatedDevice, timeout: float = 0.5) -> None:
        self.name = "emu:"
        self.timeout = timeout
        self.device = device
        self._arrived = b""

    def send(self, data: bytes) -> None:
        self._arrived += self.device.feed(data)

    def receive(self, timeout: float) -> bytes:
        if not self._arrived:
            time.sleep(timeout)
        data, self._arrived = self._arrived, b""
        return data

    def close(self) -> None:
        self._arrived = b""


class SerialLink:
    """A serial port, owned exclusively while open.

    Parameters
    ----------
    path : str, such as /dev/ttyUSB1
    baud : int, bits per second
    timeout : float or None; None allows two of the longest frames and 0.3 s

    Raises `LinkError`: no such port, no permission, in use, not a serial port, baud not possible.
    """

    def __init__(self, path: str, baud: int = DEFAULT_BAUD, timeout: float | None = None) -> None:
        self.name = path
        self.timeout = 0.3 + 20 * wire.MAX_FRAME / baud if timeout is None else timeout
        try:
            self._port = serial.Serial(path, baud, timeout=0, write_timeout=10 + self.timeout, exclusive=True)
        except (serial.SerialException, ValueError, OSError) as error:
            raise LinkError(_open_failure(path, baud, error)) from None
        self._port.reset_input_buffer()

    def send(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise LinkError(f"serial port {self.name} takes no bytes: is something reading at the other end?") from None
        except (serial.SerialException, OSError, TypeError) as error:
            raise LinkError(f"serial port {self.name} is gone: {error}") from None

    def receive(self, timeout: float) -> bytes:
        try:
            ready, _, _ = select.select([self._port.fileno()], [], [], max(timeout, 0))
            return bytes(self._port.read(max(self._port.in_waiting, 1))) if ready else b""
        except (serial.SerialException, OSError, TypeError, ValueError) as error:
            raise LinkError(f"serial port {self.name} is gone: {error}") from None

    def close(self) -> None:
        self._port.close()


class SimulatedLink:
    """The RTL in simulation: starts a virtual board and opens its serial port.

    Raises `LinkError` when the board does not start; the message ends with what it said last.
    """

    def __init__(self, config: Config, baud: int = DEFAULT_BAUD) -> None:
        self._log = tempfile.TemporaryFile()
        self._folder = tempfile.TemporaryDirectory()
        command = [sys.executable, "-m", "sim.board", *_board_options(config, Path(self._folder.name)), "--until-eof"]
        self._board = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True
        )
        try:
            # Simulated time passes slowly, and slower while other programs run: silence means little.
            self._serial = SerialLink(self._await_path(), baud, timeout=30.0)
        except BaseException:
            self.close()
            raise
        self.name = f"sim: at {self._serial.name}"
        self.timeout = self._serial.timeout

    def send(self, data: bytes) -> None:
        self._serial.send(data)

    def receive(self, timeout: float) -> bytes:
        return self._serial.receive(timeout)

    def close(self) -> None:
        """Close the port and stop the board that was started with it."""
        if hasattr(self, "_serial"):
            self._serial.close()
        for stream in (self._board.stdin, self._board.stdout):
            if stream:
                stream.close()
        for way in (None, signal.SIGTERM, signal.SIGKILL):
            if way is not None:
                os.killpg(self._board.pid, way)  # with the compiler it may be waiting for
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._board.wait(5)
                break
        self._log.close()
        self._folder.cleanup()

    def _await_path(self) -> str:
        """The device path the board prints as `board: PATH`."""
        deadline, text = time.monotonic() + BOARD_START_SECONDS, b""
        output = self._board.stdout
        assert output is not None
        while time.monotonic() < deadline:
            ready, _, _ = select.select([output], [], [], 0.5)
            data = os.read(output.fileno(), 4096) if ready else b""
            text += data
            for line in text.decode(errors="replace").splitlines(keepends=True):
                if line.startswith("board: ") and line.endswith("\n"):
                    return line.removeprefix("board: ").strip()
            if ready and not data:
                break
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        raise LinkError(f"virtual board did not start: {said[-1] if said else 'it said nothing'}")


def _board_options(config: Config, folder: Path) -> list[str]:
    for name, known in PRESETS.items():
        if known == config:
            return ["--preset", name]
    path = folder / "config.json"
    path.write_text(config.to_json())
    return ["--config", str(path)]


def _open_failure(path: str, baud: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return f"serial port {path} does not exist: is the board plugged in?"
    if number in (errno.EACCES, errno.EPERM):
        return f"serial port {path} may not be opened: your user needs permission (often the group dialout)"
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"serial port {path} is in use by another program"
    if isinstance(error, ValueError):
        return f"serial port {path} cannot run at {baud} baud: {error}"
    return f"serial port {path} cannot be opened as a serial port: {error}"


def _open_emulated(place: str, options: dict[str, int], config: Config | None) -> Link:
    return EmulatedLink(EmulatedDevice(Machine(_chosen("emu:", place, config))))


def _open_simulated(place: str, options: dict[str, int], config: Config | None) -> Link:
    return SimulatedLink(_chosen("sim:", place, config), **options)


def _open_serial(place: str, options: dict[str, int], config: Config | None) -> Link:
    if not place:
        raise LinkError("link uart: must name a serial port, such as uart:/dev/ttyUSB1")
    return SerialLink(place, **options)


def _chosen(scheme: str, place: str, config: Config | None) -> Config:
    """The configuration of a device that can be any: named in the URL, else what the caller wants to run."""
    if place:
        return preset(place)
    if config is None:
        raise LinkError(f"link {scheme} must name a preset, such as {scheme}small")
    return config


SCHEMES: dict[str, tuple[Callable[[str, dict[str, int], Config | None], Link], frozenset[str]]] = {
    "emu": (_open_emulated, frozenset()),
    "sim": (_open_simulated, frozenset({"baud"})),
    "uart": (_open_serial, frozenset({"baud"})),
}


def open_link(url: str, config: Config | None = None) -> Link:
    """Open `emu:[PRESET]`, `sim:[PRESET]` or `uart:DEVICE[?baud=N]`.

    `config` is what an emulated or simulated device becomes when the URL names no preset. Raises `LinkError`, or
    `ConfigError` for an unknown preset.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in SCHEMES:
        raise LinkError(f"link must start with one of {', '.join(s + ':' for s in SCHEMES)}, not {url!r}")
    opener, allowed = SCHEMES[scheme]
    place, _, query = rest.partition("?")
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise LinkError(f"link {scheme}: has the options {known}, not {json.dumps(name)}")
        if not value.isascii() or not value.isdigit() or not 300 <= int(value) <= 12_000_000:
            raise LinkError(f"link option {name} must be an integer in 300..12000000, not {value!r}")
        options[name] = int(value)
    return opener(place, options, config)
