"""`python -m sw doctor`: find out what is wrong between this machine, the line, the board and a model.

Each examination finds that something is well or what to do about it; the first trouble that makes the next examination
pointless ends the visit.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hw.arch.config import Config, Space, preset
from hw.arch.isa import Await, Conv, End, Pack, encode
from hw.arch.wire import Hello
from sw import artifact, commands
from sw.artifact import Model
from sw.compiler import CompileError, Program
from sw.devices import BAUDS, greet, identity
from sw.driver import Accelerator
from sw.emulator import Machine
from sw.errors import AbacusError, ArtifactError, LinkError, Mismatch, NoReply
from sw.graph import IMAGE
from sw.link import open_link
from sw.serial_link import DEFAULT_BAUD, LATENCY_MS

_PINGS = 200
_SLOW_MS = 8.0  # round trips above are an adapter that waits for its latency timer


@dataclass(frozen=True)
class Finding:
    """What one examination found."""

    what: str
    well: bool
    text: str


def run(args: argparse.Namespace) -> int:
    """Print the findings; 0 if all is well."""
    well = True
    for finding in examine(args):
        print(f"{'ok     ' if finding.well else 'PROBLEM'} {finding.what}: {finding.text}", flush=True)
        well = well and finding.well
    return 0 if well else 1


def examine(args: argparse.Namespace) -> Iterator[Finding]:
    """All findings, ending where there is nothing more to find."""
    model = None
    if args.model:
        try:
            model = artifact.load(args.model)
            yield Finding("model", True, f"{args.model} holds {model.graph.name}")
        except ArtifactError as error:
            yield Finding("model", False, str(error))
    config = commands.chosen_config(args)
    if config is None and model is not None and model.program is not None:
        config = model.program.config
    try:
        link = open_link(args.link, config or preset(commands.DEFAULT_PRESET))
    except LinkError as error:
        yield Finding("port", False, str(error))
        return
    yield Finding("port", True, f"{args.link} opens" + _latency(getattr(link, "latency_ms", None)))
    try:
        with Accelerator(link, timeout=args.timeout, retries=2) as accelerator:
            yield Finding("device", True, identity(accelerator.hello()))
            yield _line(accelerator)
            if model is not None or config is not None:
                yield _bitstream(accelerator.hello(), config)
            if model is not None:
                yield from _inference(accelerator, model, config)
    except NoReply as error:
        yield Finding("device", False, f"{error}{_other_baud(args.link)}")
    except Mismatch as error:
        yield Finding("bitstream", False, f"{error}: build this version's bitstream and load it")
    except AbacusError as error:
        yield Finding("device", False, str(error))


def _latency(milliseconds: int | None) -> str:
    if milliseconds is None or milliseconds <= LATENCY_MS:
        return ""
    return f", but its latency timer is {milliseconds} ms: write 1 to its latency_timer in /sys/bus/usb-serial/devices"


def _other_baud(url: str) -> str:
    """Advice about a silent serial port: the baud rate that works, or what else to look at."""
    scheme, _, rest = url.partition(":")
    if scheme != "uart":
        return ""
    path, _, query = rest.partition("?")
    used = int(query.removeprefix("baud=")) if query.startswith("baud=") else DEFAULT_BAUD
    for baud in BAUDS:
        if baud != used:
            try:
                greet(f"uart:{path}?baud={baud}")
                return f"; but it answers at {baud} baud: use uart:{path}?baud={baud}"
            except AbacusError:
                continue
    return ("; nor at any other usual baud rate: is the bitstream loaded, is this the board's UART port "
            "(many boards have two), are its wires crossed over?")


def _line(accelerator: Accelerator) -> Finding:
    """Errors while frames of all kinds of bytes go there and back."""
    rng, before = random.Random(1), accelerator.stats()
    trips = []
    for index in range(_PINGS):
        size = rng.choice((0, 1, 20, 200, 512))
        payload = (bytes(size), b"\xff" * size, b"\x55" * size, rng.randbytes(size))[index % 4]
        trips.append(accelerator.ping(payload))
    after = accelerator.stats()
    counts = {
        "requests sent again": after.link.resent - before.link.resent,
        "bad frames here": after.bad_frames - before.bad_frames,
        "bad frames there": after.device.bad_frames - before.device.bad_frames,
        "line errors": after.device.line_errors - before.device.line_errors,
    }
    typical = 1e3 * sorted(trips)[_PINGS // 2]
    text = f"{_PINGS} frames both ways, " + ", ".join(f"{count} {name}" for name, count in counts.items())
    if any(counts.values()):
        return Finding("line", False, f"{text}: results stay right, but check cable, ground, baud rate and its divider")
    if typical > _SLOW_MS:
        text += f", but {typical:.0f} ms there and back: is the adapter's latency timer at 16 ms?"
    return Finding("line", True, text)


def _bitstream(hello: Hello, config: Config | None) -> Finding:
    """Whether the device has the configuration that is wanted, or any that is known."""
    found = config or commands.config_of(hello.digest)
    wanted = f"{found.digest.hex()} ({commands.config_name(found)})"
    if hello.digest == found.digest:
        return Finding("bitstream", True, f"configuration {commands.config_name(found)}, as wanted")
    text = f"device has configuration {hello.digest.hex()}, but {wanted} is wanted"
    return Finding("bitstream", False, f"{text}: load that one's bitstream, or compile the model for this one")


def _inference(accelerator: Accelerator, model: Model, config: Config | None) -> Iterator[Finding]:
    """The model's golden images on the emulator and on the device; at a difference, the first layer that has it."""
    config = config or commands.config_of(accelerator.hello().digest)
    if config.digest != accelerator.hello().digest:
        return
    try:
        program = model.program or commands.program_for(model, accelerator, config)
    except CompileError as error:
        yield Finding("model", False, str(error))
        return
    images = model.golden_images[:3]
    if not len(images):
        yield Finding("model", False, "it has no golden images to compare with")
        return
    emulated = np.array([_emulate(program, image) for image in images])
    if not np.array_equal(emulated, model.golden_logits[: len(images)]):
        yield Finding("model", False, "even the emulator does not get its golden logits: export and compile it again")
        return
    accelerator.load(program)
    logits = accelerator.infer(images)
    if np.array_equal(logits, emulated):
        yield Finding("inference", True, f"{len(images)} golden images, all {logits.size} logits equal the reference")
        return
    wrong = int((logits != emulated).any(axis=1).argmax())
    place = first_difference(accelerator, program, images[wrong])
    count = int((logits != emulated).sum())
    yield Finding("inference", False, f"{count} of {logits.size} logits differ from the reference: {place}")


