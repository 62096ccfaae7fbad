"""The emulated device, frame by frame, against the text of `hw.arch.wire`."""

from __future__ import annotations

import random
import struct

import pytest

from hw.arch import isa, wire
from hw.arch.config import Space, preset
from hw.arch.packed import Packed
from hw.arch.wire import Address, Error, Hello, Refusal, Status, Type
from sw.compiler import compile
from sw.device import EmulatedDevice
from sw.emulator import Machine
from sw.protocol import Deframer, Frame, encode
from tests.sw.samples import small_graph

CONFIG = preset("tiny-2x2").replace(image_depth=32)
MEMORIES = CONFIG.memories
SESSION = 0x1234


class Host:
    """Sends one frame at a time, with sequence numbers as they should be unless told otherwise."""

    def __init__(self) -> None:
        self.device = EmulatedDevice(Machine(CONFIG), epoch=77)
        self.sequence = 0
        assert isinstance(self.ask(Type.HELLO), bytes)

    def ask(
        self, kind: int, payload: bytes = b"", *, sequence: int | None = None, session: int = SESSION
    ) -> bytes | Refusal | None:
        """The reply's payload or refusal; None when there is no reply. Repetitions do not count."""
        if sequence is None:
            sequence, self.sequence = self.sequence, (self.sequence + 1) % 256
        replies = Deframer().feed(self.device.feed(encode(Frame(kind, sequence, session, payload))))
        if not replies:
            return None
        (reply,) = replies
        assert (reply.sequence, reply.session) == (sequence, session)
        if reply.type == Type.ERROR:
            refusal = Refusal.unpack(reply.payload)
            assert refusal.type == kind
            return refusal
        assert reply.type == kind
        return reply.payload

    def status(self) -> Status:
        """The status now."""
        reply = self.ask(Type.STATUS)
        assert isinstance(reply, bytes)
        return Status.unpack(reply)

    def program(self, *instructions: Packed) -> None:
        """Write a program."""
        words = b"".join(isa.encode(i).to_bytes(16, "little") for i in instructions)
        assert self.ask(Type.WRITE, Address(Space.PROGRAM, 0, 0).pack() + words) == b""


@pytest.fixture
def host() -> Host:
    return Host()


def test_hello_says_who_the_device_is(host: Host) -> None:
    hello = Hello(wire.DESIGN_ID, CONFIG.digest, 77, wire.MAX_PAYLOAD, wire.IMAGE_FIFO)
    assert host.ask(Type.HELLO) == hello.pack()
    assert host.ask(Type.HELLO, b"x") == Refusal(Error.LENGTH, Type.HELLO, 0)


def test_hello_adopts_session_and_sequence(host: Host) -> None:
    assert host.ask(Type.HELLO, sequence=200, session=9) is not None
    assert host.ask(Type.PING, b"old", sequence=2) is None
    assert host.ask(Type.PING, b"new", sequence=201, session=9) == b"new"
    status = host.ask(Type.STATUS, sequence=202, session=9)
    assert isinstance(status, bytes)
    assert Status.unpack(status).stale_frames == 1


def test_before_hello_nothing_is_answered() -> None:
    device = EmulatedDevice(Machine(CONFIG))
    assert device.feed(encode(Frame(Type.PING, 0, 0))) == b""


def test_bad_frames_are_counted(host: Host) -> None:
    assert host.device.feed(b"\x00abc\x00\x05\x00") == b""
    assert host.status().bad_frames == 2


def _read(space: int, bank: int, address: int, count: int) -> bytes:
    return Address(space, bank, address).pack() + struct.pack("<H", count)


def _write(space: int, bank: int, address: int, size: int) -> bytes:
    return Address(space, bank, address).pack() + bytes(size)


RESULT_DEPTH, RESULT_BYTES = MEMORIES[Space.RESULTS].depth, MEMORIES[Space.RESULTS].bytes_per_word


