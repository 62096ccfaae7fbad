"""The command line `python -m sw`: arguments, and errors as one sentence.

Exit status: 0 done; 1 the link or device failed, or `--check` found a difference; 2 wrong arguments or bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from hw.arch.config import PRESETS, ConfigError
from sw import bench, commands, demo, devices, doctor, plan
from sw.compiler import CompileError
from sw.errors import AbacusError, DeviceError, LinkError
from sw.serial_link import DEFAULT_BAUD

_LINKS = "emu:[PRESET], sim:[PRESET], uart:DEVICE[?baud=N] or tcp:HOST:PORT"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        args = _parser(arguments).parse_args(arguments)
        status = int(args.command(args))
        sys.stdout.flush()  # here, where a closed pipe is caught
        return status
    except (AbacusError, CompileError, ConfigError) as error:
        print(f"python -m sw: {error}", file=sys.stderr)
        return 1 if isinstance(error, (DeviceError, LinkError)) else 2
    except KeyboardInterrupt:
        print("python -m sw: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; let the interpreter's last flush find nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sw", description="Compile and run ABC-Nets on an accelerator.")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(parsers.add_parser("run", help="classify images on a device"))
    _add_info(parsers.add_parser("info", help="show layers, memory use and predicted cycles of a model"))
    _add_compile(parsers.add_parser("compile", help="write a model file with the program for one configuration"))
    _add_plan(parsers.add_parser("plan", help="cycles and memory of a model on configurations read from stdin"))
    _add_demo(parsers.add_parser("demo", help="ten images through the virtual board, with a picture"))
    _add_bench(parsers.add_parser("bench", help="measure link and device"))
    _add_devices(parsers.add_parser("devices", help="list serial ports and what answers at them"))
    _add_doctor(parsers.add_parser("doctor", help="find out what is wrong"))
    for name, text in (("train", "train a model"), ("export", "make a model file of a checkpoint"),
                       ("study", "train many models and compare them"), ("cards", "write the cards of models")):
        part = parsers.add_parser(name, help=f"{text} (needs torch)")
        if arguments[:1] == [name]:
            commands.add_torch_command(part, name)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="model file (.abacus)")
    parser.add_argument("images", help=".npy, .npz or .png file, directory of .png files, or dataset:NAME")
    parser.add_argument("--link", default="emu:", metavar="URL", help=f"{_LINKS}; default emu:")
    parser.add_argument("--check", action="store_true", help="compare logits with the integer reference (needs torch)")
    parser.add_argument("--limit", type=_count, metavar="N", help="only the first N images")
    parser.add_argument("--data", metavar="DIR", help="directory of the data sets")
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="seconds to wait for a reply")
    _add_configuration(parser)
    parser.set_defaults(command=commands.run)


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="model file (.abacus)")
    _add_configuration(parser)
    parser.set_defaults(command=commands.info)


def _add_compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="model file (.abacus)")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="model file to write")
    _add_configuration(parser)
    parser.set_defaults(command=commands.compile_model)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="model file (.abacus)")
    parser.set_defaults(command=plan.run)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="models/digits.abacus", help="model file; default models/digits.abacus")
    parser.add_argument("--images", default="dataset:digits", help="as for run; default dataset:digits")
    parser.add_argument("--link", default="sim:", metavar="URL", help=f"{_LINKS}; default sim:")
    parser.add_argument("--limit", type=_count, default=10, metavar="N", help="number of images; default 10")
    parser.add_argument("--data", metavar="DIR", help="directory of the data sets")
    parser.add_argument("-o", "--output", default="build/demo.png", metavar="FILE", help="default build/demo.png")
    _add_configuration(parser)
    parser.set_defaults(command=demo.run)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="model file (.abacus); without one, only the link is measured")
    parser.add_argument("--link", default="emu:", metavar="URL", help=f"{_LINKS}; default emu:")
    parser.add_argument("--count", type=_count, default=100, metavar="N", help="random images; default 100")
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="seconds to wait for a reply")
    parser.add_argument("--training", action="store_true", help="instead: step time of training (needs torch)")
    parser.add_argument("--rounds", type=_count, default=10, metavar="N", help="of --training; default 10")
    parser.add_argument("--output", metavar="FILE", help="of --training: write the tables there, as Markdown")
    _add_configuration(parser)
    parser.set_defaults(command=bench.run)


def _add_devices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baud", type=int, default=DEFAULT_BAUD, metavar="N", help=f"default {DEFAULT_BAUD}")
    parser.add_argument("--port", action="append", default=[], metavar="DEVICE", help="look there too")
    parser.set_defaults(command=devices.run)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="model file (.abacus) that gives wrong or no results")
    parser.add_argument("--link", required=True, metavar="URL", help=_LINKS)
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="seconds to wait for a reply")
    _add_configuration(parser)
    parser.set_defaults(command=doctor.run)


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--preset", metavar="NAME", help=f"configuration: {', '.join(PRESETS)}")
    group.add_argument("--config", metavar="FILE", help="configuration as a JSON file")


def _count(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, not {text!r}")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"must be a number of seconds in 0.001..3600, not {text!r}")
    return value
