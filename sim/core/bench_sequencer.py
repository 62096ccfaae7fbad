"""`Sequencer` alone: random programs, answered by a model of the blocks it starts; legal ones end, others fault."""

import cocotb
from cocotb.triggers import Timer

from hw.arch import isa, timing
from hw.arch.config import INSTRUCTION_BITS, Config
from hw.arch.isa import MOST_STEPS, Await, Code, Conv, End, Fault, Load, Pack, Source, Target, Walk, decode, encode
from hw.arch.packed import FieldError, fields_of
from hw.interfaces import status_layout
from sim.helpers import cycles, generator, settings, start, unpack

INPUTS = ("start", "word", "lanes_ready", "issuing", "group", "group_done", "intake_busy", "intake_fault", "unit_fault")
SLACK = 20


def random_instruction(rng, cls, config):
    """An instruction whose fields are anywhere in their ranges; many sources have one channel word."""
    while True:
        values = {name: rng.randint(spec["low"], spec["high"]) for name, spec in fields_of(cls)}
        if cls is Source and rng.random() < 0.7:
            values["channel_words"] = 1
        try:
            return encode(cls(**values)), decode(encode(cls(**values)), config)
        except FieldError:
            continue


def random_program(rng, config):
    """(words, expected (fault, address)): legal set-ups, then something to run; sometimes one word is spoiled."""
    kinds = [Target, Pack, Await, Load, Source, Walk, Code, Code, Load, Conv, Pack, End]
    if rng.random() < 0.3:
        rng.shuffle(kinds)
    words = [random_instruction(rng, cls, config)[0] for cls in kinds]
    if rng.random() < 0.4:
        words[rng.randrange(len(words))] = rng.getrandbits(INSTRUCTION_BITS)
    present, halves, source = set(), set(), None
    for address, word in enumerate(words):
        try:
            instruction = decode(word, config)
        except FieldError:
            return words, (Fault.ILLEGAL, address)
        cls = type(instruction)
        needs = {Pack: {Target}, Conv: {Source, Walk}}.get(cls, set())
        if cls is Source:
            source = instruction
        if cls is Conv and instruction.split and (source is None or not isa.halves(config, source)):
            return words, (Fault.ILLEGAL, address)
        if cls is Conv and instruction.search and instruction.levels > MOST_STEPS:
            return words, (Fault.ILLEGAL, address)
        if cls is Conv and instruction.levels:
            needs = needs | {Target}
            if len(halves) < 2 or not instruction.target_groups:
                return words, (Fault.ILLEGAL, address)
        if not needs <= present:
            return words, (Fault.ILLEGAL, address)
        if cls is End:
            return words, (Fault.NONE, 0)
        present.add(cls)
        halves |= {instruction.half} if cls is Code else set()
    return words, (Fault.OVERRUN, config.program_depth)


async def blocks(dut, rng, words):
    """Program memory, lanes, issuer, writer and packer, with random delays."""
    waits = {"lanes_ready": 0, "issue": 0, "done": 0, "pack": 0}
    while True:
        address = int(dut.address.value)
        await cycles(dut, 1)
        dut.word.value = words[address] if address < len(words) else 0
        dut.group.value, dut.group_done.value = 0, 0
        if int(dut.prepare.value):
            waits["lanes_ready"] = rng.randint(1, 6)
        for name in waits:
            waits[name] = max(0, waits[name] - 1)
        dut.intake_busy.value = int(waits["pack"] > 0)
        dut.lanes_ready.value = int(waits["lanes_ready"] == 0)
        await Timer(1, unit="ns")  # a free intake is answered in the same cycle
        if int(dut.pack_begin.value) or int(dut.load_begin.value):
            assert not waits["pack"], "the intake was started at work"
            waits["pack"] = rng.randint(3, 30)
        if int(dut.begin.value):
            waits["issue"] = rng.randint(2, 9)
        issuing = waits["issue"] > 1
        if waits["issue"] == 1:
            dut.group.value, waits["done"] = 1, rng.randint(2, 9)
        dut.issuing.value = int(issuing)
        if waits["done"] == 1:
            dut.group_done.value = 1