@pytest.mark.parametrize(("kind", "payload", "error"), [
    (0, b"", Error.TYPE), (9, b"", Error.TYPE), (Type.ERROR, b"abcd", Error.TYPE),
    (Type.RUN, b"x", Error.LENGTH), (Type.STATUS, b"x", Error.LENGTH), (Type.RESET, b"x", Error.LENGTH),
    (Type.WRITE, b"", Error.LENGTH), (Type.WRITE, b"abc", Error.LENGTH),
    (Type.WRITE, _write(Space.RESULTS, 0, 0, 0), Error.LENGTH),
    (Type.WRITE, _write(Space.RESULTS, 0, 0, RESULT_BYTES + 1), Error.LENGTH),
    (Type.WRITE, _write(15, 0, 0, 4), Error.SPACE), (Type.WRITE, _write(255, 0, 0, 4), Error.SPACE),
    (Type.WRITE, _write(Space.WEIGHTS, CONFIG.row_lanes, 0, 2), Error.BANK),
    (Type.WRITE, _write(Space.WEIGHTS, 0, CONFIG.weight_depth, 2), Error.ADDRESS),
    (Type.WRITE, _write(Space.WEIGHTS, 0, CONFIG.weight_depth - 1, 4), Error.ADDRESS),
    (Type.WRITE, _write(Space.WEIGHTS, 0, 65535, 4), Error.ADDRESS),
    (Type.READ, _read(Space.RESULTS, 0, 0, 1)[:-1], Error.LENGTH),
    (Type.READ, _read(Space.RESULTS, 0, 0, 1) + b"x", Error.LENGTH),
    (Type.READ, _read(Space.RESULTS, 0, 0, 0), Error.LENGTH),
    (Type.READ, _read(Space.RESULTS, 0, 0, wire.MAX_PAYLOAD // RESULT_BYTES + 1), Error.LENGTH),
    (Type.READ, _read(Space.WEIGHTS, 0, 0, 1), Error.SPACE), (Type.READ, _read(99, 0, 0, 1), Error.SPACE),
    (Type.READ, _read(Space.RESULTS, 1, 0, 1), Error.BANK),
    (Type.READ, _read(Space.RESULTS, 0, RESULT_DEPTH - 1, 2), Error.ADDRESS),
])
def test_refusals(host: Host, kind: int, payload: bytes, error: Error) -> None:
    assert host.ask(kind, payload) == Refusal(error, kind, 0)
    assert host.ask(kind, payload, sequence=host.sequence - 1) == Refusal(error, kind, 0)
    assert host.ask(Type.PING, b"alive") == b"alive"


@pytest.mark.parametrize("space", [Space.RESULTS, Space.ACTIVATIONS], ids=lambda space: space.name)
def test_words_that_are_written_are_read(host: Host, space: Space) -> None:
    memory = MEMORIES[space]
    count = wire.words_per_frame(CONFIG, space)
    size, rng = memory.bytes_per_word, random.Random(3)
    words = b"".join(rng.getrandbits(memory.bits).to_bytes(size, "little") for _ in range(count))
    first = memory.depth - count
    assert host.ask(Type.WRITE, Address(space, memory.banks - 1, first).pack() + words) == b""
    assert host.ask(Type.READ, _read(space, memory.banks - 1, first, count)) == words


@pytest.mark.parametrize("ahead", [1, 100, 223])
def test_ahead_of_turn(host: Host, ahead: int) -> None:
    expected = host.sequence
    refusal = Refusal(Error.SEQUENCE, Type.PING, expected)
    assert host.ask(Type.PING, sequence=(expected + ahead) % 256) == refusal
    assert host.ask(Type.PING, b"x", sequence=expected) == b"x"


def test_only_what_was_executed_in_this_session_can_be_repeated(host: Host) -> None:
    for _ in range(40):
        host.ask(Type.PING)
    newest = host.sequence - 1
    assert host.ask(Type.PING, b"x", sequence=newest - wire.WINDOW + 1) == b"x"
    too_old = Refusal(Error.SEQUENCE, Type.PING, host.sequence)
    assert host.ask(Type.PING, b"x", sequence=newest - wire.WINDOW) == too_old
    host.ask(Type.HELLO)
    assert host.ask(Type.PING, sequence=newest) == Refusal(Error.SEQUENCE, Type.PING, host.sequence)


def test_a_repeated_run_does_not_run_again(host: Host) -> None:
    host.program(isa.End())
    assert host.ask(Type.RUN) == b""
    assert host.ask(Type.RUN, sequence=host.sequence - 1) == b""
    assert host.status().frames == 1


def test_a_repeated_reset_does_not_empty_the_fifo_again(host: Host) -> None:
    assert host.ask(Type.RESET) == b""
    host.ask(Type.IMAGE, bytes(100))
    assert host.ask(Type.RESET, sequence=host.sequence - 2) == b""
    assert host.status().image_free == wire.IMAGE_FIFO + CONFIG.image_depth - 100


def test_a_repeated_image_does_not_count_twice(host: Host) -> None:
    free = wire.IMAGE_FIFO + CONFIG.image_depth - 100
    assert host.ask(Type.IMAGE, bytes(100)) == struct.pack("<H", free)
    assert host.ask(Type.IMAGE, bytes(100), sequence=host.sequence - 1) == struct.pack("<H", free)
    assert host.status().image_free == free


def test_a_repeated_write_does_not_undo_a_later_one(host: Host) -> None:
    host.ask(Type.WRITE, Address(Space.RESULTS, 0, 0).pack() + b"\x01" * RESULT_BYTES)
    host.ask(Type.WRITE, Address(Space.RESULTS, 0, 0).pack() + b"\x02" * RESULT_BYTES)
    old = Address(Space.RESULTS, 0, 0).pack() + b"\x01" * RESULT_BYTES
    assert host.ask(Type.WRITE, old, sequence=host.sequence - 2) == b""
    assert host.ask(Type.READ, _read(Space.RESULTS, 0, 0, 1)) == b"\x02" * RESULT_BYTES


def test_too_much_image_is_busy_and_stays_so_when_repeated(host: Host) -> None:
    for size in (1000, 1000, CONFIG.image_depth):  # the core's line buffer takes the first bytes
        host.ask(Type.IMAGE, bytes(size))
    busy = Refusal(Error.BUSY, Type.IMAGE, 0)
    assert host.ask(Type.IMAGE, bytes(49)) == busy
    refused = host.sequence - 1
    assert host.ask(Type.IMAGE, bytes(48)) == b"\0\0"
    host.ask(Type.RESET)
    assert host.ask(Type.IMAGE, bytes(49), sequence=refused) == busy
    assert host.status().image_free == wire.IMAGE_FIFO


def _waiting(host: Host) -> None:
    """A frame that waits for its image."""
    program = compile(small_graph(), CONFIG)
    for space, banks in program.memories.items():
        for bank, words in enumerate(banks):
            for first in range(0, len(words), 32):
                data = words[first : first + 32].tobytes()
                assert host.ask(Type.WRITE, Address(space, bank, first).pack() + data) == b""
    assert host.ask(Type.RUN) == b""
    assert host.status().busy == 1


@pytest.mark.parametrize(("kind", "payload"), [
    (Type.RUN, b""),
    (Type.WRITE, _write(Space.RESULTS, 0, 0, RESULT_BYTES)),
    (Type.READ, _read(Space.RESULTS, 0, 0, 1)),
], ids=["RUN", "WRITE", "READ"])
def test_the_memories_belong_to_a_running_core(host: Host, kind: Type, payload: bytes) -> None:
    _waiting(host)
    assert host.ask(kind, payload) == Refusal(Error.BUSY, kind, 0)
    refused = host.sequence - 1
    assert host.ask(Type.RESET) == b""
    again = host.ask(kind, payload, sequence=refused)
    # READ has no effect to guard, so it is simply done again.
    assert again == (bytes(RESULT_BYTES) if kind == Type.READ else Refusal(Error.BUSY, kind, 0))
    assert host.status().busy == 0


def test_images_may_come_before_during_and_beyond_a_frame(host: Host) -> None:
    _waiting(host)
    for size in (10, 20, 34):  # 8 x 8 bytes with their margin
        assert host.status().frames == 0
        assert host.ask(Type.IMAGE, bytes(size)) == struct.pack("<H", wire.IMAGE_FIFO)
    status = host.status()
    assert (status.busy, status.fault, status.frames) == (0, 0, 1)
    # The next image is packed between frames, and the line buffer takes a part of the one after that.
    assert host.ask(Type.IMAGE, bytes(128)) == struct.pack("<H", wire.IMAGE_FIFO - 64 + CONFIG.image_depth)
    for frames in (2, 3):
        assert host.ask(Type.RUN) == b""
        status = host.status()
        assert (status.busy, status.frames, status.image_free) == (0, frames, wire.IMAGE_FIFO)


def test_power_cycle_forgets_everything(host: Host) -> None:
    host.ask(Type.WRITE, Address(Space.RESULTS, 0, 0).pack() + b"\x01" * RESULT_BYTES)
    host.device.power_cycle()
    assert host.ask(Type.PING, b"x") is None
    host.sequence = 0
    hello = host.ask(Type.HELLO)
    assert isinstance(hello, bytes)
    assert Hello.unpack(hello).epoch != 77
    assert host.ask(Type.READ, _read(Space.RESULTS, 0, 0, 1)) == bytes(RESULT_BYTES)
