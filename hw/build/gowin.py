"""Gowin with Yosys, nextpnr-himbaechel-gowin and Apicula's packer, all from pip."""

from .flow import ROUTE_LIMIT, Stage
from .plan import COUNT, SOURCE, PlanFlow, route_options
from .report import Timing, Usage, timing_of
from .tools import require, run


class Gowin(PlanFlow):
    """From an Amaranth platform with the Apicula toolchain to a bitstream.

    Amaranth's own commands are for the router's predecessor, so place, route and pack are spelled out here.
    """

    tools = ("nextpnr-himbaechel-gowin", "gowin_pack")
    toolchain = "Apicula"
    constraints = "top.cst"
    bitstream = "top.fs"
    weights = {
        **{f"LUT{inputs}": Usage(1, 0, 0, 0) for inputs in range(1, 5)},
        "INV": Usage(1, 0, 0, 0),
        "ALU": Usage(1, 0, 0, 0),  # a carry stage takes the place of a LUT
        **{f"RAM16SDP{bits}": Usage(8, 0, 0, 0) for bits in (1, 2, 4)},  # a tile of LUTs, whatever its width
        **{f"DFF{kind}{enable}": Usage(0, 1, 0, 0) for kind in ("", "S", "R", "P", "C") for enable in ("", "E")},
        **{name: Usage(0, 0, 18, 0) for name in ("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9")},
        "MULT9X9": Usage(0, 0, 0, 1),
        "MULT18X18": Usage(0, 0, 0, 1),
    }
    ignored = frozenset({
        "MUX2_LUT5", "MUX2_LUT6", "MUX2_LUT7", "MUX2_LUT8", "IBUF", "OBUF", "TBUF", "IOBUF", "GND", "VCC", "GSR",
        "rPLL",
    })

    def prepare(self, stage: Stage) -> None:
        plan = stage.board.make_platform(self.toolchain).prepare(
            stage.design(), "top", emit_src=False, script_after_read=SOURCE,
            # Products in the open flow's hard multipliers have not been checked on silicon: logic makes them.
            synth_opts="-nodsp -nowidelut" + (" -family gw2a" if stage.board.part.die.startswith("GW2A") else ""),
            script_after_synth=f"{COUNT}; write_json top.json",
        )
        plan.extract(str(stage.work))
        plan.archive(str(stage.work / "plan.zip"))

    def route(self, stage: Stage) -> tuple[Timing, ...]:
        part = stage.board.part
        command = [
            require(self.tools[0]), "--device", part.name, "--vopt", f"family={part.die}", "--vopt", "cst=top.cst",
            # Constraints of pins do not reach the PLL's output in this flow; every clock is held to the core's.
            "--freq", f"{stage.clock_hz / 1e6:g}", "--json", "top.json", *route_options(stage).split(),
        ]
        run(command, cwd=stage.work, log=stage.logs / "route.log", limit=ROUTE_LIMIT)
        return timing_of(stage.work / "route.json")

    def pack(self, stage: Stage) -> None:
        # The pins that load the bitstream are ordinary ones afterwards, as the boards need them.
        command = [
            require(self.tools[1]), "-d", stage.board.part.die, "-o", "top.fs", "--sspi_as_gpio", "--mspi_as_gpio",
            "placed.json",
        ]
        run(command, cwd=stage.work, log=stage.logs / "pack.log", limit=ROUTE_LIMIT)
