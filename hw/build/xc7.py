"""Artix-7 without vendor tools: Yosys, nextpnr-himbaechel-xilinx, our FASM assembler and Project X-Ray's writer."""

import os
import re
import shutil
from pathlib import Path

from .errors import BuildError
from .flow import ROUTE_LIMIT, SYNTHESIS_LIMIT, Flow, Stage
from .frames import Database, assemble, write
from .lut6 import MEMORIES
from .packing import OPTIONS, packed
from .report import Timing, Usage, cells_of, count, timing_of
from .tools import XC7_PREFIX, require, run, xc7_prefix

DATABASE = Path("usr", "share", "prjxray", "database", "artix7")
DATABASE_NAME = "prjxray-database"

WEIGHTS = {
    **{f"LUT{inputs}": Usage(1, 0, 0, 0) for inputs in range(1, 7)},
    "INV": Usage(1, 0, 0, 0),
    **{name: Usage(tables, 0, 0, 0) for name, tables in MEMORIES.items()},
    **{name: Usage(0, 1, 0, 0) for name in ("FDRE", "FDSE", "FDCE", "FDPE")},
    "RAMB18E1": Usage(0, 0, 18, 0),
    "RAMB36E1": Usage(0, 0, 36, 0),
    "DSP48E1": Usage(0, 0, 0, 1),
}
IGNORED = frozenset({
    "CARRY4", "MUXF7", "MUXF8", "BUFG", "BUFGCTRL", "PLLE2_BASE", "PLLE2_ADV", "IBUF", "OBUF", "OBUFT", "IOBUF", "GND",
    "VCC",
})

# Inferred DSP48E1 lack mode bits in the bitstreams of this flow and multiply wrongly on silicon: never infer them.
# Shift registers in LUTs meet in slices where their enables differ, and the router then gives up: flip-flops instead.
SYNTHESIS = (
    "read_verilog top.v; synth_xilinx -flatten -abc9 -nodsp -nosrl -family xc7 -top top; write_json top.json; "
    "tee -q -o stat.json stat -json"
)
# Placer and seed offset of each attempt, until one meets its timing: seeds differ by a tenth. `heap` takes hours for a
# die that is nearly full, and now and then yields a placement that the router never finishes.
ATTEMPTS = (("static", 0), ("static", 1), ("static", 2), ("heap", 3))
ROUTED = ("top.fasm", "route.json", "placed.json")  # what an attempt leaves


def _margin(timing: tuple[Timing, ...]) -> float:
    """How fast the slowest clock is, by what is asked of it."""
    return min((clock.achieved / clock.required for clock in timing), default=0.0)


def database() -> Path | None:
    """Folder of the Artix-7 database: below ABACUS_XC7_PREFIX, the root of the file system or `xc7_prefix()`."""
    for root in (os.environ.get(XC7_PREFIX), "/", xc7_prefix()):
        if root and (path := Path(root) / DATABASE).is_dir():
            return path
    return None


class XC7(Flow):
    """From an Amaranth platform with the Xray toolchain to a bitstream; the plan archive is Vivado's."""

    tools: tuple[str, ...] = ("nextpnr-himbaechel-xilinx", "xc7frames2bit")
    constraints = "top.xdc"
    bitstream = "top.bit"
    weights = WEIGHTS
    ignored = IGNORED

    def missing(self) -> list[str]:
        return super().missing() + ([] if database() else [DATABASE_NAME])

    def prepare(self, stage: Stage) -> None:
        # Each toolchain takes its own platform: Vivado's plan starts the clock through primitives others lack.
        vivado = stage.board.make_platform("Vivado").prepare(stage.design(), "top", emit_src=False)
        vivado.archive(str(stage.work / "plan.zip"))
        platform = stage.board.make_platform("Xray")
        plan = platform.prepare(stage.design(), "top", emit_src=False)
        plan.extract(str(stage.work))
        for name, _, attributes in platform.iter_port_constraints_bits():
            if attributes.get("IOSTANDARD") != "LVCMOS33":
                raise BuildError(f"port {name} must be LVCMOS33 for the open Artix-7 flow, not {attributes}")
        # Amaranth writes no clock constraints for this toolchain; nextpnr reads them from the same file.
        lines = [line.strip() for line in plan.files["top.xdc"].splitlines()]
        lines += [
            f"create_clock -period {1e9 / frequency:.4f} [get_ports {{{port.name}}}]"
            for port, frequency in platform.iter_port_clock_constraints()
        ]
        (stage.work / "top.xdc").write_text("\n".join(lines) + "\n")

    def synthesise(self, stage: Stage) -> Usage:
        command = [require("yosys"), "-p", SYNTHESIS]
        run(command, cwd=stage.work, log=stage.logs / "synthesis.log", limit=SYNTHESIS_LIMIT)
        return count(cells_of(stage.work / "stat.json"), WEIGHTS, IGNORED)

    def route(self, stage: Stage) -> tuple[Timing, ...]:
        packed(stage.work / "top.json", stage.work / "packed.json")
        best: tuple[Timing, ...] = ()
        for number, (placer, offset) in enumerate(ATTEMPTS, 1):
            seed, last = stage.seed + offset, number == len(ATTEMPTS)
            command = [
                require("nextpnr-himbaechel-xilinx"), "--device", stage.board.part.name, "--json", "packed.json",
                *OPTIONS, "-o", "xdc=top.xdc", "-o", "fasm=top.fasm", "--placer", placer, "--seed", str(seed),
                "--report", "route.json", "--write", "placed.json", "--timing-allow-fail",
            ]
            try:
                run(command, cwd=stage.work, log=stage.logs / "route.log", limit=ROUTE_LIMIT)
            except BuildError as error:
                if last and not best:
                    raise
                outcome = f"gave up ({error})"
            else:
                found = timing_of(stage.work / "route.json")
                if not best or _margin(found) > _margin(best):
                    best = found
                    for name in ROUTED:
                        shutil.copyfile(stage.work / name, stage.work / f"best.{name}")
                if _margin(best) >= 1:
                    break
                outcome = f"reaches {_margin(found):.0%} of the clock"
            follows = "" if last else f"; trying again with {ATTEMPTS[number][0]}"
            stage.console.say(f"{'':<12}placer {placer}, seed {seed}, {outcome}{follows}")
        for name in ROUTED:
            (stage.work / f"best.{name}").replace(stage.work / name)
        return best

    def pack(self, stage: Stage) -> None:
        root = database()
        if root is None:
            raise BuildError(f"{DATABASE_NAME} was not found")
        part = stage.board.part
        frames = assemble(Database(root, part.die), (stage.work / "top.fasm").read_text())
        write(frames, stage.work / "top.frames")
        command = [
            require("xc7frames2bit"), "--part_file", str(root / part.name / "part.yaml"), "--part_name", part.name,
            "--frm_file", "top.frames", "--output_file", "top.bit",
        ]
        run(command, cwd=stage.work, log=stage.logs / "pack.log", limit=ROUTE_LIMIT)
        bitstream = stage.work / "top.bit"
        if not bitstream.exists():
            raise BuildError(f"xc7frames2bit wrote no bitstream; its output is in {stage.logs / 'pack.log'}")
        bitstream.write_bytes(undated(bitstream.read_bytes()))


def undated(bitstream: bytes) -> bytes:
    """The bitstream with the date and time of its header set to 1970, so that equal designs are equal files."""
    stamp = rb"c\0\x0b\d{4}/\d\d/\d\d\0d\0\x09\d\d:\d\d:\d\d\0"
    return re.sub(stamp, b"c\0\x0b1970/01/01\0d\0\x0900:00:00\0", bitstream, count=1)
