"""What the flows with a plan of Amaranth's own share: its three commands, run one by one with a log and a limit."""

import json
from typing import ClassVar

from .flow import ROUTE_LIMIT, SYNTHESIS_LIMIT, Flow, Stage
from .report import Timing, Usage, cells_of, count, timing_of
from .tools import require, run

# Ends every synthesis script: what the netlist consists of.
COUNT = "tee -q -o stat.json stat -json"
# Before anything is optimised: the source that people and the report's blocks look at.
SOURCE = "write_verilog -noattr top.v"


def route_options(stage: Stage) -> str:
    """Options of every nextpnr: the report and the netlist with places; missed timing is ours to judge."""
    return f"--seed {stage.seed} --report route.json --write placed.json --timing-allow-fail"


class PlanFlow(Flow):
    """From an Amaranth platform to a bitstream with the commands of its plan: Yosys, nextpnr and a packer."""

    toolchain: ClassVar[str]  # Amaranth's name for it
    synthesis: ClassVar[str]  # options of Yosys's synthesis for the family
    commands: ClassVar[tuple[str, ...]] = ()  # more commands for Yosys, after synthesis

    def prepare(self, stage: Stage) -> None:
        plan = stage.board.make_platform(self.toolchain).prepare(
            stage.design(), "top", emit_src=False, script_after_read=SOURCE, synth_opts=self.synthesis,
            script_after_synth=COUNT, nextpnr_opts=route_options(stage),
        )
        plan.extract(str(stage.work))
        plan.archive(str(stage.work / "plan.zip"))

    def synthesise(self, stage: Stage) -> Usage:
        self._run(stage, 0, "yosys", "synthesis", SYNTHESIS_LIMIT)
        return count(cells_of(stage.work / "stat.json"), self.weights, self.ignored)

    def route(self, stage: Stage) -> tuple[Timing, ...]:
        self._run(stage, 1, self.tools[0], "route", ROUTE_LIMIT)
        return timing_of(stage.work / "route.json")

    def pack(self, stage: Stage) -> None:
        self._run(stage, 2, self.tools[1], "pack", ROUTE_LIMIT)

    def _run(self, stage: Stage, index: int, tool: str, name: str, limit: float) -> None:
        """Run command `index` of the plan."""
        command = json.loads((stage.work / "build_top.json").read_text())["commands"][index]
        # The plan is quiet; after a failure one wants the whole log.
        options = [option for option in command[1:] if option not in ("-q", "--quiet")]
        run([require(tool), *options], cwd=stage.work, log=stage.logs / f"{name}.log", limit=limit)
