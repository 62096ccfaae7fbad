"""Hostile programs: emulator and RTL stop with the same fault at the same instruction, or run the same number of
cycles, and the next good frame is right."""

import dataclasses
import json
import random

import numpy as np
import pytest

from hw.arch import isa, timing
from hw.arch.config import Space, preset
from hw.arch.isa import LOADABLE, Await, Code, Conv, End, Fault, Load, Pack, Source, Tap, Target, Values, Walk
from hw.arch.packed import FieldError, fields_of, used_bits
from sim.core.frames import replay
from sw.compiler import compile
from sw.emulator import Machine
from sw.graph import Graph, Image
from tests.graphs import random_conv

NONE, ILLEGAL, OVERRUN, ADDRESS = (int(fault) for fault in Fault)
LONGEST, MOST = 15_000, 1_000  # cycles of a random hostile program, and bytes of its stream
CONFIG = preset("tiny").replace(weight_depth=5)  # too small to hold the weights


def good_graph():
    """The shortest program with every instruction."""
    rng = np.random.default_rng(5)
    image = Image(4, 4, 1)
    layers = (
        random_conv(rng, "conv", "image", (4, 4, 1), 8, co=5, padding=1, pool=2, pool_stride=2),
        random_conv(rng, "classes", "conv", (2, 2, 5), 2, co=3, kernel=2, levels=0),
    )
    return Graph(
        name="good", image=image, layers=layers, classes=tuple("abc"), scale=1.0, metadata={})


PROGRAM = compile(good_graph(), CONFIG)
GOOD = PROGRAM.instructions
STREAM = PROGRAM.image_bytes(np.random.default_rng(1).integers(0, 256, (4, 4, 1)).astype(np.uint8))


def at(cls, number=0):
    """Address of the `number`th instruction of a kind."""
    return [n for n, instruction in enumerate(GOOD) if isinstance(instruction, cls)][number]


def changed(cls, number=0, **fields):
    """The good program with fields of one instruction changed."""
    program, place = list(GOOD), at(cls, number)
    program[place] = dataclasses.replace(program[place], **fields)
    return program


def words_of(program):
    """Instructions as words; a word is taken as it is."""
    return [word if isinstance(word, int) else isa.encode(word) for word in program]


def without(cls):
    return [instruction for instruction in GOOD if not isinstance(instruction, cls)]


def spoilt(place, change):
    """The good program with one word changed."""
    words = words_of(GOOD)
    words[place] = change(words[place])
    return words


