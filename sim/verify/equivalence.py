"""The netlist of a block is its RTL: proved by Yosys for every family, over registers of one name.

Before synthesis all names but those of registers are hidden, so that a name in the netlist is a register's. Registers
of one name that hold the same hold the same a cycle later: proved register by register, or where synthesis has merged
some, over four cycles for all of them at once. The same proof must refuse a netlist with one inverted LUT.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from boards import find
from hw.build.errors import BuildError
from hw.link import cobs, frames
from hw.verilog import verilog
from sim.figures import Figure
from sim.synthesis import FAMILIES

from .blocks import BLOCKS, BYTES, Block
from .scripts import proven, yosys

QUICK = ("Dot", "Drain", "Rounds")
PROOFS = ("equiv_simple", "equiv_induct")

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
opt_clean
select -set registers t:$*dff* %co1:+[Q] w:* %i
select -set others w:* @registers %d
rename -hide @others
select -clear
"""
_LOGIC = """techmap -wb -D EQUIV -autoproc -map {cells}
memory_map
async2sync
simplemap
opt_clean
"""
_PREPARATION = """{models}prep -flatten -top top
{logic}design -save gold
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
hierarchy -top equiv
setundef -undriven -zero
{proof} equiv
tee -q -o {name}.txt equiv_status equiv
"""
_EXPECTED = "proved, inverted LUT refused"


def proved(block: Block, family: str) -> tuple[bool, bool]:
    """Whether a block's netlist is proved to be its RTL, and whether that with an inverted LUT is, in the same way."""
    board, toolchain, synthesis = FAMILIES[family]
    synthesis = synthesis.replace(" -abc9", f" -abc9 {_OPTIONS[family]}")
    preparation = _PREPARATION.replace("{logic}", _LOGIC).format(
        models=_MODELS[family], cells=_CELLS[family], output=_OUTPUT[family])
    with TemporaryDirectory(prefix="equivalence-") as name:
        folder = Path(name)
        with mock.patch.object(cobs, "RING", BYTES), mock.patch.object(frames, "RING", BYTES):
            text = verilog(block.make(), platform=find(board).make_platform(toolchain))
        (folder / "top.v").write_text(text, encoding="utf-8")
        yosys(folder, f"{_READ}{synthesis}\nwrite_rtlil top.il".replace("; ", "\n"))
        for proof in PROOFS:
            steps = [_PROOF.format(name=design, proof=proof) for design in ("proper", "mutant")]
            yosys(folder, _READ + preparation + "".join(steps))
            netlist, mutant = (proven(folder, design) for design in ("proper", "mutant"))
            if netlist:
                break
    return netlist, mutant


def measure(quick: bool, seed: int) -> list[Figure]:
    """Every block, or the smallest few; what is proved does not depend on the seed."""
    chosen = [block for block in BLOCKS if not quick or (block.name in QUICK and block.size != "tiny-2x2")]
    return [figure(block, family) for block in chosen for family in FAMILIES]


def figure(block: Block, family: str) -> Figure:
    """One block on one family."""
    name = f"{block.name}, {block.size}, {family}"
    try:
        netlist, mutant = proved(block, family)
    except BuildError as error:
        return Figure(name, _EXPECTED, str(error).splitlines()[0].split("; its output")[0], False)
    return Figure(name, _EXPECTED, f"{'' if netlist else 'not '}proved, inverted LUT {'not ' if mutant else ''}refused",
                  netlist and not mutant)
