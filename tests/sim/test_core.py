"""The core's RTL runs random networks and equals the emulator, integer for integer and cycle for cycle."""

import json

import pytest

from hw.arch.config import Space, preset
from hw.arch.isa import Fault, Values, encode
from hw.core import Core
from sim.runner import run
from sw.abcnet.reference import reference
from sw.compiler import compile
from sw.emulator import Machine
from tests.graphs import random_graph, random_images
from tests.residuals import residual_graph, shortest_passes

# Planes of one number in groups that do not end with its halves.
THREE = preset("tiny").replace(N=3, column_lanes=6, coefficient_bits=16)
PLAIN = preset("tiny").replace(value_depth=0)  # no residual connections
SMALL = {"tap_depth": 32, "coefficient_depth": 24, "threshold_depth": 40, "program_depth": 256}
STREAMED = {"tiny": preset("tiny").replace(weight_depth=160, **SMALL),
            "tiny-2x2": preset("tiny-2x2").replace(weight_depth=90, **SMALL)}


def case(graph, config, images, stall=0.0):
    """What `sim.core.bench_core` replays: memories, and per frame the stream, the results and the cycles."""
    program, machine = compile(graph, config), Machine(config)
    memories = [
        (int(space), bank, words) for space in program.memories for bank, _, words in program.memory_words(space)]
    for space, bank, words in memories:
        machine.write(Space(space), bank, 0, words)
    runs = []
    for image in images:
        stream = program.image_bytes(image)
        machine.feed(stream)
        machine.run()
        assert not machine.busy and not machine.fault
        assert machine.cycles == program.predicted_cycles
        results = machine.read(Space.RESULTS, 0, 0, program.result_words)
        logits = reference(graph, image[None], keep=False).logits
        assert program.logits(results).tolist() == logits[0].tolist()
        runs.append((memories, list(stream), (0, 0), results, machine.cycles))
        memories = []
    return {"config": json.loads(config.to_json()), "runs": runs, "stall": stall}


def replay(config, content, folder):
    """Run a case on the core's RTL."""
    path = folder / "case.json"
    path.write_text(json.dumps(content))
    run(Core(config), "sim.core.bench_core", simulator="verilator", settings={"case": str(path)})


@pytest.mark.parametrize(("name", "seed", "stall"), [
    ("tiny", 3, 0.0), ("tiny", 14, 0.5), ("tiny", 5, 0.0), ("tiny-2x2", 14, 0.0), ("tiny-2x2", 7, 0.5),
    ("plain", 6, 0.0),
])
def test_random_networks(name, seed, stall, tmp_path):
    config, graph = PLAIN if name == "plain" else preset(name), random_graph(seed)
    replay(config, case(graph, config, random_images(graph, 2, seed), stall), tmp_path)


def test_values_are_illegal_without_their_memory(tmp_path):
    words = [(int(Space.PROGRAM), 0, [encode(Values(0, add, keep, 0, 0))]) for add, keep in ((0, 1), (1, 0))]
    runs = [([memory], [], (int(Fault.ILLEGAL), 0), [], 0) for memory in words]
    for space, bank, program in words:
        machine = Machine(PLAIN)
        machine.write(Space(space), bank, 0, program)
        machine.run()
        assert (machine.fault, machine.fault_address) == (Fault.ILLEGAL, 0)
    replay(PLAIN, {"config": json.loads(PLAIN.to_json()), "runs": runs, "stall": 0.0}, tmp_path)


@pytest.mark.parametrize(("name", "seed", "stall"), [
    ("tiny-2x2", 8, 0.5), ("plain", 18, 0.0), ("three", 36, 0.0),
])
def test_binary_numbers(name, seed, stall, tmp_path):
    config = {"plain": PLAIN, "three": THREE}.get(name) or preset(name)
    graph = random_graph(seed, search=True)
    replay(config, case(graph, config, random_images(graph, 2, seed), stall), tmp_path)


@pytest.mark.parametrize("name", ["tiny", "tiny-2x2"])
def test_shortest_passes(name, tmp_path):
    config, graph = preset(name), shortest_passes(1)
    replay(config, case(graph, config, random_images(graph, 2), 0.0), tmp_path)


@pytest.mark.parametrize(("name", "seed", "stall"), [
    ("tiny", 2, 0.0), ("tiny", 10, 0.0), ("tiny", 27, 0.5), ("tiny-2x2", 34, 0.0), ("tiny-2x2", 54, 0.0),
])
def test_residual_networks(name, seed, stall, tmp_path):
    config, graph = preset(name), residual_graph(seed)
    replay(config, case(graph, config, random_images(graph, 2, seed), stall), tmp_path)


@pytest.mark.parametrize("seed", [10])
def test_residual_binary_numbers(seed, tmp_path):
    config, graph = preset("tiny"), residual_graph(seed, search=True)
    replay(config, case(graph, config, random_images(graph, 2, seed)), tmp_path)


@pytest.mark.parametrize(("name", "make", "seed", "stall"), [
    ("tiny", random_graph, 52, 0.0), ("tiny", residual_graph, 45, 0.5), ("tiny-2x2", residual_graph, 51, 0.0),
])
def test_networks_larger_than_the_memories(name, make, seed, stall, tmp_path):
    config, graph = STREAMED[name], make(seed)
    content = case(graph, config, random_images(graph, 3, seed), stall)
    program = compile(graph, config)
    assert len(program.stream) and any("parts" in stage.kernel for stage in program.stages)
    replay(config, content, tmp_path)