MEMORIES = CONFIG.memories
FIRST, LAST = at(Conv), at(Conv, 1)
VALUED = Values(base=CONFIG.value_depth - 3, add=1, keep=1, shift=15, rectify=1)
# name: (program, tap words to write or None, fault, address)
CASES = {
    "weights": (changed(Conv, 0, weights=CONFIG.weight_depth - 1), None, ADDRESS, FIRST),
    "weights of another layer": (changed(Conv, 1, weights=65_535), None, ADDRESS, LAST),
    "taps": (changed(Walk, 0, tap_base=CONFIG.tap_depth - 1), None, ADDRESS, FIRST),
    "taps far away": (changed(Walk, 0, tap_base=4095), None, ADDRESS, FIRST),
    "coefficients": (changed(Conv, 0, coefficients=CONFIG.coefficient_depth - 1), None, ADDRESS, FIRST),
    "thresholds": (changed(Conv, 0, thresholds=CONFIG.threshold_depth - 1), None, ADDRESS, FIRST),
    "values": ([*GOOD[:FIRST], VALUED, GOOD[FIRST], End()], None, ADDRESS, FIRST + 1),
    "values far away": ([*GOOD[:FIRST], dataclasses.replace(VALUED, base=65_535), GOOD[FIRST], End()], None, ADDRESS,
                        FIRST + 1),
    "biases": ([*GOOD[:FIRST], dataclasses.replace(VALUED, base=0),
                dataclasses.replace(GOOD[FIRST], thresholds=CONFIG.threshold_depth - 6), End()], None, ADDRESS,
               FIRST + 1),
    "unused bit of Values": ([*GOOD[:FIRST], isa.encode(VALUED) | 1 << isa.OPCODE_WIDTH + used_bits(Values)], None,
                             ILLEGAL, FIRST),
    "activations read": (changed(Source, 0, base=65_535), None, ADDRESS, FIRST),
    "activations before the first": (GOOD, [Tap(-65_536, 0, dy=0, dx=0, anchor=0).pack()], ADDRESS, FIRST),
    "activations behind the last": (GOOD, [Tap(65_535, 1, dy=0, dx=0, anchor=1).pack()], ADDRESS, FIRST),
    "activations written": (changed(Target, 1, base=CONFIG.activation_depth - 1), None, ADDRESS, FIRST),
    "activations packed": (changed(Target, 0, base=CONFIG.activation_depth - 5), None, ADDRESS, at(Pack)),
    "results": ([
        *GOOD[:LAST],
        Source(base=0, pixel_words=1, channel_words=1, tail_bits=1, rows=1, columns=1, stride=1, padding=0),
        Walk(pixels=300, columns=300, row_skip=0, tap_base=0, taps=1, positions=1, repeat=1), *GOOD[LAST:],
    ], None, ADDRESS, LAST + 2),
    **{f"{number}: {count} {name} loaded from {first}": (
        changed(Load, number, **{name: first, words: count}), None, ADDRESS, at(Load, number))
       for number in (0, 1)
       for space, (name, _), (words, limits) in zip(
           LOADABLE, fields_of(Load)[::2], fields_of(Load)[1::2], strict=True)
       for first, count in ((MEMORIES[space].depth - 1, 2), (dict(fields_of(Load))[name]["high"], limits["high"]))},
    "loads that nothing waits for": (
        [*GOOD[: at(Load)], GOOD[at(Load)], GOOD[at(Load, 1)], *without(Load)[at(Load) :]], None, NONE, 0),
    "load outside, then another": (
        [dataclasses.replace(GOOD[at(Load)], weights=65_535), GOOD[at(Load)], End()], None, ADDRESS, 0),
    "load outside, then an image": (
        [GOOD[0], dataclasses.replace(GOOD[at(Load)], weights=65_535), GOOD[at(Pack)], End()], None, ADDRESS, 1),
    "load outside, not awaited": ([dataclasses.replace(GOOD[at(Load)], weights=65_535), End()], None, NONE, 0),
    "window": (changed(Pack, window_rows=5, window_columns=5), None, ADDRESS, at(Pack)),
    "window in half a word": (changed(Pack, split=1), None, ADDRESS, at(Pack)),
    "channels in half a word": (changed(Conv, 0, split=1), None, ILLEGAL, FIRST),
    "channel words in half a word": ([
        *GOOD[:FIRST], dataclasses.replace(GOOD[at(Source)], channel_words=2, tail_bits=1),
        dataclasses.replace(GOOD[FIRST], split=1)], None, ILLEGAL, FIRST + 1),
    "channels that fit half a word": ([
        *GOOD[:FIRST], dataclasses.replace(GOOD[at(Source)], tail_bits=CONFIG.word // 2),
        dataclasses.replace(GOOD[FIRST], split=1), End()], None, NONE, 0),
    "line buffer": (changed(Pack, rows=1, columns=700, window_rows=4), None, ADDRESS, at(Pack)),
    "not awaited": ([*without(Await)[: at(Await)], End()], None, NONE, 0),
    "image that cannot be stored, not awaited": (
        [changed(Target, 0, base=CONFIG.activation_depth - 5)[0], GOOD[at(Pack)], End()], None, NONE, 0),
    "no Source": (without(Source), None, ILLEGAL, FIRST - 1),
    "no Walk": (without(Walk), None, ILLEGAL, FIRST - 1),
    "no Target": (without(Target), None, ILLEGAL, at(Pack) - 1),
    "no Code": (without(Code), None, ILLEGAL, FIRST - 2),
    "no planes": (changed(Conv, 0, target_groups=0), None, ILLEGAL, FIRST),
    "nine steps": (changed(Conv, 0, search=1, levels=9), None, ILLEGAL, FIRST),
    "eight steps": (changed(Conv, 0, search=1, levels=8, thresholds=0), None, NONE, 0),
    "no END": ([*without(End), *[GOOD[at(Code)]] * (CONFIG.program_depth - len(GOOD) + 1)], None, OVERRUN,
               CONFIG.program_depth),
    "erased": ([0], None, ILLEGAL, 0),
    "tail": (changed(Source, 0, tail_bits=CONFIG.word + 1), None, ILLEGAL, at(Source)),
    "pitch": (changed(Target, 0, pitch_banks=CONFIG.pixel_lanes), None, ILLEGAL, at(Target)),
    **{f"opcode {code}": (spoilt(1, lambda word, code=code: word & ~15 | code), None, ILLEGAL, 1)
       for code in range(16) if code not in list(isa.Opcode) or code == 0},
}
for _number, _instruction in enumerate(GOOD):
    _cls, _offset = type(_instruction), isa.OPCODE_WIDTH
    _unused = _offset + used_bits(_cls)
    for _bit in {_unused, 127}:
        CASES[f"unused bit {_bit} at {_number}"] = (
            spoilt(_number, lambda word, bit=_bit: word | 1 << bit), None, ILLEGAL, _number)
    for _name, _spec in fields_of(_cls):
        _mask = (1 << _spec["width"]) - 1 << _offset
        for _value in (_spec["low"] - 1, _spec["high"] + 1):
            if _spec["signed"] or not 0 <= _value < 1 << _spec["width"]:
                continue
            CASES[f"{_cls.__name__}.{_name} = {_value} at {_number}"] = (
                spoilt(_number, lambda word, mask=_mask, bits=_value << _offset: word & ~mask | bits), None,
                ILLEGAL, _number)
        _offset += _spec["width"]


class Bench:
    """An emulated core, and the runs it did, for the RTL to repeat."""

    def __init__(self):
        self.machine, self.runs = Machine(CONFIG), []
        self.memories = [(int(space), bank, words) for space in PROGRAM.memories
                         for bank, _, words in PROGRAM.memory_words(space)]
        self.good()

    def run(self, memories, stream, results):
        """One frame; fault and its address.

        `results` are compared for good programs only: those of a program that overwrites what it still reads, or
        whose sums wrap, are nobody's promise.
        """
        machine = self.machine
        for space, bank, words in memories:
            machine.write(Space(space), bank, 0, words)
        machine.feed(stream)
        machine.run()
        assert not machine.busy
        fault = (int(machine.fault), machine.fault_address)
        words = machine.read(Space.RESULTS, 0, 0, PROGRAM.result_words) if results else []
        self.runs.append((memories, list(stream), fault, words, machine.cycles))
        frames = machine.frames
        machine.reset()
        assert machine.frames == frames
        return fault

    def good(self):
        assert self.run(self.memories, STREAM, results=True) == (NONE, 0)
        assert self.runs[-1][3] == self.runs[0][3]

    def hostile(self, words, taps=None, stream=STREAM):
        memories = [(int(Space.PROGRAM), 0, words)] + ([(int(Space.TAPS), 0, taps)] if taps else [])
        return self.run(memories, stream, results=False)


def case(bench):
    return {"config": json.loads(CONFIG.to_json()), "runs": bench.runs, "stall": 0.0}


def test_hostile_programs_stop_with_their_fault():
    bench = Bench()
    for number, (name, (program, taps, fault, address)) in enumerate(CASES.items()):
        assert bench.hostile(words_of(program), taps) == (fault, address), name
        if number % 4 == 0 or fault == ADDRESS:
            bench.good()
    bench.good()
    replay(case(bench))


def mutant(rng):
    """The good program with one to three fields changed; None when that is not legal or would take long."""
    words = list(GOOD)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(words))
        fields = fields_of(type(words[place]))
        if not fields:
            continue
        name, spec = rng.choice(fields)
        value = getattr(words[place], name) + rng.choice((-1, 1, 2, 7, 100))
        try:
            words[place] = dataclasses.replace(
                words[place], **{name: rng.choice((value, rng.randint(0, 20), spec["high"]))})
        except FieldError:
            return None
    current, total = {}, 0
    for word in words:
        current[type(word)] = word
        if isinstance(word, (Pack, Load)):
            total += timing.PACK
        elif isinstance(word, Conv):
            total += timing.conv_cycles(
                CONFIG, word, current[Walk], current[Source], current.get(Values, isa.NO_VALUES))
    return words if total < LONGEST and demand(words) < MOST else None


def demand(program):
    """Bytes that the program takes before its second `Pack`."""
    pack = next(word for word in program if isinstance(word, Pack))
    return pack.rows * pack.columns * pack.channels + sum(
        load.stream_bytes(CONFIG) for load in program if isinstance(load, Load))


@pytest.mark.parametrize("seed", [1])
def test_random_hostile_programs(seed):
    rng, bench, met = random.Random(seed), Bench(), []
    while len(met) < 60:
        program = mutant(rng)
        if program is None:
            continue
        met.append(bench.hostile(words_of(program), stream=(STREAM * MOST)[: demand(program)])[0])
        if met[-1] or len(met) % 5 == 0:
            bench.good()
    assert {NONE, ILLEGAL, ADDRESS} <= set(met), met
    replay(case(bench))
