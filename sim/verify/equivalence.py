"""The netlist of a block is its RTL: proved by Yosys for every family, by induction over registers of one name.

Blocks are small, so that proofs take seconds: memories and delays become registers, products logic. A netlist with one
inverted LUT must be refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from amaranth.lib import wiring

from boards import find
from hw.arch.config import preset
from hw.build.errors import BuildError
from hw.build.tools import require, run
from hw.drain import Drain
from hw.popcount import MatchCount
from hw.verilog import verilog
from sim.figures import Figure
from sim.synthesis import FAMILIES

# Memories are registers here, so there are few words; products are logic, so they are narrow.
TINY = preset("tiny").replace(
    word=8, weight_depth=6, activation_depth=6, tap_depth=4, coefficient_depth=6, threshold_depth=6, program_depth=6,
    value_depth=6, result_depth=6, image_depth=8, accumulator_bits=7, coefficient_bits=6, sum_bits=14)
PLANES = TINY.replace(M=2, N=2, row_lanes=8, column_lanes=4, chain=4)
LIMIT = 240.0  # seconds of a proof


@dataclass(frozen=True)
class Block:
    """A block of the picture in docs/architecture.md, or a part that takes a proof of its own."""

    name: str
    make: Callable[[], wiring.Component]
    configuration: str = "tiny"


BLOCKS = (
    Block("MatchCount", lambda: MatchCount(24, 1), "24 bits"),
    Block("MatchCount", lambda: MatchCount(64, 1), "64 bits"),
    Block("Drain", lambda: Drain(TINY)),
    Block("Drain", lambda: Drain(PLANES), "tiny-2x2"),
)
QUICK = ("Drain",)

# What has no model for proofs is left out; a LUT's output, and the cells' definitions.
_OPTIONS = {"xc7": "-nobram -nolutram -nosrl", "ecp5": "-nodsp -nobram -nolutram"}
_OUTPUT = {"xc7": "O", "ecp5": "Z"}
_MODELS = {"xc7": "read_verilog +/xilinx/cells_sim.v\n", "ecp5": ""}  # of what the RTL instantiates
_CELLS = {"xc7": "+/xilinx/cells_sim.v", "ecp5": "+/ecp5/cells_sim.v"}

# Yosys 0.70 stumbles over names like its own: they are changed before it makes any.
_READ = """read_verilog -sv top.v
hierarchy -top top
proc
flatten
rename -unescape
"""
# Wires that are no registers may mean something else in the netlist: they keep no name.
_LOGIC = """techmap -wb -D EQUIV -autoproc -map {cells}
memory_map
async2sync
simplemap
opt_clean
setundef -undriven -zero
"""
_PREPARATION = """{models}prep -flatten -top top
{logic}select -set registers t:$*dff* t:$_*FF_* %u %co1:+[Q] w:* %i
select -set others w:* @registers %d
rename -hide @others
select -clear
design -save gold
design -reset
read_rtlil top.il
{logic}design -save proper
design -reset
read_rtlil top.il
select t:LUT*
mutate -list 1 -seed 1 -mode inv -port {output} -o mutation
select -clear
script mutation
{logic}design -save mutant
"""
_PROOF = """design -reset
design -copy-from gold -as gold A:top
design -copy-from {name} -as gate A:top
equiv_make gold gate equiv
equiv_induct equiv
tee -q -o {name}.txt equiv_status equiv
"""
_EXPECTED = "proved, inverted LUT refused"
_PROVED = "Equivalence successfully proven!"


def proved(component: wiring.Component, family: str) -> tuple[bool, bool]:
    """Whether a component's netlist is proved to be its RTL, and whether that with an inverted LUT is."""
    board, toolchain, synthesis = FAMILIES[family]
    synthesis = synthesis.replace(" -abc9", f" -abc9 {_OPTIONS[family]}")
    proofs = [_PROOF.format(name=name) for name in ("proper", "mutant")]
    preparation = _PREPARATION.replace("{logic}", _LOGIC).format(
        models=_MODELS[family], cells=_CELLS[family], output=_OUTPUT[family])
    with TemporaryDirectory(prefix="equivalence-") as name:
        folder = Path(name)
        text = verilog(component, platform=find(board).make_platform(toolchain))
        (folder / "top.v").write_text(text, encoding="utf-8")
        _yosys(folder, f"{_READ}{synthesis}\nwrite_rtlil top.il".replace("; ", "\n"))
        _yosys(folder, _READ + preparation + "".join(proofs))
        return tuple(_PROVED in (folder / f"{design}.txt").read_text() for design in ("proper", "mutant"))


def _yosys(folder: Path, script: str) -> None:
    (folder / "script.ys").write_text(script)
    run([require("yosys"), "-q", "-s", "script.ys"], cwd=folder, log=folder / "log", limit=LIMIT)


def measure(quick: bool, seed: int) -> list[Figure]:
    """Every block, or a few in one size; what is proved does not depend on the seed."""
    chosen = [block for block in BLOCKS if not quick or (block.name in QUICK and block.configuration == "tiny")]
    return [figure(block, family) for block in chosen for family in FAMILIES]


def figure(block: Block, family: str) -> Figure:
    """One block on one family."""
    name = f"{block.name}, {block.configuration}, {family}"
    try:
        netlist, mutant = proved(block.make(), family)
    except BuildError as error:
        return Figure(name, _EXPECTED, str(error).splitlines()[0].split("; its output")[0], False)
    return Figure(name, _EXPECTED, f"{'' if netlist else 'not '}proved, inverted LUT {'not ' if mutant else ''}refused",
                  netlist and not mutant)
