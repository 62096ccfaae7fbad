"""A link to the RTL in simulation."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hw.arch.config import PRESETS, Config
from sw.errors import LinkError
from sw.serial_link import DEFAULT_BAUD, SerialLink

BOARD_START_SECONDS = 600.0  # the first start of a configuration compiles its simulation


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
        self.bytes_per_second: float | None = None  # of simulated time

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
