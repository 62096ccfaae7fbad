"""The virtual board: its command line, and the link's path through a real pseudo-terminal and pyserial."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import serial

from hw.arch import wire
from hw.arch.config import Space, preset
from hw.arch.wire import Address, Error, Hello, Refusal, Status, Type
from sim.board import main
from sim.helpers import frame, parse

SESSION = 0x0B0A
RESULT = Address(Space.RESULTS, 0, 3).pack()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--preset", "huge"], r"preset must be one of .*tiny, .*, not 'huge'"),
    (["--config", "no-such-file.json"], r"configuration file no-such-file\.json cannot be read: No such file"),
    (["--baud", "0"], r"--baud must be in 300\.\.3125000 at this clock, not 0"),
    (["--baud", "9999999"], r"--baud must be in 300\.\.3125000 at this clock, not 9999999"),
    (["--clock-per-bit", "7.9"], r"--clock-per-bit must be in 8\.\.83333, not 7\.9"),
    (["--clock-per-bit", "nan"], r"--clock-per-bit must be in 8\.\.83333, not nan"),
])
def test_bad_input_is_one_sentence(arguments, message, capsys):
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"sim\.board: {message}[^\n]*\n", err)


@pytest.mark.parametrize(("text", "message"), [
    ("{", "must be a JSON object"), ("[]", "must be a JSON object, not list"),
    ('{"K": 1}', "configuration key must be"),
    ('{"word": 12}', r"Config\.word must be a multiple of 8"), ("\xff", "it is not text"),
])
def test_bad_configuration_is_one_sentence(text, message, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    assert main(["--config", str(path)]) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(rf"sim\.board: [^\n]*{message}[^\n]*\n", err)


def test_a_missing_tool_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sim.runner.shutil.which", lambda tool: None if tool == "g++" else tool)
    assert main(["--preset", "tiny", "--build-only"]) == 1
    assert capsys.readouterr().err == "sim.board: simulation needs the program g++, which is not installed\n"


def test_help_names_the_presets(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "tiny-2x2" in capsys.readouterr().out


class Board:
    """The virtual board as a process, and a host on its terminal."""

    def __init__(self, *arguments: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sim.board", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2], text=True,
        )
        self.path = self.plugged()
        self.sequence = 0

    def plugged(self) -> str:
        """The path that the board prints when it has a new terminal."""
        word, path = self.process.stdout.readline().split()
        assert word == "board:"
        return path

    def order(self, command: str) -> None:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def obey(self, command: str) -> str:
        """The board's answer to a command."""
        self.order(command)
        answer = self.process.stdout.readline()
        assert answer.startswith(command), answer
        return answer

    def open(self) -> None:
        self.port = serial.Serial(self.path, exclusive=True, timeout=60)

    def hello(self) -> Hello:
        return Hello.unpack(self.ask(Type.HELLO)[1])

    def stored(self) -> bool:
        """Whether the word that `store` wrote is there."""
        return any(self.ask(Type.READ, RESULT + b"\1\0")[1])

    def store(self) -> None:
        word = b"\1" * preset("tiny").memories[Space.RESULTS].bytes_per_word
        assert self.ask(Type.WRITE, RESULT + word) == (Type.WRITE, b"")
        assert self.stored()

    def ask(self, kind: int, payload: bytes = b"") -> tuple[int, bytes]:
        """Type and payload of the reply to the next request."""
        self.port.write(frame(kind, self.sequence, SESSION, payload))
        header, body = self.reply()
        assert (header.sequence, header.session) == (self.sequence, SESSION)
        self.sequence = (self.sequence + 1) % 256
        return header.type, body

    def reply(self) -> tuple[wire.Header, bytes]:
        line = b""
        while len(line) < 2:
            line = self.port.read_until(b"\0")
            assert line, "no reply"
        return parse(line[:-1])

    def ask_at(self, kind: int, sequence: int) -> bytes:
        """Payload of the reply to a request with the given sequence number."""
        self.sequence = sequence % 256
        type_, body = self.ask(kind)
        assert type_ == kind
        return body

    def busy_seconds(self, seconds: float) -> float:
        """Processor time that the board takes while nothing is sent."""
        def used() -> float:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before = used()
        time.sleep(seconds)
        return used() - before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        self.port.close()


@pytest.fixture
def board():
    board = Board("--preset", "tiny", "--until-eof")
    board.open()
    yield board
    board.close()


