"""A stand-in for the accelerator that routes in seconds, and stand-ins for the tools that build it."""

import json
import stat

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

ROUTER = """#!{python}
import json
json.dump({{"fmax": {{"clk": {{"achieved": {achieved}, "constraint": 25}}}},
           "utilization": {{"LUT": {{"used": 1, "available": 2}}}}}}, open("route.json", "w"))
open("top.config", "w").close()
open("placed.json", "w").close()
"""
PACKER = "#!{python}\nopen('top.bit', 'w').write('bits')\n"


class Small(wiring.Component):
    """The accelerator's ports around a memory, a multiplier and a counter."""

    rx: In(1)
    tx: Out(1)
    busy: Out(1)
    error: Out(1)

    def elaborate(self, platform):
        m = Module()
        address, total = Signal(10), Signal(16)
        m.submodules.memory = memory = Memory(shape=16, depth=1024, init=range(1024))
        read = memory.read_port()
        m.d.sync += [address.eq(Cat(self.rx, address)), total.eq(total + read.data)]
        m.d.comb += [
            read.addr.eq(address), self.tx.eq(total[5]), self.busy.eq(total[3]), self.error.eq((total * read.data)[9]),
        ]
        return m


def script(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())
