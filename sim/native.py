"""Build a component with Verilator behind a program in C++: for runs that Python is too slow for."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from amaranth.lib import wiring

from hw.verilog import verilog
from sim.runner import SimulationError, cached

_VERILATOR = (
    "verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O3", "--top-module", "top", "--Mdir", "model",
    "-o", "../harness", "top.sv", "harness.cpp",
)


def harness(component: wiring.Component, program: Path) -> Path:
    """The program made of `program`, which includes "Vtop.h", and of `component`; built once per content.

    Raises `SimulationError` when a tool is missing or fails.
    """

    def compile_into(folder: Path) -> None:
        with open(folder / "build.log", "w") as log:
            if subprocess.run(_VERILATOR, cwd=folder, stdout=log, stderr=log, check=False).returncode:
                raise SimulationError(f"verilator could not compile {program.name}, see {folder / 'build.log'}")

    files = {"top.sv": verilog(component), "harness.cpp": program.read_text()}
    return cached("verilator-harness", files, compile_into) / "harness"


def figures(program: Path, *arguments: object) -> Mapping[str, int]:
    """Run a harness; the numbers that it printed as lines `name value`. `SimulationError` when it fails."""
    run = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, check=False)
    if run.returncode:
        raise SimulationError(f"{program} failed: {(run.stderr or run.stdout).strip()}")
    return {name: int(value) for name, value in (line.split() for line in run.stdout.splitlines())}
