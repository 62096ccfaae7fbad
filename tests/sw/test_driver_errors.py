"""The driver and devices that are wrong, silent, broken or reset: one sentence, and nothing left behind."""

from __future__ import annotations

import dataclasses
import random
import zlib

import numpy as np
import pytest
from cobs import cobs

from hw.arch import wire
from hw.arch.config import Space
from hw.arch.isa import Fault
from hw.arch.wire import Address, Error, Hello, Status, Type
from sw.abcnet.reference import reference
from sw.driver import Accelerator
from sw.errors import DeviceError, DeviceReset, Faulted, ImageError, LinkError, Mismatch, NoReply, Refused
from sw.link import EmulatedLink
from sw.protocol import Deframer, Frame, encode
from tests.sw.links import TINY, TINY_2X2, Answering, Spy, device, program_for
from tests.sw.samples import small_graph, some_images


@pytest.mark.parametrize("config", [TINY, TINY_2X2.replace(clock_hz=26_000_000)], ids=["preset", "one field"])
def test_another_configuration_is_refused_before_any_write(config) -> None:
    link = Spy(device(config))
    message = f"{TINY_2X2.digest.hex()} .preset tiny-2x2., but the device at emu: has {config.digest.hex()}"
    with Accelerator(link) as accelerator, pytest.raises(Mismatch, match=message):
        accelerator.load(program_for())
    assert link.count(Type.WRITE) == 0


def _changed_hello(**changes: object):
    board = device()

    def answer(frame: Frame) -> bytes:
        (reply,) = Deframer().feed(board.feed(encode(frame)))
        if frame.type == Type.HELLO:
            hello = dataclasses.replace(Hello.unpack(reply.payload), **changes)
            reply = dataclasses.replace(reply, payload=hello.pack())
        return encode(reply)

    return Answering(answer)


@pytest.mark.parametrize(("changes", "message"), [
    ({"design": bytes(16)}, f"must be of design {wire.DESIGN_ID.hex()}, not {bytes(16).hex()}"),
    ({"max_payload": 16}, "must take payloads of 128 bytes and buffer image bytes, not 16 and 2048"),
    ({"receive_buffer": 1000}, "must buffer a frame of 1034 bytes, not 1000"),
    ({"image_fifo": 0}, "must take payloads of 128 bytes and buffer image bytes, not 1024 and 0"),
])
def test_another_device_is_refused_at_once(changes: dict[str, object], message: str) -> None:
    with pytest.raises(Mismatch, match=message):
        Accelerator(_changed_hello(**changes)).__enter__()


def test_smaller_device_buffers_are_respected() -> None:
    images = some_images(3)
    with Accelerator(_changed_hello(max_payload=130)) as accelerator:
        accelerator.load(program_for())
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(), images).logits)


@pytest.mark.parametrize(("answer", "message"), [
    (lambda frame: b"", "device at test does not answer: no valid reply to HELLO after 3 tries in .* sent nothing"),
    (lambda frame: b"login: \r\n", "the device sent only 27 bytes that are not a frame"),
    (lambda frame: bytes(50), "the device sent only 150 bytes that are not a frame"),
    (lambda frame: random.Random(1).randbytes(3000), "the device sent only [0-9]+ bytes that are not a frame"),
], ids=["silence", "console", "break", "noise"])
def test_silence_and_garbage(answer, message: str) -> None:
    with pytest.raises(NoReply, match=message):
        Accelerator(Answering(answer), retries=2).__enter__()


def test_another_protocol_version_is_named() -> None:
    body = wire.Header(3 << 4 | Type.HELLO, 0, 0, 0).pack()
    line = b"\x00" + cobs.encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\x00"
    with pytest.raises(NoReply, match="the device sent frames of protocol version 3, not 1"):
        Accelerator(Answering(lambda frame: line), retries=2).__enter__()


@pytest.mark.parametrize("reply", [bytes(1), bytes(41), bytes(43)], ids=len)
def test_a_wrong_hello_is_a_sentence(reply: bytes) -> None:
    link = Answering(lambda f: encode(dataclasses.replace(f, payload=reply)))
    with pytest.raises(DeviceError, match=f"not speak the protocol: Hello payload must be 42 bytes, not {len(reply)}"):
        Accelerator(link).__enter__()


def _wrong(kind: Type, payload: bytes):
    """A device that answers one kind of request with something else instead of doing it."""
    board = device()

    def answer(frame: Frame) -> bytes:
        if frame.type != kind:
            return board.feed(encode(frame))
        board.feed(encode(dataclasses.replace(frame, type=Type.PING)))
        return encode(dataclasses.replace(frame, payload=payload))

    return Answering(answer)


@pytest.mark.parametrize(("kind", "payload", "message"), [
    (Type.STATUS, b"abc", "Status payload must be 24 bytes, not 3"),
    (Type.IMAGE, b"abc", "must answer IMAGE with 2 bytes, not 3"),
    (Type.READ, b"abc", "must answer READ with [0-9]+ bytes, not 3"),
    (Type.RUN, b"", "stopped without finishing the frame"),
], ids=["STATUS", "IMAGE", "READ", "RUN"])
def test_wrong_replies_are_sentences(kind: Type, payload: bytes, message: str) -> None:
    with Accelerator(_wrong(kind, payload)) as accelerator:
        with pytest.raises(DeviceError, match=message):
            _load_and_infer(accelerator)