def _emulate(program: Program, image: np.ndarray) -> np.ndarray:
    machine = machine_with(program)
    machine.feed(program.image_bytes(image))
    machine.run()
    return program.logits(machine.read(Space.RESULTS, 0, 0, program.result_words))


def machine_with(program: Program, machine: Machine | None = None) -> Machine:
    """A core in the emulator that holds the program."""
    machine = machine or Machine(program.config)
    for space in program.memories:
        for bank, first, words in program.memory_words(space):
            machine.write(space, bank, first, words)
    return machine


def first_difference(accelerator: Accelerator, program: Program, image: np.ndarray) -> str:
    """The first layer whose integers are not those of the emulator, found by running longer and longer programs."""
    config, machine = program.config, Machine(program.config)
    accelerator.clear(Space.ACTIVATIONS, config, program.activation_words)
    accelerator.clear(Space.RESULTS, config, program.result_words)
    for name, part in truncated(program):
        machine_with(part, machine)
        machine.feed(part.image_bytes(image))
        machine.run()
        accelerator.load(part)
        accelerator.infer(image[None])
        for space, words in ((Space.ACTIVATIONS, program.activation_words), (Space.RESULTS, program.result_words)):
            for bank in range(config.memories[space].banks):
                expected = machine.read(space, bank, 0, words)
                found = accelerator.read(space, bank, 0, words, config)
                if found != expected:
                    at = next(i for i in range(words) if found[i] != expected[i])
                    count = sum(a != b for a, b in zip(found, expected, strict=True))
                    return (f"first in layer {name}, {count} words of {space.name.lower()} bank {bank}, "
                            f"word {at} is {found[at]:#x} instead of {expected[at]:#x}")
    return "but every layer run by itself is right: the fault comes and goes"


def truncated(program: Program) -> Iterator[tuple[str, Program]]:
    """(layer, the program that ends after it) for every layer."""
    ends = [at for at, instruction in enumerate(program.instructions) if isinstance(instruction, Await | Conv)]
    stages = [stage for at, stage in enumerate(program.stages) if at == 0 or stage.name != IMAGE]
    size = program.config.memories[Space.PROGRAM].bytes_per_word
    for number, end in enumerate(ends):
        # To pack the next image ahead (Target, Pack) would change the memories that are to be compared.
        kept = [instruction for at, instruction in enumerate(program.instructions[: end + 1])
                if at <= ends[0] or Pack not in map(type, program.instructions[at : at + 2])]
        instructions = (*kept, End())
        words = b"".join(encode(instruction).to_bytes(size, "little") for instruction in instructions)
        memory = np.frombuffer(words, np.uint8).reshape(1, -1, size)
        name = stages[number].name if len(stages) == len(ends) + 1 else f"step {number}"
        yield name, dataclasses.replace(
            program, instructions=instructions, memories=program.memories | {Space.PROGRAM: memory},
            stages=(*stages[: number + 1], stages[-1]))
