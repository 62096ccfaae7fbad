"""One build from start to end: stages in order, finished files moved to the output folder, a report in any case."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from boards import Board
from hw.arch import wire
from hw.arch.config import Config, ConfigError

from . import design
from .blocks import Blocks, as_report
from .cost import estimate
from .ecp5 import ECP5
from .errors import BuildError
from .flow import Flow, Stage
from .gowin import Gowin
from .lut6 import cells, luts
from .page import OTHER, colours, page
from .placement import path_tiles, picture, placed_tiles
from .report import Timing, Usage, check_fit, placed, save, slowest_path, slowest_steps, table
from .tools import Console, find, sources, version
from .vivado import Vivado
from .xc7 import XC7

TOOLCHAINS = ("auto", "vivado", "open", "none")
FLOWS: dict[str, type[Flow]] = {"ecp5": ECP5, "gowin": Gowin, "xc7": XC7}


def timing_missed(bitstream: str) -> str:
    """What a bitstream that misses its timing is called."""
    return bitstream.replace("top.", "top.timing-missed.")


PRODUCTS = (
    "top.v", "plan.zip", "config.json", "route.json", "report.json", "report.html",
    *(flow.constraints for flow in FLOWS.values()),
    *(name for flow in FLOWS.values() for name in (flow.bitstream, timing_missed(flow.bitstream))),
)


@dataclass(frozen=True)
class Job:
    """A build request.

    `name` is what the configuration is called in messages, `toolchain` one of `TOOLCHAINS`, `network` what the report
    says of the network that it was chosen for, `force` builds what is there already.
    """

    board: Board
    config: Config
    name: str
    baud: int
    seed: int
    out: Path
    route: bool
    toolchain: str = "auto"
    force: bool = False
    network: dict[str, Any] | None = None


def flow_of(board: Board, toolchain: str = "auto") -> Flow:
    """The flow of the board's part with a toolchain; `BuildError` if that is Vivado and the part is not its own."""
    if toolchain == "vivado" and board.part.family != "xc7":
        raise BuildError(f"--toolchain vivado builds for Artix-7 only, not for the {board.part.name} of {board.title}")
    if board.part.family == "xc7" and (toolchain == "vivado" or (toolchain == "auto" and find("vivado"))):
        return Vivado()
    return FLOWS[board.part.family]()


