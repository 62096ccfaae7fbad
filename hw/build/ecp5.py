"""ECP5 with Yosys, nextpnr-ecp5 and ecppack, all from pip: the commands of Amaranth's own build plan, one by one."""

import json

from .flow import ROUTE_LIMIT, SYNTHESIS_LIMIT, Flow, Stage
from .report import Timing, Usage, cells_of, count, timing_of
from .tools import require, run

WEIGHTS = {
    "LUT4": Usage(1, 0, 0, 0),
    "CCU2C": Usage(2, 0, 0, 0),
    "TRELLIS_DPR16X4": Usage(6, 0, 0, 0),  # four LUTs of data, two whose inputs carry the write port
    "TRELLIS_FF": Usage(0, 1, 0, 0),
    "DP16KD": Usage(0, 0, 18, 0),
    "PDPW16KD": Usage(0, 0, 18, 0),
    "MULT18X18D": Usage(0, 0, 0, 1),
}
IGNORED = frozenset({
    "PFUMX", "L6MUX21", "TRELLIS_IO", "IB", "OB", "OBZ", "BB", "SGSR", "GSR", "DCCA", "EHXPLLL", "VHI", "VLO",
})


class ECP5(Flow):
    """From an Amaranth platform with the Trellis toolchain to a bitstream."""

    tools = ("nextpnr-ecp5", "ecppack")
    constraints = "top.lpf"
    weights = WEIGHTS
    ignored = IGNORED

    def prepare(self, stage: Stage) -> None:
        plan = stage.board.make_platform("Trellis").prepare(
            stage.design(), "top", emit_src=False,
            script_after_read="write_verilog -noattr top.v",
            # Wide muxes and the classic mapper cost twice the LUTs on popcount trees.
            synth_opts="-abc9 -nowidelut",
            script_after_synth="tee -q -o stat.json stat -json",
            nextpnr_opts=f"--seed {stage.seed} --report route.json --write placed.json --timing-allow-fail",
        )
        plan.extract(str(stage.work))
        plan.archive(str(stage.work / "plan.zip"))

    def synthesise(self, stage: Stage) -> Usage:
        self._run(stage, 0, "yosys", "synthesis", SYNTHESIS_LIMIT)
        return count(cells_of(stage.work / "stat.json"), WEIGHTS, IGNORED)

    def route(self, stage: Stage) -> tuple[Timing, ...]:
        self._run(stage, 1, "nextpnr-ecp5", "route", ROUTE_LIMIT)
        return timing_of(stage.work / "route.json")

    def pack(self, stage: Stage) -> None:
        self._run(stage, 2, "ecppack", "pack", ROUTE_LIMIT)

    def _run(self, stage: Stage, index: int, tool: str, name: str, limit: float) -> None:
        """Run command `index` of the plan."""
        command = json.loads((stage.work / "build_top.json").read_text())["commands"][index]
        # The plan is quiet; after a failure one wants the whole log.
        options = [option for option in command[1:] if option not in ("-q", "--quiet")]
        run([require(tool), *options], cwd=stage.work, log=stage.logs / f"{name}.log", limit=limit)
