"""The driver against an emulated device: right results over good lines and bad ones."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from hw.arch import wire
from hw.arch.config import PRESETS, Space, preset
from hw.arch.wire import Type
from sw.abcnet.reference import reference
from sw.compiler import compile
from sw.driver import Accelerator
from sw.graph import Image
from sw.link import EmulatedLink
from sw.protocol import Frame, encode
from tests.sw.links import TINY_2X2, Answering, Spy, device, program_for
from tests.sw.samples import small_graph, some_images


@pytest.mark.parametrize("name", PRESETS)
def test_logits_equal_the_reference(name: str) -> None:
    graph, images = small_graph(), some_images(7)
    with Accelerator(EmulatedLink(device(preset(name)))) as accelerator:
        accelerator.load(compile(graph, preset(name)))
        logits = accelerator.infer(images)
    assert logits.dtype == np.int64
    np.testing.assert_array_equal(logits, reference(graph, images).logits)


@pytest.mark.parametrize("image", [Image(60, 60, 1), Image(48, 50, 1)], ids=str)
def test_images_larger_than_the_fifo(image: Image) -> None:
    graph, images = small_graph(image=image, channels=3), some_images(3, image=image)
    config = TINY_2X2.replace(activation_depth=65536, weight_depth=65536, tap_depth=4096)
    assert images[0].size > wire.IMAGE_FIFO
    with Accelerator(EmulatedLink(device(config))) as accelerator:
        accelerator.load(compile(graph, config))
        np.testing.assert_array_equal(accelerator.infer(images), reference(graph, images).logits)


def test_torch_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    images = some_images(2)
    with Accelerator(EmulatedLink(device())) as accelerator:
        accelerator.load(program_for())
        np.testing.assert_array_equal(accelerator.infer(torch.from_numpy(images)), accelerator.infer(images))


def test_no_images_no_logits() -> None:
    with Accelerator(EmulatedLink(device())) as accelerator:
        accelerator.load(program_for())
        assert accelerator.infer(some_images(0)).shape == (0, 5)


def test_a_program_is_loaded_once_and_kept() -> None:
    link, program, other = Spy(device()), program_for(), program_for(seed=9)
    with Accelerator(link) as accelerator:
        seen: list[tuple[int, int]] = []
        assert accelerator.load(program, lambda done, total: seen.append((done, total)))
        assert seen
        assert seen[-1][0] == seen[-1][1]
        assert seen == sorted(seen)
        writes = link.count(Type.WRITE)
        assert not accelerator.load(program)
        assert not accelerator.load(program_for())
        assert link.count(Type.WRITE) == writes
        assert accelerator.load(other)
        assert link.count(Type.WRITE) == 2 * writes
        images = some_images(2)
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(seed=9), images).logits)
    assert link.closed == 1


def test_instructions_are_written_last() -> None:
    link, program = Spy(device()), program_for()
    first = {Space.PROGRAM: program.memories[Space.PROGRAM]}
    with Accelerator(link) as accelerator:
        accelerator.load(dataclasses.replace(program, memories=first | program.memories))
    spaces = [frame.payload[0] for frame in link.sent if frame.type == Type.WRITE]
    assert spaces[-2:] == [Space.PROGRAM, Space.RESULTS]  # the receipt, once all is there
    assert spaces.count(Space.PROGRAM) == 1


def test_following_images_are_uploaded_before_the_first_is_read() -> None:
    link = Spy(device())
    with Accelerator(link) as accelerator:
        accelerator.load(program_for())
        link.sent.clear()
        accelerator.infer(some_images(3))
    kinds = [frame.type for frame in link.sent if frame.type in (Type.IMAGE, Type.READ)]
    assert kinds == [Type.IMAGE] * 3 + [Type.READ] * 3


def test_images_never_exceed_the_room_in_the_device() -> None:
    image = Image(40, 40, 1)
    config = TINY_2X2.replace(activation_depth=65536, weight_depth=65536, tap_depth=4096)
    link = Spy(device(config))
    with Accelerator(link) as accelerator:
        accelerator.load(compile(small_graph(image=image, channels=2), config))
        accelerator.infer(some_images(4, image=image))
        assert accelerator.stats().link.resent == 0
    assert max(len(frame.payload) for frame in link.sent if frame.type == Type.IMAGE) <= wire.MAX_PAYLOAD


def test_stats_add_up() -> None:
    program = program_for()
    with Accelerator(EmulatedLink(device())) as accelerator:
        accelerator.load(program)
        accelerator.infer(some_images(4))
        assert accelerator.ping(b"hello") >= 0
        stats = accelerator.stats()
    assert stats.frames == stats.device.frames == 4
    assert stats.cycles == 4 * program.predicted_cycles
    assert stats.link.bytes_sent > 0
    assert stats.link.bytes_received > 0
    assert stats.bad_frames == 0


@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line_changes_nothing(seed: int, window: int) -> None:
    rng = random.Random(seed)

    def garble(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            dice = rng.random()
            if dice < 0.001:
                continue
            out.append(byte ^ 1 << rng.randrange(8) if dice > 0.999 else byte)
        return bytes(out)

    images = some_images(12)
    with Accelerator(Spy(device(), garble, 0.01), window=window, retries=30) as accelerator:
        accelerator.load(program_for())
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(), images).logits)
        assert accelerator.stats().link.resent > 0


@pytest.mark.parametrize("lost", [Type.HELLO, Type.RESET, Type.WRITE, Type.IMAGE, Type.RUN, Type.STATUS, Type.READ],
                         ids=lambda kind: kind.name)
def test_every_kind_of_reply_may_be_lost(lost: Type) -> None:
    """The first reply of a kind vanishes; its request is repeated and takes effect once."""
    dropped = []

    def drop_once(frame: Frame) -> bytes:
        reply = board.feed(encode(frame))
        if frame.type == lost and not dropped:
            dropped.append(frame)
            return b""
        return reply

    board, images = device(), some_images(3)
    with Accelerator(Answering(drop_once)) as accelerator:
        accelerator.load(program_for())
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(), images).logits)
        assert accelerator.stats().device.frames == 3
    assert dropped


def test_a_late_reply_of_the_device_is_no_reply_to_a_later_request() -> None:
    board, held = device(), []

    def delay(frame: Frame) -> bytes:
        reply = board.feed(encode(frame))
        if frame.type == Type.PING and not held:
            held.append(reply)
            return b""
        return reply + (held[0] if held else b"")

    with Accelerator(Answering(delay)) as accelerator:
        for n in range(5):
            accelerator.ping(bytes([n]))
