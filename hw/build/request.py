"""From options of the command line to a job: board, configuration, clock and speed, all checked."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import boards
from boards import BOARDS, Board
from hw.arch.config import Config, ConfigError, preset

from .errors import BuildError
from .fit import Choice, Planner, describe, search
from .job import Job, with_clock
from .tools import Console


def request(options: argparse.Namespace, console: Console) -> Job:
    """The job that the options ask for; raises `BuildError`, `BoardError` or `ConfigError`."""
    if options.board is None:
        raise BuildError(f"--board must be given, one of {', '.join(BOARDS)}")
    board = boards.find(options.board, options.variant)
    if options.clock is not None and not 1 <= options.clock <= 1000:
        raise ConfigError(f"--clock must be in 1..1000 MHz, not {options.clock:g}")
    if not 0 <= options.seed < 2**31:
        raise BuildError(f"--seed must be in 0..{2**31 - 1}, not {options.seed}")
    if options.network is None:
        network = None
        name, config = configuration(options, board)
    else:
        name, config, network = fitted(options, board, console)
    baud = board.baud if options.baud is None else options.baud
    if not 300 <= baud <= config.clock_hz // 8:
        raise BuildError(f"--baud must be in 300..{config.clock_hz // 8} (an eighth of the clock), not {baud}")
    return Job(
        board=board, config=config, name=name, baud=baud, seed=options.seed, route=not options.no_route,
        toolchain=options.toolchain, force=options.force, network=network,
        out=options.out or Path("build", f"{board.name}-{board.variant}-{name}"),
    )


def configuration(options: argparse.Namespace, board: Board) -> tuple[str, Config]:
    """Name and configuration to build: a preset at the board's clock, a file at its own, unless --clock says otherwise.

    Raises `ConfigError` for an unknown preset, a bad file, or a clock that the board cannot make.
    """
    clock = clock_of(options)
    if options.config is None:
        name = options.preset or board.preset
        return name, with_clock(preset(name), board, clock or board.preset_clock_hz or board.clock_hz)
    try:
        config = Config.from_json(options.config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration file {options.config}: {reason}") from None
    except ConfigError as error:
        raise ConfigError(f"{options.config}: {error}") from None
    return options.config.stem, with_clock(config, board, clock or config.clock_hz)


def clock_of(options: argparse.Namespace) -> int | None:
    """--clock in Hz."""
    return None if options.clock is None else round(options.clock * 1e6)


def fitted(options: argparse.Namespace, board: Board, console: Console) -> tuple[str, Config, dict[str, Any]]:
    """Name, configuration and what the report says of the network: searched for, unless --preset or --config say."""
    model = options.network
    with Planner(model) as planner:
        if options.preset or options.config:
            name, config = configuration(options, board)
            answer = planner(config)
            if "error" in answer:
                raise BuildError(f"{model} does not run on configuration {name}: {answer['error']}")
            return name, config, {"model": model.name, "cycles": answer["cycles"], "layers": answer["layers"]}
        with console.stage("fit", f"{model.name} on {board.title}"):
            best = search(planner, board, model.name)
    console.say(describe(best, board.part) + "\n  (resources estimated; the first is built)")
    config = with_clock(best[0].config, board, clock_of(options) or best[0].config.clock_hz)
    network = {
        "model": model.name, "cycles": best[0].cycles, "layers": list(best[0].layers),
        "frontier": [_summary(choice) for choice in best],
    }
    return f"for-{model.stem}", config, network


def _summary(choice: Choice) -> dict[str, Any]:
    """A choice for the report."""
    return {
        "config": asdict(choice.config), "macs_per_cycle": choice.config.macs_per_cycle, "luts": choice.usage.luts,
        "bram_kbits": choice.usage.bram_kbits, "cycles": choice.cycles,
    }
