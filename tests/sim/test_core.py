"""The core's RTL runs random networks and equals the emulator, integer for integer and cycle for cycle."""

import json

import pytest

from hw.arch.config import Space, preset
from hw.arch.isa import Fault, Values, encode
from sim.core.frames import recorded, replay
from sw.abcnet.reference import reference
from sw.compiler import compile
from sw.emulator import Machine
from tests.graphs import STREAMED, narrowed, random_graph, random_images
from tests.residuals import residual_graph, shortest_passes

# Planes of one number in groups that do not end with its halves.
THREE = preset("tiny").replace(N=3, column_lanes=6, coefficient_bits=16)
PLAIN = preset("tiny").replace(value_depth=0)  # no residual connections


def case(graph, config, images, stall=0.0):
    """What the RTL has to repeat: frames of the emulator, which are the reference's and take the predicted cycles."""
    program = compile(graph, config)
    content = recorded(program, images, stall)
    for image, (*_, results, cycles) in zip(images, content["runs"], strict=True):
        assert cycles == program.predicted_cycles
        assert program.logits(results).tolist() == reference(graph, image[None], keep=False).logits[0].tolist()
    return content


@pytest.mark.parametrize(("name", "seed", "stall"), [
    ("tiny", 3, 0.0), ("tiny", 14, 0.5), ("tiny", 5, 0.0), ("tiny-2x2", 14, 0.0), ("tiny-2x2", 7, 0.5),
    ("plain", 6, 0.0),
])
def test_random_networks(name, seed, stall):
    config, graph = PLAIN if name == "plain" else preset(name), random_graph(seed)
    replay(case(graph, config, random_images(graph, 2, seed), stall))


def test_values_are_illegal_without_their_memory():
    words = [(int(Space.PROGRAM), 0, [encode(Values(0, add, keep, 0, 0))]) for add, keep in ((0, 1), (1, 0))]
    runs = [([memory], [], (int(Fault.ILLEGAL), 0), [], 0) for memory in words]
    for space, bank, program in words:
        machine = Machine(PLAIN)
        machine.write(Space(space), bank, 0, program)
        machine.run()
        assert (machine.fault, machine.fault_address) == (Fault.ILLEGAL, 0)
    replay({"config": json.loads(PLAIN.to_json()), "runs": runs, "stall": 0.0})


@pytest.mark.parametrize(("name", "seed", "stall"), [
    ("tiny-2x2", 8, 0.5), ("plain", 18, 0.0), ("three", 36, 0.0),
])
def test_binary_numbers(name, seed, stall):
    config = {"plain": PLAIN, "three": THREE}.get(name) or preset(name)
    graph = random_graph(seed, search=True)
    replay(case(graph, config, random_images(graph, 2, seed), stall))


@pytest.mark.parametrize("name", ["tiny", "tiny-2x2"])
def test_shortest_passes(name):
    config, graph = preset(name), shortest_passes(1)
    replay(case(graph, config, random_images(graph, 2), 0.0))


@pytest.mark.parametrize(("name", "seed", "stall"), [
    ("tiny", 2, 0.0), ("tiny", 10, 0.0), ("tiny", 27, 0.5), ("tiny-2x2", 34, 0.0), ("tiny-2x2", 54, 0.0),
])
def test_residual_networks(name, seed, stall):
    config, graph = preset(name), residual_graph(seed)
    replay(case(graph, config, random_images(graph, 2, seed), stall))


@pytest.mark.parametrize("seed", [10])
def test_residual_binary_numbers(seed):
    config, graph = preset("tiny"), residual_graph(seed, search=True)
    replay(case(graph, config, random_images(graph, 2, seed)))


@pytest.mark.parametrize(("name", "seed", "stall"), [("tiny", 24, 0.0), ("tiny", 44, 0.5), ("tiny-2x2", 7, 0.0)])
def test_networks_larger_than_the_memories(name, seed, stall):
    config, graph = STREAMED[name], residual_graph(seed)
    content = case(graph, config, random_images(graph, 3, seed), stall)
    program = compile(graph, config)
    assert len(program.stream) and any("parts" in stage.kernel for stage in program.stages)
    replay(content)


@pytest.mark.parametrize(("name", "make", "seed", "memories", "stall"), [
    ("tiny-2x2", random_graph, 2, {"activation_depth": 0.7}, 0.5),
    # The last tiled layer adds, and weights come with every image.
    ("tiny-2x2", residual_graph, 20, {"activation_depth": 0.7, "weight_depth": 160, "coefficient_depth": 64}, 0.0),
])
def test_networks_in_bands_of_rows(name, make, seed, memories, stall):
    graph = make(seed)
    config = narrowed(graph, preset(name).replace(program_depth=256), memories)
    program = compile(graph, config)
    assert len(program.bands) > 1 and bool(len(program.stream)) == ("weight_depth" in memories)
    replay(case(graph, config, random_images(graph, 2, seed), stall))
