"""A byte stream between host and device that does faults to both directions.

    python -m sim.proxy --device /dev/pts/3 --flip 1e-5 --drop 1e-4
    proxy: /dev/pts/4
    python -m sim.proxy --device /dev/pts/3 --tcp 127.0.0.1:7070
    proxy: tcp:127.0.0.1:7070
    python -m sim.proxy --emulated tiny
    proxy: /dev/pts/5

The host opens what is printed. With `--until-eof` an emulated device takes the commands of `sim.board`, one per line:
reset, power, unplug, replug.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import select
import sys
import time
from collections.abc import Callable

from hw.arch.config import ConfigError, preset
from hw.options import Parser
from sim.ends import Closed, Emulated, End, Serial, Server, Terminal
from sim.faults import Corruptor, Faults
from sim.line import Delay
from sw.errors import AbacusError

_LONGEST_WAIT = 1.0


class Proxy:
    """Carries bytes between two ends.

    Parameters
    ----------
    near, far : End, of the host and of the device
    faults : Faults, of both directions
    seed : int
    """

    def __init__(self, near: End, far: End, faults: Faults, seed: int) -> None:
        self.near, self.far = near, far
        self._ways = [
            _Way(near, far, Corruptor(faults, 2 * seed), Delay(faults, 2 * seed)),
            _Way(far, near, Corruptor(faults, 2 * seed + 1), Delay(faults, 2 * seed + 1)),
        ]

    def step(self, files: tuple[int, ...] = (), longest: float = _LONGEST_WAIT) -> list[int]:
        """Wait for bytes or for one of `files` and carry what there is; which of the files can be read."""
        now = time.monotonic()
        due = min(way.delay.next_at for way in self._ways)
        wanted = [*files, *(number for end in (self.near, self.far) for number in end.readable())]
        ready, _, _ = select.select(wanted, [], [], max(0.0, min(due - now, longest)))
        for way in self._ways:
            way.carry(ready)
        return [file for file in files if file in ready]


@dataclasses.dataclass
class _Way:
    """One direction."""

    source: End
    sink: End
    corruptor: Corruptor
    delay: Delay

    def carry(self, ready: list[int]) -> None:
        if set(self.source.readable()) & set(ready) or self.source.pending():
            self.delay.put(self.corruptor(self.source.read()), time.monotonic())
        if data := self.delay.get(time.monotonic()):
            self.sink.write(data)


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = parser().parse_args(argv)
    try:
        faults = Faults(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Faults)})
        far: End = Emulated(preset(args.emulated)) if args.emulated else Serial(args.device)
        proxy = Proxy(_near(args), far, faults, args.seed)
        print(f"proxy: {proxy.near.name}", flush=True)
        return _serve(proxy, args.until_eof, lambda: _near(args))
    except (ValueError, ConfigError, AbacusError) as error:
        print(f"sim.proxy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _near(args: argparse.Namespace) -> End:
    return Server(args.tcp, args.remote) if args.tcp else Terminal()


def _serve(proxy: Proxy, until_eof: bool, plug: Callable[[], End]) -> int:
    commands = (sys.stdin.fileno(),) if until_eof else ()
    text = b""
    while True:
        try:
            ready = proxy.step(commands)
        except Closed as error:
            print(f"sim.proxy: {error}", file=sys.stderr)
            return 1
        if ready:
            data = os.read(ready[0], 4096)
            if not data:
                return 0
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                print(command(proxy, line.decode(errors="replace").strip(), plug), flush=True)


def command(proxy: Proxy, name: str, plug: Callable[[], End]) -> str:
    """Do what `sim.board` does on the same command; the answer."""
    far = proxy.far
    if not isinstance(far, Emulated):
        return "error: only an emulated device takes commands"
    if name in ("reset", "power"):
        (far.device.reset_button if name == "reset" else far.device.power_cycle)()
        return name
    if name == "unplug":
        proxy.near.close()
        far.device.power_cycle()
        return name
    if name == "replug":
        proxy.near = plug()
        proxy._ways[0].source = proxy._ways[1].sink = proxy.near
        return f"proxy: {proxy.near.name}"
    return f"error: command must be reset, power, unplug or replug, not {name!r}"


def parser() -> Parser:
    """The command line."""
    result = Parser(prog="python -m sim.proxy", description="A faulty line between host and device.")
    device = result.add_mutually_exclusive_group(required=True)
    device.add_argument("--device", metavar="PATH", help="serial port of a board, virtual or not")
    device.add_argument("--emulated", metavar="PRESET", help="a device in this process")
    result.add_argument("--tcp", metavar="HOST:PORT", help="listen there instead of making a terminal; port 0 is any")
    result.add_argument("--remote", action="store_true", help="let other machines connect")
    result.add_argument("--until-eof", action="store_true", help="take commands from standard input and end with it")
    result.add_argument("--seed", type=int, default=1, metavar="N", help="of the faults; default 1")
    for field in dataclasses.fields(Faults):
        option = "--" + field.name.replace("_", "-")
        result.add_argument(option, type=float, default=field.default, metavar="X", help="see sim.faults")
    return result


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
