"""`python -m sw devices`: the serial ports of this machine and what answers at them."""

from __future__ import annotations

import argparse

from serial.tools import list_ports

from hw.arch.config import PRESETS
from hw.arch.wire import Hello
from sw.connection import Connection
from sw.errors import AbacusError
from sw.link import open_link

BAUDS = (3_000_000, 115_200, 1_000_000, 2_000_000, 921_600, 460_800, 230_400, 12_000_000, 6_000_000, 4_000_000)
_TIMEOUT = 0.15
_RETRIES = 1


def run(args: argparse.Namespace) -> int:
    """Greet every port; 0 if a device answers at one of them."""
    found = [(port.device, port.description) for port in sorted(list_ports.comports(), key=lambda p: str(p.device))]
    found += [(port, "") for port in args.port if port not in {path for path, _ in found}]
    if not found:
        print("no serial ports found")
    answers = 0
    for path, description in found:
        try:
            text = identity(greet(f"uart:{path}?baud={args.baud}"))
            answers += 1
        except AbacusError as error:
            text = str(error)
        print(f"{path}  {description}  {text}" if description else f"{path}  {text}")
    return 0 if answers else 1


def greet(url: str, timeout: float = _TIMEOUT) -> Hello:
    """Who answers at a link; it is closed again. Raises `AbacusError`."""
    link = open_link(url)
    connection = Connection(link, 1, max(timeout, min(link.timeout, 1.0)), _RETRIES)
    try:
        return connection.greet(_RETRIES)
    finally:
        connection.close()


def identity(hello: Hello) -> str:
    """A device in words."""
    name = next((name for name, config in PRESETS.items() if config.digest == hello.digest), hello.digest.hex()[:16])
    return f"device of configuration {name}, design {hello.design.hex()}, epoch {hello.epoch:08x}"
