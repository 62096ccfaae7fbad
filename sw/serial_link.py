"""A link over a serial port, and who else has it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import termios
from pathlib import Path

import serial

from hw.arch import wire
from sw.errors import LinkError

DEFAULT_BAUD = 3_000_000
BITS_PER_BYTE = 10
LATENCY_MS = 1
_SYSFS = Path("/sys/bus/usb-serial/devices")
_PROC = Path("/proc")
_GONE = (serial.SerialException, OSError, termios.error)  # what a port raises that was pulled out
_PSEUDO_TERMINALS = "/dev/pts/"


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
        self.bytes_per_second: float | None = baud / BITS_PER_BYTE
        self.timeout = 0.3 + 2 * wire.MAX_FRAME / self.bytes_per_second if timeout is None else timeout
        try:
            self._port = serial.Serial(path, baud, timeout=0, write_timeout=10 + self.timeout, exclusive=True)
            _keep_others_out(self._port, path)
            # What an earlier owner left behind, in both directions.
            self._port.reset_input_buffer()
            self._port.reset_output_buffer()
        except (ValueError, *_GONE) as error:
            raise LinkError(_open_failure(path, baud, error)) from None
        self.latency_ms = shorten_latency(self._port, path)

    def send(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise LinkError(f"serial port {self.name} takes no bytes: is something reading at the other end?") from None
        except (TypeError, *_GONE) as error:
            raise LinkError(f"serial port {self.name} is gone: {error}") from None

    def receive(self, timeout: float) -> bytes:
        try:
            ready, _, _ = select.select([self._port.fileno()], [], [], max(timeout, 0))
            return bytes(self._port.read(max(self._port.in_waiting, 1))) if ready else b""
        except (TypeError, ValueError, *_GONE) as error:
            raise LinkError(f"serial port {self.name} is gone: {error}") from None

    def close(self) -> None:
        self._port.close()


def _keep_others_out(port: serial.Serial, path: str) -> None:
    """Refuse the port to everybody but root; the lock that pyserial takes stops only those who ask for it too.

    A pseudo-terminal would stay refused when its owner is killed, and has no line that two could garble.
    """
    if not os.path.realpath(path).startswith(_PSEUDO_TERMINALS):
        fcntl.ioctl(port.fileno(), termios.TIOCEXCL)


def shorten_latency(port: serial.Serial, path: str) -> int | None:
    """Make an FTDI adapter pass bytes on within 1 ms instead of 16; the milliseconds, None if it is none.

    Users without the right to set the timer get it by asking for low latency; where neither works, nothing changes.
    """
    timer = _SYSFS / Path(path).resolve().name / "latency_timer"
    if not timer.exists():
        return None
    with contextlib.suppress(OSError):
        timer.write_text(str(LATENCY_MS))
    with contextlib.suppress(OSError, ValueError):
        if int(timer.read_text()) > LATENCY_MS:
            port.set_low_latency_mode(True)
    try:
        return int(timer.read_text())
    except (OSError, ValueError):
        return None


def owner(path: str) -> int | None:
    """Process id of who holds the port, as far as one may know."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        info = os.stat(path)
        place = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
        for line in (_PROC / "locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == place and int(fields[4]) > 0:
                return int(fields[4])
    real = os.path.realpath(path)
    for link in _PROC.glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == real and int(link.parts[-3]) != os.getpid():
                return int(link.parts[-3])
    return None


def _open_failure(path: str, baud: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return f"serial port {path} does not exist: is the board plugged in?"
    if number in (errno.EACCES, errno.EPERM):
        return f"serial port {path} may not be opened: your user needs permission (often the group dialout)"
    if number in (errno.EBUSY, errno.EAGAIN):
        holder = owner(path)
        return f"serial port {path} is in use by " + (f"process {holder}" if holder else "another program")
    if isinstance(error, ValueError):
        return f"serial port {path} cannot run at {baud} baud: {error}"
    return f"serial port {path} cannot be opened as a serial port: {error}"
