"""The accelerator on a board: UART pins, status LEDs and the platform's own clock and reset."""

from collections.abc import Callable

from amaranth import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io, wiring

from boards import Board
from hw.arch.config import Config

from .clock import CoreClock

MakeTop = Callable[..., wiring.Component]  # (config, *, baud) -> component with ports rx, tx, busy, error


def make_top(config: Config, *, baud: int) -> wiring.Component:
    """The accelerator with its UART."""
    # Imported here: elaborating needs the whole design, listing boards does not.
    from hw.top import Top
    return Top(config, baud=baud)


class BoardTop(Elaboratable):
    """Top of the bitstream.

    Parameters
    ----------
    board : Board
        Supplies pins and clock; the platform it is elaborated for must be its own.
    top : Component
        Has `rx`, `tx`, `busy` and `error`, one bit each, in domain `sync`.
    clock_hz : int
        Frequency of `sync`, one of the board's `core_clocks`.
    """

    def __init__(self, board: Board, top: wiring.Component, clock_hz: int) -> None:
        self.board = board
        self.top = top
        self.clock_hz = clock_hz

    def elaborate(self, platform):
        m = Module()
        board = self.board
        m.submodules.accelerator = top = self.top

        # The platform makes the domain of its own oscillator by itself.
        if self.clock_hz != board.clock_hz:
            m.domains.sync = ClockDomain("sync")
            m.submodules.clock = CoreClock(board, self.clock_hz)

        # Pins are requested raw: whatever else the resource has (flow control) stays unconnected.
        uart = platform.request(*board.uart, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [top.rx.eq(rx.i), tx.o.eq(top.tx)]

        # The alive LED blinks at about 1 Hz, so it tells a running clock from a stuck one.
        beat = Signal(range(self.clock_hz))
        m.d.sync += beat.eq(beat + 1)
        for pin, level in ((board.alive, beat[-1]), (board.busy, top.busy), (board.error, top.error)):
            port = platform.request(*pin[:2], dir="-")
            led = io.Buffer("o", getattr(port, pin[2]) if len(pin) == 3 else port)
            m.submodules[f"{pin[0]}_{pin[1]}"] = led
            m.d.comb += led.o.eq(level)
        return m