def check_bounds(job: Job) -> None:
    """Refuse at once what cannot fit however well it is mapped: memory bits, and the inputs of the XNOR gates."""
    part, config = job.board.part, job.config
    ram, inputs = (64, 6) if part.family == "xc7" else (16, 4)  # bits of LUT RAM, inputs per LUT
    bits = sum(memory.total_bits for memory in config.memories.values())
    available = part.bram_kbits * 1024 + part.luts * ram
    if bits > available:
        raise BuildError(
            f"configuration {job.name} has memories of {bits // 1024:,} kbit, but {part.name} has "
            f"{available // 1024:,} kbit in block RAM and LUTs together; "
            "choose a smaller --preset or --config or a larger board"
        )
    least = -(-2 * config.macs_per_cycle // inputs)
    check_fit(Usage(least, 0, 0, 0), part, job.name, "needs at the very least")


def build(job: Job, console: Console) -> dict[str, Any]:
    """Run the job; returns the report, which is also saved as `report.json` and as a page `report.html` in `job.out`.

    A folder that holds the result of equal inputs is left as it is, and its report returned. Raises `BuildError` when
    the design does not fit or a tool fails: the saved report then has status "failed" and the same sentence. A
    bitstream whose timing is missed is kept under a name that says so, status "timing missed".
    """
    report: dict[str, Any] = {
        "status": "failed", "board": job.board.name, "variant": job.board.variant, "part": job.board.part.name,
        "configuration": job.name, "config": asdict(job.config), "config_digest": job.config.digest.hex(),
        "design_id": wire.DESIGN_ID.hex(), "macs_per_cycle": job.config.macs_per_cycle, "baud": job.baud,
        "seed": job.seed, "seconds": console.stages, **({"network": job.network} if job.network else {}),
    }
    work = job.out / "partial"
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            if (old := _elaborate(job, console, work, report)) is not None:
                return old
            image = _stages(job, console, work, report)
        except BuildError as error:
            _clear(job)
            _publish(job, {**report, "status": "failed", "error": str(error)}, "")
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _publish(job, report, image)
    except OSError as error:
        raise BuildError(f"cannot write to {job.out}: {error.strerror or error}") from None
    return report


def _clear(job: Job) -> None:
    """Remove what an older build left."""
    for name in PRODUCTS:
        (job.out / name).unlink(missing_ok=True)


def _publish(job: Job, report: dict[str, Any], image: str) -> None:
    save(job.out / "report.json", json.dumps(report, indent=2) + "\n")
    save(job.out / "report.html", page(report, image))


def _stage(job: Job, console: Console, work: Path) -> Stage:
    return Stage(
        board=job.board, seed=job.seed, work=work, logs=job.out / "logs", console=console,
        design=lambda: design.BoardTop(job.board, design.make_top(job.config, baud=job.baud), job.config.clock_hz),
        clock_hz=job.config.clock_hz,
    )


def _elaborate(job: Job, console: Console, work: Path, report: dict[str, Any]) -> dict[str, Any] | None:
    """Make the sources; returns the report of an older build of equal inputs if the output folder holds it."""
    check_bounds(job)
    flow = flow_of(job.board, job.toolchain)
    if job.toolchain == flow.name and (missing := flow.missing()):
        raise BuildError(f"--toolchain {flow.name} needs {', '.join(missing)}; get it from {sources(missing)}")
    with console.stage("elaborate", f"{job.name} for {job.board.title}"):
        try:
            flow.prepare(_stage(job, console, work))
        except ConfigError as error:
            raise BuildError(str(error)) from None
        (work / "config.json").write_text(job.config.to_json() + "\n")
    report["inputs"] = inputs(job, flow, work)
    if not job.force and (old := finished(job.out, report["inputs"])):
        console.say(f"{'':<12}{job.out} holds the result of these inputs already (--force builds it again)")
        return old
    _clear(job)
    _keep(job, work, flow.constraints, "plan.zip", "config.json")
    return None


def inputs(job: Job, flow: Flow, work: Path) -> str:
    """Digest of all that decides the result: sources, constraints, scripts, seed and the tools' versions."""
    digest = hashlib.blake2b(digest_size=16)
    missing = flow.missing()
    tools = [version(tool) for tool in ("yosys", *flow.tools) if find(tool)]
    network = json.dumps(job.network, sort_keys=True)
    for text in (job.seed, job.route, job.toolchain, missing, tools, job.name, network):
        digest.update(f"{text}\n".encode())
    for path in sorted(work.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def finished(folder: Path, digest: str) -> dict[str, Any] | None:
    """The report of the build in a folder if it came to an end from those inputs and its files are still there."""
    try:
        report = dict(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    done = report.get("status") in ("routed", "timing missed", "synthesised")
    whole = (folder / report.get("bitstream", "top.v")).is_file()
    return report if done and whole and report.get("inputs") == digest else None


def _stages(job: Job, console: Console, work: Path, report: dict[str, Any]) -> str:
    """Fill `report` stage by stage; returns the placement as SVG, empty if there is none."""
    part, flow, stage = job.board.part, flow_of(job.board, job.toolchain), _stage(job, console, work)
    with console.stage("synthesise", "Yosys"):
        usage = flow.synthesise(stage)
    _keep(job, work, "top.v")
    blocks = Blocks(work / "top.json", work / "top.v")
    report["blocks"] = as_report(blocks.usage(flow.weights, flow.ignored))
    report["synthesis"] = asdict(usage)
    guess = estimate(job.config, part.family)
    report["estimate"] = asdict(guess)
    needed = usage
    if part.family == "xc7":
        report["lut6"] = luts(cells(work / "top.json"))
        needed = replace(usage, luts=report["lut6"])
    report["available"] = {name: getattr(part, name) for name in asdict(usage)}
    console.say(table(needed, part) + f"\n  (after synthesis, no timing; {usage.luts:,} LUT functions, the model's "
                f"{guess.luts:,} are off by {guess.luts / max(usage.luts, 1) - 1:+.1%})")
    check_fit(needed, part, job.name, "needs")
    report["status"] = "synthesised"

    if job.toolchain == "none" or not job.route:
        return ""
    if missing := flow.missing():
        report["missing"] = missing
        console.say(
            f"no bitstream: {', '.join(missing)} not found\n  get them from {sources(missing)}\n"
            f"  or build {job.out / 'plan.zip'} with the vendor's tools"
        )
        return ""
    return _route(job, flow, stage, report, blocks)


def _route(job: Job, flow: Flow, stage: Stage, report: dict[str, Any], blocks: Blocks) -> str:
    report["toolchain"] = flow.name
    with stage.console.stage("route", "Vivado" if flow.name == "vivado" else f"nextpnr, seed {job.seed}"):
        clocks = flow.route(stage)
    report["timing"] = [{**asdict(clock), "met": clock.met} for clock in clocks]
    steps = slowest_steps(stage.work / "route.json")
    report["slowest_path"] = path = slowest_path(steps)
    report["path"] = blocks.path(steps)
    report["placed"] = placed(stage.work / "route.json")
    _keep(job, stage.work, "route.json")
    with stage.console.stage("pack", "bitstream"):
        flow.pack(stage)
    for clock in clocks:
        stage.console.say(_timing_line(clock))
    if path:
        delays = f"logic {path['logic_ns']} ns, routing {path['routing_ns']} ns"
        stage.console.say(f"slowest path: {path['from']} to {path['to']}, {delays}")
    met = all(clock.met for clock in clocks)
    name = flow.bitstream if met else timing_missed(flow.bitstream)
    (stage.work / flow.bitstream).replace(job.out / name)
    report.update(status="routed" if met else "timing missed", bitstream=name)
    return picture(placed_tiles(stage.work / "placed.json", blocks.of), colours(report), OTHER, path_tiles(steps))


def _timing_line(clock: Timing) -> str:
    verdict = "met" if clock.met else "MISSED"
    return f"clock {clock.clock}: routed {clock.achieved:.2f} MHz, required {clock.required:.2f} MHz: {verdict}"


def _keep(job: Job, work: Path, *names: str) -> None:
    """Move finished files to the output folder; the work folder keeps a copy for later stages."""
    for name in names:
        final = job.out / f"{name}.partial"
        shutil.copyfile(work / name, final)
        final.replace(job.out / name)


def with_clock(config: Config, board: Board, clock_hz: int) -> Config:
    """The configuration at a clock; `ConfigError` if the board does not make it."""
    if clock_hz not in board.core_clocks:
        near = sorted(sorted(board.core_clocks, key=lambda made: abs(made - clock_hz))[:2])
        raise ConfigError(
            f"Config.clock_hz must be a clock that {board.title} makes, next are {near[0]:,} and {near[1]:,}, "
            f"not {clock_hz:,}"
        )
    return replace(config, clock_hz=clock_hz)
