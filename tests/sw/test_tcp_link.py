"""The TCP link: addresses, and what happens when the other end is not there."""

from __future__ import annotations

import socket

import pytest

from sw.errors import LinkError
from sw.link import open_link
from sw.tcp_link import TcpLink, check_local


def test_bytes_go_both_ways_until_the_other_end_leaves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        link = open_link(f"tcp:localhost:{port}")
        peer, _ = server.accept()
        link.send(b"question")
        assert peer.recv(100) == b"question"
        assert link.receive(0.01) == b""
        peer.sendall(b"answer")
        assert link.receive(5) == b"answer"
        peer.close()
        with pytest.raises(LinkError, match=f"link tcp:localhost:{port} is gone: the other end has closed it"):
            link.receive(5)
        link.close()
        link.close()
        with pytest.raises(LinkError, match="is gone"):
            link.send(b"x")


@pytest.mark.parametrize(("url", "message"), [
    ("tcp:", "link tcp: must name host and port 1..65535, such as tcp:127.0.0.1:7070, not ''"),
    ("tcp:localhost", "must name host and port"),
    ("tcp:localhost:0", "must name host and port"),
    ("tcp:localhost:65536", "must name host and port"),
    ("tcp:localhost:x", "must name host and port"),
    ("tcp:127.0.0.1:1?baud=9600", 'link tcp: has the options remote, not "baud"'),
    ("tcp:127.0.0.1:1?remote=2", r"link option remote must be an integer in 0\.\.1, not '2'"),
    ("tcp:192.0.2.1:7070", r"link tcp:192.0.2.1:7070 must stay on this machine, not 192.0.2.1: give \?remote=1"),
    ("tcp:0.0.0.0:7070", "must stay on this machine, not 0.0.0.0"),
])
def test_wrong_urls(url: str, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        open_link(url)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LinkError, match=f"link tcp:127.0.0.1:{port} cannot be opened: Connection refused"):
        TcpLink("127.0.0.1", port)


@pytest.mark.parametrize(("address", "local"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("fe80::1%eth0", False),
])
def test_this_machine(address: str, local: bool) -> None:
    check_local(address, True, "x must", "y")
    if local:
        check_local(address, False, "x must", "y")
    else:
        with pytest.raises(LinkError, match=f"x must stay on this machine, not {address}: y to allow others"):
            check_local(address, False, "x must", "y")
