"""The shipped networks on emulator and RTL, the latter behind its serial line: every logit equals PyTorch's."""

from pathlib import Path

import numpy as np
import pytest

from hw.arch.config import preset
from sw import artifact, data
from sw.abcnet.reference import reference
from sw.cli import main
from sw.compiler import compile
from sw.driver import Accelerator
from sw.link import open_link
from tests.graphs import larger_than_tiny, random_images

MODELS = Path(__file__).parents[1] / "models"
CONFIG = preset("small")
NAMES = ("digits", "fashion")
IMAGES = {"digits": 100, "fashion": 24}


def images_of(name, model):
    """The golden images, which are of the test set, then more of it, or noise where the data set may be absent."""
    more = IMAGES[name] - len(model.golden_images)
    if name == "digits":
        others = data.load(name).test_images[-more:]
    else:
        others = np.random.default_rng(7).integers(0, 256, (more, *model.graph.image.shape)).astype(np.uint8)
    return np.concatenate([model.golden_images, others])


@pytest.mark.parametrize("url", ["emu:small", "sim:small"])
@pytest.mark.parametrize("name", NAMES)
def test_every_logit_is_the_reference(name, url):
    model = artifact.load(MODELS / f"{name}.abacus")
    images, program = images_of(name, model), compile(model.graph, CONFIG)
    with Accelerator(open_link(url, CONFIG)) as accelerator:
        accelerator.load(program)
        logits = accelerator.infer(images)
        assert accelerator.stats().cycles == len(images) * program.predicted_cycles
    assert logits.shape == (IMAGES[name], 10)
    np.testing.assert_array_equal(logits, reference(model.graph, images, keep=False).logits)
    np.testing.assert_array_equal(logits[:20], model.golden_logits)


@pytest.mark.parametrize("url", ["emu:tiny", "sim:tiny"])
def test_weights_that_do_not_fit_come_with_every_image(url):
    graph, config = larger_than_tiny(), preset("tiny")
    images, program = random_images(graph, 4), compile(graph, config)
    assert len(program.stream) and any("parts" in stage.kernel for stage in program.stages)
    with Accelerator(open_link(url, config)) as accelerator:
        accelerator.load(program)
        for part in (images[:3], images[3:]):
            np.testing.assert_array_equal(accelerator.infer(part), reference(graph, part, keep=False).logits)
        assert accelerator.stats().cycles == len(images) * program.predicted_cycles


@pytest.mark.parametrize("name", NAMES)
def test_info_tells_accuracies_and_agreement(name, capsys):
    assert main(["info", str(MODELS / f"{name}.abacus"), "--preset", "small"]) == 0
    out = capsys.readouterr().out
    for figure in ("float accuracy 0.", "integer accuracy 0.", "argmax agreement "):
        assert figure in out
    assert f"{compile(artifact.load(MODELS / f'{name}.abacus').graph, CONFIG).predicted_cycles} cycles per image" in out
