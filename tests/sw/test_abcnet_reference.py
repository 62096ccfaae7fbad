"""Integer inference in PyTorch is equal to the definition in plain integers."""

import numpy as np
import pytest

from sw.abcnet.reference import reference
from sw.graph import GraphError
from tests import graphs as plain
from tests.graphs import random_images
from tests.sw.graphs import by_numerics, random_graph


def check(graph, images):
    result = reference(graph, images, batch=2)
    assert result.logits.dtype == np.int64
    for index, image in enumerate(images):
        integers, levels, kept, logits = by_numerics(graph, image)
        assert result.logits[index].tolist() == logits
        assert {name: values[index].tolist() for name, values in result.integers.items()} == integers
        assert {name: values[index].tolist() for name, values in result.levels.items()} == levels
        assert {name: values[index].tolist() for name, values in result.values.items()} == kept


@pytest.mark.parametrize("seed", range(16))
def test_reference_equals_numerics(seed):
    graph = random_graph(seed)
    check(graph, random_images(graph, 2, seed))


@pytest.mark.parametrize("seed", [1, 5])
def test_reference_equals_numerics_on_the_graphs_of_the_compiler_tests(seed):
    graph = plain.random_graph(seed)
    check(graph, random_images(graph, 1, seed))


def test_batches_do_not_matter_and_maps_can_be_dropped():
    graph = random_graph(3)
    images = random_images(graph, 5)
    whole = reference(graph, images, batch=100)
    for batch in (1, 2, 5):
        assert np.array_equal(reference(graph, images, batch=batch).logits, whole.logits)
    dropped = reference(graph, images, keep=False)
    assert np.array_equal(dropped.logits, whole.logits)
    assert dropped.integers == dropped.levels == dropped.values == {}


def test_images_may_be_read_only_and_of_any_memory_order():
    graph = random_graph(1)
    images = random_images(graph, 3)
    turned = np.asfortranarray(images)
    turned.setflags(write=False)
    assert np.array_equal(reference(graph, turned).logits, reference(graph, images).logits)
    assert np.array_equal(reference(graph, images[::-1]).logits, reference(graph, images).logits[::-1])


def test_no_images_give_no_logits():
    graph = random_graph(0)
    assert reference(graph, random_images(graph, 0)).logits.shape == (0, 3)


@pytest.mark.parametrize("change", [
    lambda images: images.astype(np.int64), lambda images: images[0], lambda images: images[:, 1:], lambda images: "x"])
def test_images_of_another_kind_are_refused(change):
    graph = random_graph(0)
    with pytest.raises(GraphError, match=r"^images must be uint8 \[count, \d+, \d+, \d\], not "):
        reference(graph, change(random_images(graph, 2)))
