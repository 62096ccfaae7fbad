"""Every scheme runs on the accelerator: the emulator's logits are those of the integer reference."""

import numpy as np
import pytest

from hw.arch.config import Space, preset
from sw.abcnet.architecture import BlockSpec, head
from sw.abcnet.reference import reference
from sw.abcnet.schemes import SCHEMES, scheme
from sw.compiler import compile
from sw.emulator import Machine
from sw.export import export
from tests.sw.test_export_schemes import BLOCKS, network, pixels

FIVE = {"M": 5, "N": 5, "symmetric": True}
CHAIN = (BlockSpec(6, 3, padding=1, pool=2), BlockSpec(8, 3), BlockSpec(12, 0), head(4))


def emulate(program, images):
    machine = Machine(program.config)
    for space in program.memories:
        for bank, _, words in program.memory_words(space):
            machine.write(Space(space), bank, 0, words)
    logits = []
    for image in images:
        machine.feed(program.image_bytes(image))
        machine.run()
        assert not machine.fault and machine.cycles == program.predicted_cycles
        logits.append(program.logits(machine.read(Space.RESULTS, 0, 0, program.result_words)))
    return np.array(logits)


@pytest.mark.parametrize("name", ["tiny", "tiny-2x2"])
@pytest.mark.parametrize("blocks", [BLOCKS, CHAIN], ids=["residual", "chain"])
@pytest.mark.parametrize(("using", "options"), [*((name, {}) for name in SCHEMES), ("abc", FIVE)])
def test_emulator_equals_reference(using, options, blocks, name):
    images = pixels(20)
    graph = export(network(scheme(using, **options), blocks), images=images)
    config = preset(name).replace(
        weight_depth=4096, coefficient_depth=2048, threshold_depth=2048, coefficient_bits=16, sum_bits=32)
    program = compile(graph, config)
    assert emulate(program, images[:2]).tolist() == reference(graph, images[:2], keep=False).logits.tolist()


def test_symmetric_planes_take_fewer_passes():
    cycles = [compile(export(network(scheme("abc", M=3, N=3, symmetric=symmetric), CHAIN), coefficient_bits=12),
                      preset("tiny").replace(weight_depth=4096)).predicted_cycles for symmetric in (False, True)]
    assert cycles[1] < 0.7 * cycles[0]


def test_planes_too_many_for_one_accumulation_pass_one_by_one():
    """64 pixels averaged, 4-bit activations: fused they would count to 15 * 64 * 20."""
    graph = export(network(scheme("dorefa"), (BlockSpec(20, 5), head(4, average=0))))
    images = pixels(2)
    program = compile(graph, preset("tiny"))
    assert emulate(program, images).tolist() == reference(graph, images, keep=False).logits.tolist()
