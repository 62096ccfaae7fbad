"""The faulty line: what it does to bytes, that it does so again, and the driver behind the real process."""

from __future__ import annotations

import dataclasses
import random
import socket
import subprocess
import sys

import numpy as np
import pytest

from sim.faults import NOISY, Corruptor, Faults
from sim.line import Delay, Line
from sim.proxy import main
from sim.torture import network
from sim.torture.boards import Board
from sw.driver import Accelerator
from sw.link import open_link

CHANCES = [field.name for field in dataclasses.fields(Faults) if field.name not in
           ("stall", "stall_seconds", "latency", "jitter")]
DATA = random.Random(3).randbytes(200_000)


def test_no_faults_no_change() -> None:
    corruptor = Corruptor(Faults(), 1)
    assert corruptor(DATA) == DATA
    assert corruptor.events == 0


@pytest.mark.parametrize("name", CHANCES)
def test_faults_come_as_often_as_told_and_again(name: str) -> None:
    faults, chance = Faults(**{name: 1e-3}), 1 - (1 - 1e-3) ** (8 if name == "flip" else 1)
    corruptor = Corruptor(faults, 7)
    damaged = b"".join(corruptor(DATA[i : i + 777]) for i in range(0, len(DATA), 777))
    again = Corruptor(faults, 7)
    assert damaged == b"".join(again(DATA[i : i + 777]) for i in range(0, len(DATA), 777))
    assert damaged != DATA
    # Bytes that a burst, break or truncation takes with it have no faults of their own.
    least = {"burst": 0.9, "line_break": 0.9, "truncate": 0.6}.get(name, 0.95)
    assert least * 0.8 <= corruptor.events / (chance * len(DATA)) <= 1.25


@pytest.mark.parametrize(("name", "sign"), [("drop", -1), ("insert", 1), ("duplicate", 1), ("flip", 0), ("burst", 0)])
def test_lengths_change_as_they_should(name: str, sign: int) -> None:
    corruptor = Corruptor(Faults(**{name: 1e-3}), 7)
    assert abs(len(corruptor(DATA)) - len(DATA) - sign * corruptor.events) <= (64 if name == "burst" else 0)


def test_a_flip_is_one_bit() -> None:
    damaged = Corruptor(Faults(flip=1e-4), 7)(DATA)
    assert {(a ^ b).bit_count() for a, b in zip(DATA, damaged, strict=True)} == {0, 1}


def test_truncation_ends_with_the_frame() -> None:
    frame = b"\x00" + b"\x05" * 50 + b"\x00"
    damaged = Corruptor(Faults(truncate=0.01), 7)(frame * 100)
    assert damaged.count(0) >= 190
    assert damaged.count(5) < 5000


@pytest.mark.parametrize(("changes", "message"), [
    ({"drop": 1.5}, r"fault drop must be in 0\.\.1, not 1.5"),
    ({"latency": -1.0}, r"fault latency must be in 0\.\.60, not -1"),
])
def test_chances_out_of_range(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**changes)


def test_delays_keep_the_order() -> None:
    delay = Delay(Faults(latency=0.01, jitter=0.05, stall=0.2, stall_seconds=0.3), 7)
    for n in range(100):
        delay.put(bytes([n]), n * 0.001)
    got, now = b"", 0.0
    while len(got) < 100:
        assert delay.next_at >= now
        now = delay.next_at
        got += delay.get(now)
    assert got == bytes(range(100))
    assert delay.next_at == float("inf")
    assert now > 0.109


def test_a_line_takes_its_time() -> None:
    line = Line(100_000, Faults(latency=0.5), 1)
    assert line.send(bytes(1000), 2.0) == pytest.approx(2.1)
    assert line.receive(2.59) != b""
    assert len(line.receive(2.6) + line.receive(3.0)) > 0
    assert line.receive(9.0) == b""


def test_inference_through_the_noisy_process_and_commands() -> None:
    options = [f"--{field.name.replace('_', '-')}={getattr(NOISY, field.name)}" for field in dataclasses.fields(Faults)]
    program, images = network.program(), network.images(4)
    with Board("emulated", *options) as board:
        for event in ("reset", "power", "unplug"):
            with Accelerator(open_link(f"uart:{board.path}"), retries=20) as accelerator:
                assert accelerator.load(program)
                np.testing.assert_array_equal(accelerator.infer(images), network.expected(program, images))
            board.command(event)
            if event == "unplug":
                board.command("replug")
        with pytest.raises(RuntimeError, match="command must be reset, power, unplug or replug, not 'dance'"):
            board.command("dance")


def test_the_third_link_is_tcp() -> None:
    program, images = network.program(), network.images(3)
    with Board("emulated", "--tcp", "127.0.0.1:0") as board:
        url = f"tcp:{board.path.removeprefix('tcp:')}"
        for fresh in (True, False):  # a second host takes the first one's place and finds the program
            with Accelerator(open_link(url)) as accelerator:
                assert accelerator.load(program) == fresh
                np.testing.assert_array_equal(accelerator.infer(images), network.expected(program, images))


def test_a_board_behind_a_serial_port() -> None:
    """Host, TCP, proxy, terminal, board."""
    program, images = network.program(), network.images(2)
    with Board("emulated") as board:
        command = [sys.executable, "-m", "sim.proxy", "--device", board.path, "--tcp", "127.0.0.1:0", "--until-eof"]
        proxy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert proxy.stdout is not None
        assert proxy.stdin is not None
        url = proxy.stdout.readline().removeprefix("proxy: ").strip()
        with Accelerator(open_link(url)) as accelerator:
            accelerator.load(program)
            np.testing.assert_array_equal(accelerator.infer(images), network.expected(program, images))
        proxy.stdin.close()
        assert proxy.wait(10) == 0
        proxy.stdout.close()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--emulated", "huge"], "preset must be one of .*, not 'huge'"),
    (["--device", "/dev/ttyUSB77"], "serial port /dev/ttyUSB77 does not exist"),
    (["--emulated", "tiny", "--drop", "2"], "fault drop must be in 0..1, not 2"),
    (["--emulated", "tiny", "--tcp", "nowhere"], "--tcp must be HOST:PORT with a port of 0..65535, not 'nowhere'"),
    (["--emulated", "tiny", "--tcp", "0.0.0.0:0"], "--tcp must stay on this machine, not 0.0.0.0: give --remote"),
])
def test_bad_input_is_one_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message.split(".*")[0] in err


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        assert main(["--emulated", "tiny", "--tcp", place]) == 1
    assert f"--tcp {place} cannot be listened at" in capsys.readouterr().err
