"""The two ends of `sim.proxy`: terminals, serial ports, TCP servers, emulated devices."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import tty
from typing import Protocol

from hw.arch.config import Config
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.errors import LinkError
from sw.serial_link import SerialLink
from sw.tcp_link import check_local

_MOST = 4096


class Closed(Exception):
    """The device is gone."""


class End(Protocol):
    """Where bytes come from and go to; `name` is what the host opens."""

    name: str

    def readable(self) -> list[int]:
        """File descriptors to wait for."""

    def pending(self) -> bool:
        """Whether there are bytes without waiting."""

    def read(self) -> bytes:
        """What there is. `Closed` when there will never be more."""

    def write(self, data: bytes) -> None:
        """Pass bytes on; they are lost when nobody listens."""

    def close(self) -> None:
        """Go away."""


class Terminal:
    """A pseudo-terminal for the host to open as a serial port."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.name = os.ttyname(self._slave)

    def readable(self) -> list[int]:
        return [self._master] if self._master >= 0 else []

    def pending(self) -> bool:
        return False

    def read(self) -> bytes:
        with contextlib.suppress(OSError):
            return os.read(self._master, _MOST)
        return b""

    def write(self, data: bytes) -> None:
        # A terminal nobody reads fills up; a serial line would lose these bytes too.
        with contextlib.suppress(OSError):
            os.write(self._master, data)

    def close(self) -> None:
        for end in (self._master, self._slave):
            if end >= 0:
                os.close(end)
        self._master = self._slave = -1


class Serial:
    """A serial port at which a board answers. `LinkError` when it cannot be opened."""

    def __init__(self, path: str) -> None:
        self._link = SerialLink(path)
        self.name = path

    def readable(self) -> list[int]:
        return [self._link._port.fileno()]

    def pending(self) -> bool:
        return False

    def read(self) -> bytes:
        try:
            return self._link.receive(0)
        except LinkError as error:
            raise Closed(str(error)) from None

    def write(self, data: bytes) -> None:
        try:
            self._link.send(data)
        except LinkError as error:
            raise Closed(str(error)) from None

    def close(self) -> None:
        self._link.close()


class Emulated:
    """A device in this process."""

    name = "emulated"

    def __init__(self, config: Config) -> None:
        self.device = EmulatedDevice(Machine(config))
        self._answers = b""

    def readable(self) -> list[int]:
        return []

    def pending(self) -> bool:
        return bool(self._answers)

    def read(self) -> bytes:
        data, self._answers = self._answers, b""
        return data

    def write(self, data: bytes) -> None:
        self._answers += self.device.feed(data)

    def close(self) -> None:
        self._answers = b""


class Server:
    """A TCP server for one host at a time; a new one takes the place of the last.

    Parameters
    ----------
    place : str, HOST:PORT, port 0 is any free one
    remote : bool, whether HOST may be reachable from other machines

    Raises `LinkError`.
    """

    def __init__(self, place: str, remote: bool = False) -> None:
        host, colon, port = place.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise LinkError(f"--tcp must be HOST:PORT with a port of 0..65535, not {place!r}")
        try:
            address = socket.getaddrinfo(host or "127.0.0.1", int(port), type=socket.SOCK_STREAM)[0]
            check_local(str(address[4][0]), remote, "--tcp must", "give --remote")
            self._server = socket.create_server(address[4], family=address[0])
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LinkError(f"--tcp {place} cannot be listened at: {reason}") from None
        self._host: socket.socket | None = None
        self.name = "tcp:{}:{}".format(*self._server.getsockname()[:2])

    def readable(self) -> list[int]:
        return [number for number in (self._server.fileno(), self._host.fileno() if self._host else -1) if number >= 0]

    def pending(self) -> bool:
        return False

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            self._server.setblocking(False)
            fresh, _ = self._server.accept()
            self._leave()
            fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            fresh.setblocking(False)
            self._host = fresh
        if self._host is None:
            return b""
        try:
            data = self._host.recv(_MOST)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._leave()
        return data

    def write(self, data: bytes) -> None:
        if self._host:
            try:
                self._host.sendall(data)
            except OSError:
                self._leave()

    def close(self) -> None:
        self._leave()
        self._server.close()

    def _leave(self) -> None:
        if self._host:
            self._host.close()
        self._host = None