@cocotb.test()
async def random_programs(dut):
    """Every program ends: with END, or with the fault and the address of the first instruction that is wrong."""
    config, rng = Config.from_json(str(settings()["config"])), generator()
    await start(dut, **dict.fromkeys(INPUTS, 0))
    for number in range(int(settings()["programs"])):
        words, expected = random_program(rng, config)
        words += [0] * 2 if expected[0] != Fault.OVERRUN else []
        if expected[0] == Fault.OVERRUN:
            # Set-ups to the end of the memory: only then is END missed, and not an erased word met.
            setup = random_instruction(rng, Source, config)[0]
            words += [setup] * (config.program_depth - len(words))
        worker = cocotb.start_soon(blocks(dut, rng, words))
        dut.start.value = 1
        await cycles(dut, 1)
        dut.start.value = 0
        limit = len(words) * (timing.FETCH + 40) + timing.halt(config) + SLACK
        for _ in range(limit):
            await cycles(dut, 1)
            status = unpack(status_layout(), int(dut.status.value))
            if not status["busy"]:
                break
        else:
            raise AssertionError(f"program {number} still busy after {limit} cycles")
        assert (status["fault"], status["fault_address"]) == expected, f"program {number}"
        worker.cancel()
        await cycles(dut, 2)


async def frame(dut, words, busy, *, fault=0):
    """Run one frame; its status and how often the intake began, which is busy for `busy` cycles each time."""
    begun = left = 0
    dut.start.value, dut.intake_fault.value = 1, fault
    for cycle in range(200):
        address = int(dut.address.value)
        await cycles(dut, 1)
        dut.start.value = 0
        dut.word.value = words[address] if address < len(words) else 0
        dut.intake_busy.value = int(left > 0)
        left -= left > 0
        await Timer(1, unit="ns")  # what begins does so because the intake is free
        if int(dut.pack_begin.value) or int(dut.load_begin.value):
            assert not left, "the intake was started at work"
            begun, left = begun + 1, busy
        status = unpack(status_layout(), int(dut.status.value))
        if cycle > 2 and not status["busy"]:
            return status, begun
    raise AssertionError(f"still busy after {cycle} cycles")


@cocotb.test()
async def images_are_packed_once_and_awaited(dut):
    """A second `Pack` starts nothing, in the next frame too; a fault stops `Await` with the address of its `Pack`."""
    config, rng = Config.from_json(str(settings()["config"])), generator()
    await start(dut, **dict.fromkeys(INPUTS, 0))
    kinds = [Target, Pack, Pack, Await, Pack, End]
    words = [random_instruction(rng, cls, config)[0] for cls in kinds]
    least = timing.FETCH + 3 * timing.PACK + timing.AWAIT + timing.END
    busy = 30
    status, begun = await frame(dut, words, busy)
    assert (status["fault"], status["cycles"] - status["waited"], begun) == (Fault.NONE, least, 2)
    assert 0 < status["waited"] < busy
    status, begun = await frame(dut, words, 0)
    assert (status["fault"], status["cycles"], status["waited"], begun) == (Fault.NONE, least, 0, 1)
    status, begun = await frame(dut, words, 0, fault=1)
    assert (status["fault"], status["fault_address"], begun) == (Fault.ADDRESS, 4, 0)
    status, begun = await frame(dut, words, 0)
    assert (status["fault"], begun) == (Fault.NONE, 2), "after a fault no image is held"


@cocotb.test()
async def loads_come_one_after_the_other(dut):
    """`Load`, and a `Pack` that has something to do, wait for the intake; a fault has the address of what it was at."""
    config, rng = Config.from_json(str(settings()["config"])), generator()
    await start(dut, **dict.fromkeys(INPUTS, 0))
    kinds = [Target, Load, Pack, Pack, Load, Await, End]
    words = [random_instruction(rng, cls, config)[0] for cls in kinds]
    least = timing.FETCH + 2 * timing.LOAD + 2 * timing.PACK + timing.AWAIT + timing.END
    status, begun = await frame(dut, words, 20)
    assert (status["fault"], status["cycles"] - status["waited"], begun) == (Fault.NONE, least, 3)
    assert 40 < status["waited"] < 60
    status, begun = await frame(dut, words, 1000, fault=1)
    assert (status["fault"], begun) == (Fault.ADDRESS, 0)
    words[1:3] = words[2:4]  # the image is held: the first Load waits for it
    status, begun = await frame(dut, words, 20)
    assert (status["fault"], begun) == (Fault.NONE, 2)
