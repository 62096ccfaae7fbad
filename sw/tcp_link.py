"""A link over TCP, as to a virtual board behind `python -m sim.proxy`."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket

from sw.errors import LinkError

_CONNECT_SECONDS = 5.0


class TcpLink:
    """A byte stream to HOST:PORT.

    Parameters
    ----------
    host : str, name or address
    port : int, 1..65535
    remote : bool, whether the host may be another machine: the stream is neither encrypted nor authenticated
    timeout : float, seconds

    Raises `LinkError`: remote without leave, unknown host, refused.
    """

    def __init__(self, host: str, port: int, remote: bool = False, timeout: float = 2.0) -> None:
        self.name = f"tcp:{host}:{port}"
        self.timeout = timeout
        self.bytes_per_second: float | None = None
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
            check_local(str(address[0]), remote, f"link {self.name} must", "give ?remote=1")
            self._socket = socket.create_connection((str(address[0]), port), _CONNECT_SECONDS)
        except (OSError, UnicodeError) as error:
            raise LinkError(f"link {self.name} cannot be opened: {getattr(error, 'strerror', None) or error}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkError(f"link {self.name} is gone: {error}") from None

    def receive(self, timeout: float) -> bytes:
        try:
            ready, _, _ = select.select([self._socket], [], [], max(timeout, 0))
            data = self._socket.recv(65536) if ready else b""
        except (OSError, ValueError) as error:
            raise LinkError(f"link {self.name} is gone: {error}") from None
        if ready and not data:
            raise LinkError(f"link {self.name} is gone: the other end has closed it")
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


def check_local(address: str, remote: bool, subject: str, remedy: str) -> None:
    """`LinkError` for an address beyond this machine, unless `remote`."""
    if not remote and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise LinkError(f"{subject} stay on this machine, not {address}: {remedy} to allow others")
