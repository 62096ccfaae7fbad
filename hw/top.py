"""The whole accelerator: serial line, link endpoint and core."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arch.config import Config
from hw.core import Core
from hw.interfaces import read_layout, write_layout
from hw.link.endpoint import Endpoint
from hw.link.uart import Uart, phase_step
from hw.queue import Buffer


class Top(wiring.Component):
    """An accelerator with a UART.

    Parameters
    ----------
    config : Config
        Its `clock_hz` is the frequency of the `sync` domain.
    baud : int
        Bits per second of the line; `ValueError` where the clock does not allow it.

    Members
    -------
    rx : In(1), tx : Out(1)              serial line, idle high
    busy : Out(1)                        a frame runs
    error : Out(1)                       the core stopped with a fault
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)
    busy: Out(1)
    error: Out(1)

    def __init__(self, config: Config, *, baud: int):
        phase_step(config.clock_hz, baud)
        self._config, self._baud = config, baud
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.uart = uart = Uart(self._config.clock_hz, self._baud)
        m.submodules.endpoint = endpoint = Endpoint(self._config)
        m.submodules.core = core = Core(self._config)
        m.submodules.writes = writes = Buffer(write_layout(self._config))
        m.submodules.reads = reads = Buffer(read_layout())
        m.d.comb += [
            uart.rx.eq(self.rx), self.tx.eq(uart.tx),
            self.busy.eq(core.status.busy), self.error.eq(core.status.fault != 0),
        ]
        wiring.connect(m, uart.o, endpoint.i)
        wiring.connect(m, endpoint.o, uart.i)

        # Link and core lie far apart: all that crosses over starts and ends at a register.
        m.d.sync += [
            core.start.eq(endpoint.start), core.reset.eq(endpoint.reset), endpoint.status.eq(core.status)]
        wiring.connect(m, endpoint.o_write, writes.i)
        wiring.connect(m, writes.o, core.i_write)
        wiring.connect(m, endpoint.o_read, reads.i)
        wiring.connect(m, reads.o, core.i_read)
        wiring.connect(m, core.o_read, endpoint.i_read)
        wiring.connect(m, endpoint.o_image, core.i_image)
        return m
