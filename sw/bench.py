"""`python -m sw bench`: how fast the link, the device and both together are."""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from hw.arch.config import preset
from sw import artifact, commands
from sw.driver import Accelerator, Stats
from sw.link import Link, open_link

_PINGS = 50
_ECHO_BYTES, _ECHOES = 512, 100


def run(args: argparse.Namespace) -> int:
    """Print latency and goodput of the link and, with a model, images per second; or step times of training."""
    if args.training:
        return int(commands.torch_part("speed").run(args))
    model = artifact.load(args.model) if args.model else None
    program = commands.stored_program(model, args) if model else None
    config = program.config if program else commands.chosen_config(args)
    link = open_link(args.link, config or preset(commands.DEFAULT_PRESET))
    with Accelerator(link, timeout=args.timeout) as accelerator:
        _bench_link(accelerator, link)
        if model:
            program = program or commands.program_for(model, accelerator, config)
            accelerator.load(program)
            image = model.graph.image
            shape = (args.count, image.rows, image.columns, image.channels)
            batch = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
            accelerator.infer(batch[:1])
            before = accelerator.stats()
            accelerator.infer(batch)
            after = accelerator.stats()
            seconds, cycles = after.seconds - before.seconds, (after.cycles - before.cycles) / args.count
            busy = cycles * args.count / program.config.clock_hz / seconds
            sent = (_bytes(after) - _bytes(before)) / args.count
            print(f"inference: {args.count / seconds:.1f} images/s, {1e3 * seconds / args.count:.2f} ms each, "
                  f"{cycles:.0f} cycles each (core busy {busy:.0%} at {program.config.clock_hz / 1e6:g} MHz)")
            print(f"errors: {after.link.resent} requests sent again, {after.bad_frames} bad frames here, "
                  f"{after.device.bad_frames} there, {after.device.line_errors} line errors; {sent:.0f} bytes an image")
    return 0


def _bytes(stats: Stats) -> int:
    return stats.link.bytes_sent + stats.link.bytes_received


def _bench_link(accelerator: Accelerator, link: Link) -> None:
    trips = sorted(1e3 * accelerator.ping(b"x") for _ in range(_PINGS))
    print(f"round trip: median {statistics.median(trips):.2f} ms, worst {trips[-1]:.2f} ms of {_PINGS}")
    seconds = accelerator.echo(_ECHO_BYTES, _ECHOES)
    rate = _ECHO_BYTES * _ECHOES / seconds
    share = f", {rate / link.bytes_per_second:.1%} of the line rate" if link.bytes_per_second else ""
    print(f"goodput: {rate / 1e3:.1f} kB/s each way with frames of {_ECHO_BYTES} bytes{share}")
