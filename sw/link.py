"""Byte streams to a device, opened by URL: `emu:`, `sim:`, `uart:DEVICE`, `tcp:HOST:PORT`.

The driver knows `Link` and nothing of what is behind it; a new kind of link is a class and a line in `SCHEMES`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qsl

from hw.arch.config import Config, preset
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.errors import LinkError
from sw.serial_link import SerialLink
from sw.simulated_link import SimulatedLink
from sw.tcp_link import TcpLink

Options = dict[str, int]
BAUD = (300, 12_000_000)


class Link(Protocol):
    """An ordered byte stream in both directions that may lose or garble bytes.

    Members
    -------
    name : str, for messages
    timeout : float, seconds within which a live device answers any request
    bytes_per_second : float or None, what the line carries; None where nothing is gained by sending no faster
    """

    name: str
    timeout: float
    bytes_per_second: float | None

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
        self.bytes_per_second: float | None = None
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


def _open_emulated(place: str, options: Options, config: Config | None) -> Link:
    return EmulatedLink(EmulatedDevice(Machine(_chosen("emu:", place, config))))


def _open_simulated(place: str, options: Options, config: Config | None) -> Link:
    return SimulatedLink(_chosen("sim:", place, config), **options)


def _open_serial(place: str, options: Options, config: Config | None) -> Link:
    if not place:
        raise LinkError("link uart: must name a serial port, such as uart:/dev/ttyUSB1")
    return SerialLink(place, **options)


def _open_tcp(place: str, options: Options, config: Config | None) -> Link:
    host, colon, port = place.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise LinkError(f"link tcp: must name host and port 1..65535, such as tcp:127.0.0.1:7070, not {place!r}")
    return TcpLink(host.removeprefix("[").removesuffix("]"), int(port), remote=bool(options.get("remote", 0)))


def _chosen(scheme: str, place: str, config: Config | None) -> Config:
    """The configuration of a device that can be any: named in the URL, else what the caller wants to run."""
    if place:
        return preset(place)
    if config is None:
        raise LinkError(f"link {scheme} must name a preset, such as {scheme}small")
    return config


Opener = Callable[[str, Options, "Config | None"], Link]
# How to open a link, and the options that may follow `?` with their ranges.
SCHEMES: dict[str, tuple[Opener, dict[str, tuple[int, int]]]] = {
    "emu": (_open_emulated, {}),
    "sim": (_open_simulated, {"baud": BAUD}),
    "uart": (_open_serial, {"baud": BAUD}),
    "tcp": (_open_tcp, {"remote": (0, 1)}),
}


def open_link(url: str, config: Config | None = None) -> Link:
    """Open `emu:[PRESET]`, `sim:[PRESET]`, `uart:DEVICE[?baud=N]` or `tcp:HOST:PORT[?remote=1]`.

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
        low, high = allowed[name]
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise LinkError(f"link option {name} must be an integer in {low}..{high}, not {value!r}")
        options[name] = int(value)
    return opener(place, options, config)