def test_a_host_talks_to_the_board(board):
    config, rng = preset("tiny"), random.Random(11)
    hello = Hello.unpack(board.ask(Type.HELLO)[1])
    assert (hello.design, hello.digest) == (wire.DESIGN_ID, config.digest)
    for size in (0, 1, 300, wire.MAX_PAYLOAD):
        payload = rng.randbytes(size)
        assert board.ask(Type.PING, payload) == (Type.PING, payload)
    for bank in range(config.pixel_lanes):
        words = rng.randbytes(200 * config.memories[Space.ACTIVATIONS].bytes_per_word)
        place = Address(Space.ACTIVATIONS, bank, 700).pack()
        assert board.ask(Type.WRITE, place + words) == (Type.WRITE, b"")
        assert board.ask(Type.READ, place + (200).to_bytes(2, "little")) == (Type.READ, words)
    assert board.ask(Type.RUN, b"!") == (Type.ERROR, Refusal(Error.LENGTH, Type.RUN, 0).pack())
    assert Status.unpack(board.ask(Type.STATUS)[1]) == Status(0, 0, 0, 0, 0, wire.IMAGE_FIFO, 0, 0, 0)

    # Noise, then another host on the same terminal.
    board.port.write(rng.randbytes(3000))
    board.port.close()
    board.open()
    board.port.write(bytes(2))
    board.port.reset_input_buffer()
    assert Hello.unpack(board.ask(Type.HELLO)[1]) == hello
    status = Status.unpack(board.ask(Type.STATUS)[1])
    assert status.bad_frames > 0

    # With nothing to do it takes no processor time, terminal open or closed.
    assert board.busy_seconds(1.0) < 0.1
    board.port.close()
    assert board.busy_seconds(1.0) < 0.1


def test_the_board_ends_when_asked(board):
    board.process.stdin.close()
    assert board.process.wait(timeout=10) == 0


def test_every_start_is_another_epoch(board):
    first = Hello.unpack(board.ask(Type.HELLO)[1])
    board.process.send_signal(signal.SIGTERM)
    assert board.process.wait(timeout=10) == 0
    other = Board("--preset", "tiny")
    try:
        other.open()
        second = Hello.unpack(other.ask(Type.HELLO)[1])
    finally:
        other.close()
    assert second.epoch not in (0, first.epoch)
    assert second.digest == first.digest


def test_reset_and_power_begin_another_epoch(board):
    epochs = [board.hello().epoch]
    board.store()
    assert board.obey("reset") == "reset\n"
    epochs.append(board.hello().epoch)
    assert board.stored(), "reset keeps the memories"
    assert board.obey("power") == "power\n"
    epochs.append(board.hello().epoch)
    assert not board.stored(), "memories live as long as the power"
    assert len({0, *epochs}) == 4


def test_unplugging_takes_the_terminal_away(board, tmp_path):
    first = board.hello()
    board.store()
    assert board.obey("unplug") == "unplug\n"
    with pytest.raises((serial.SerialException, OSError)):
        board.ask(Type.STATUS)
    board.port.close()
    assert board.busy_seconds(0.5) < 0.1
    for _ in range(2):
        board.order("replug")
        board.path = board.plugged()
        board.open()
        again = board.hello()
        assert again.epoch not in (0, first.epoch)
        assert not board.stored()
        board.port.close()
        board.obey("unplug")


def test_a_symbolic_link_follows_the_terminal(tmp_path):
    path = tmp_path / "board"
    board = Board("--preset", "tiny", "--until-eof", "--symlink", str(path))
    try:
        assert board.path == str(path)
        board.open()
        board.hello()
        board.obey("unplug")
        board.port.close()
        assert not path.is_symlink()
        board.order("replug")
        assert board.plugged() == str(path)
        board.open()
        assert board.hello().digest == preset("tiny").digest
        board.process.stdin.close()
        assert board.process.wait(timeout=10) == 0
        assert not path.is_symlink()
    finally:
        board.close()


@pytest.mark.parametrize(("command", "answer"), [
    ("explode", r"error: command must be reset, power, unplug, replug or line.*, not 'explode'\n"),
    ("replug", r"replug: the board is not unplugged\n"),
])
def test_commands_that_cannot_be_obeyed(board, command, answer):
    board.order(command)
    assert re.fullmatch(answer, board.process.stdout.readline())
    assert board.hello().epoch


@pytest.mark.parametrize(("size", "count", "window", "least"), [
    (512, 48, 8, 0.95), (1024, 40, 7, 0.95), (512, 64, 15, 0.95), (200, 96, wire.WINDOW, 0.92),
])
def test_a_clean_line_is_used_in_full(board, size, count, window, least):
    """Both directions, in simulated time: requests with `size` bytes of payload, echoed; at most `window` under way."""
    board.hello()
    rng = random.Random(size + window)
    assert window * (size + wire.MAX_FRAME - wire.MAX_PAYLOAD) <= wire.RECEIVE_BUFFER
    payloads = [rng.randbytes(size) for _ in range(count)]
    frames = [frame(Type.PING, (1 + n) % 256, SESSION, payload) for n, payload in enumerate(payloads)]
    board.obey("line")
    sent = 0
    for done, payload in enumerate(payloads):
        ahead = min(done + window, count)
        board.port.write(b"".join(frames[sent:ahead]))
        sent = ahead
        header, body = board.reply()
        assert (header.sequence, body) == ((1 + done) % 256, payload)
    used = dict(pair.split("=") for pair in board.obey("line").split()[1:])
    goodput = 10 * float(used["per_bit"]) * size * count / int(used["cycles"])
    # The last echo only begins when its request is in.
    whole = (count + 1) / count
    print(f"{size} bytes, window {window}: goodput {100 * goodput:.1f} % of line rate, start and end included")
    assert goodput * whole >= least
    assert Status.unpack(board.ask_at(Type.STATUS, 1 + count)).line_errors == 0