def _load_and_infer(accelerator: Accelerator) -> None:
    accelerator.load(program_for())
    accelerator.infer(some_images(1))


def test_ping_checks_the_echo() -> None:
    with Accelerator(_wrong(Type.PING, b"?")) as accelerator, pytest.raises(DeviceError, match="other bytes"):
        accelerator.ping(b"!")


def test_a_refusal_is_typed_and_ends_only_the_call() -> None:
    with Accelerator(EmulatedLink(device())) as accelerator:
        connection = accelerator._connection
        with pytest.raises(Refused, match="refused READ: SPACE .detail 0.") as caught:
            connection.call(Type.READ, Address(Space.WEIGHTS, 0, 0).pack() + b"\x01\x00")
        assert caught.value.refusal == wire.Refusal(Error.SPACE, Type.READ, 0)
        accelerator.load(program_for())
        assert accelerator.infer(some_images(1)).shape == (1, 5)


def test_a_frame_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sw.batch.FRAME_SECONDS", 0.05)
    status = Status(1, 0, 0, 0, 0, 0, 0, 0, 0)
    with Accelerator(_wrong(Type.STATUS, status.pack())) as accelerator:
        accelerator.load(program_for())
        with pytest.raises(DeviceError, match="did not finish a frame within 0 s"):
            accelerator.infer(some_images(1))


def test_a_fault_names_instruction_and_code() -> None:
    program = program_for()
    memories = dict(program.memories)
    broken = memories[Space.PROGRAM].copy()
    broken[0, 2] = 0
    memories[Space.PROGRAM] = broken
    with Accelerator(EmulatedLink(device())) as accelerator:
        accelerator.load(dataclasses.replace(program, memories=memories))
        with pytest.raises(Faulted, match="stopped with fault ILLEGAL at instruction 2") as caught:
            accelerator.infer(some_images(3))
        assert (caught.value.fault, caught.value.address) == (Fault.ILLEGAL, 2)
        accelerator.load(program)
        images = some_images(2, seed=8)
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(), images).logits)


def test_a_reset_device_is_noticed_and_loaded_again() -> None:
    board, images = device(), some_images(2)
    with Accelerator(EmulatedLink(board, timeout=0.01)) as accelerator:
        accelerator.load(program_for())
        board.power_cycle()
        with pytest.raises(DeviceReset, match="was reset and lost its program: load it again"):
            accelerator.infer(images)
        with pytest.raises(DeviceError, match="does not hold the program any more"):
            accelerator.infer(images)
        assert accelerator.load(program_for())
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(), images).logits)


def test_an_interrupted_batch_leaves_no_image_behind() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    images = some_images(6)
    with Accelerator(EmulatedLink(device())) as accelerator:
        accelerator.load(program_for())
        with pytest.raises(KeyboardInterrupt):
            accelerator.infer(images, interrupt)
        np.testing.assert_array_equal(accelerator.infer(images[::-1]), reference(small_graph(), images[::-1]).logits)


def test_a_new_driver_cleans_up_after_one_that_died() -> None:
    board, images = device(), some_images(2)
    first = Accelerator(EmulatedLink(board)).__enter__()
    first.load(program_for())
    first._connection.call(Type.RUN)
    first._connection.call(Type.IMAGE, bytes(7))
    with Accelerator(EmulatedLink(board)) as accelerator:
        accelerator.load(program_for())
        np.testing.assert_array_equal(accelerator.infer(images), reference(small_graph(), images).logits)


@pytest.mark.parametrize(("images", "message"), [
    (np.zeros((2, 6, 6), np.uint8), r"uint8 of shape \[B, 6, 6, 1\], not uint8 of shape \[2, 6, 6\]"),
    (np.zeros((2, 6, 5, 1), np.uint8), r"not uint8 of shape \[2, 6, 5, 1\]"),
    (np.zeros((2, 6, 6, 1), np.float32), r"not float32 of shape \[2, 6, 6, 1\]"),
])
def test_wrong_images(images: np.ndarray, message: str) -> None:
    with Accelerator(EmulatedLink(device())) as accelerator:
        accelerator.load(program_for())
        with pytest.raises(ImageError, match=message):
            accelerator.infer(images)


def test_nothing_loaded() -> None:
    with Accelerator(EmulatedLink(device())) as accelerator, pytest.raises(DeviceError, match="must be loaded"):
        accelerator.infer(some_images(1))


def test_a_link_that_breaks_is_given_back() -> None:
    class Broken(Spy):
        def receive(self, timeout: float) -> bytes:
            raise LinkError("serial port x is gone: unplugged")

    link = Broken(device())
    with pytest.raises(LinkError, match="serial port x is gone"):
        Accelerator(link).__enter__()
    assert link.closed == 1
