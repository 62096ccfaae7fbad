"""What the endpoint does for each request, against `hw.arch.wire`. Settings: see `sim.link.surroundings`."""

import cocotb

from hw.arch import wire
from hw.arch.config import Space
from hw.arch.wire import Address, Error, Status, Type
from sim.helpers import cycles, frame, generator, received
from sim.link.surroundings import SESSION, begin


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def hello_describes_the_device(dut):
    config, _, host = await begin(dut)
    first = await host.hello()
    assert (first.design, first.digest) == (wire.DESIGN_ID, config.digest)
    limits = (first.max_payload, first.image_fifo, first.receive_buffer)
    assert limits == (wire.MAX_PAYLOAD, wire.IMAGE_FIFO, wire.RECEIVE_BUFFER)
    assert first.epoch
    assert await host.hello(session=1, sequence=255) == first
    dut.rst.value = 1
    await cycles(dut, 3)
    dut.rst.value = 0
    await cycles(dut, 2)
    again = await host.hello()
    assert again.epoch not in (0, first.epoch)


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def words_go_where_they_belong(dut):
    config, core, host = await begin(dut)
    rng = generator()
    for space, memory in config.memories.items():
        size = memory.bytes_per_word
        for count in {1, 2, min(9, wire.words_per_frame(config, space)), wire.words_per_frame(config, space) // 4}:
            bank, address = rng.randrange(memory.banks), rng.choice((0, memory.depth - count))
            words = [rng.getrandbits(memory.bits) for _ in range(count)]
            payload = Address(space, bank, address).pack() + b"".join(word.to_bytes(size, "little") for word in words)
            assert await host.ask(Type.WRITE, payload) == b""
            expected = {(space, bank, address + n): word for n, word in enumerate(words)}
            assert core.words == expected
            if space in wire.READABLE:
                answer = await host.ask(Type.READ, payload[:4] + count.to_bytes(2, "little"))
                assert answer == payload[4:]
            core.words.clear()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def wrong_accesses_are_refused_before_any_write(dut):
    config, core, host = await begin(dut)
    taps = config.memories[Space.TAPS]
    place, word = Address(Space.TAPS, 0, 0).pack(), bytes(taps.bytes_per_word)
    results = Address(Space.RESULTS, 0, 0).pack()
    depth = config.memories[Space.RESULTS].depth
    most = wire.MAX_PAYLOAD // config.memories[Space.RESULTS].bytes_per_word
    for kind, payload, error in (
        (Type.WRITE, b"", Error.LENGTH), (Type.WRITE, place[:3], Error.LENGTH), (Type.WRITE, place, Error.LENGTH),
        (Type.WRITE, place + word[1:], Error.LENGTH), (Type.WRITE, place + word + b"\0", Error.LENGTH),
        (Type.WRITE, Address(max(Space) + 1, 0, 0).pack() + word, Error.SPACE),
        (Type.WRITE, Address(255, 0, 0).pack() + word, Error.SPACE),
        (Type.WRITE, Address(16, 0, 0).pack() + word, Error.SPACE),
        (Type.WRITE, Address(Space.TAPS, 1, 0).pack() + word, Error.BANK),
        (Type.WRITE, Address(Space.WEIGHTS, config.row_lanes, 0).pack() + bytes(config.word // 8), Error.BANK),
        (Type.WRITE, Address(Space.TAPS, 0, taps.depth).pack() + word, Error.ADDRESS),
        (Type.WRITE, Address(Space.TAPS, 0, taps.depth - 1).pack() + 2 * word, Error.ADDRESS),
        (Type.WRITE, Address(Space.TAPS, 0, 0xFFFF).pack() + 2 * word, Error.ADDRESS),
        (Type.READ, results, Error.LENGTH), (Type.READ, results + b"\1\0\0", Error.LENGTH),
        (Type.READ, results + b"\0\0", Error.LENGTH),
        (Type.READ, results + (most + 1).to_bytes(2, "little"), Error.LENGTH),
        (Type.READ, results + b"\xff\xff", Error.LENGTH),
        (Type.READ, Address(Space.WEIGHTS, 0, 0).pack() + b"\1\0", Error.SPACE),
        (Type.READ, Address(9, 0, 0).pack() + b"\1\0", Error.SPACE),
        (Type.READ, Address(Space.RESULTS, 1, 0).pack() + b"\1\0", Error.BANK),
        (Type.READ, Address(Space.RESULTS, 0, depth - 1).pack() + b"\2\0", Error.ADDRESS),
        (Type.RUN, b"\0", Error.LENGTH), (Type.STATUS, b"\0", Error.LENGTH), (Type.RESET, bytes(1000), Error.LENGTH),
        (0, b"", Error.TYPE), (9, b"xyz", Error.TYPE), (14, bytes(1024), Error.TYPE), (Type.ERROR, b"", Error.TYPE),
    ):
        assert await host.refused(kind, payload) == error, f"{kind} {payload[:8].hex()}"
    assert await host.ask(Type.PING, b"still here") == b"still here"
    assert (core.words, core.starts, core.resets, bytes(core.image)) == ({}, 0, 0, b"")


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_busy_core_keeps_its_memories(dut):
    config, core, host = await begin(dut)
    place = Address(Space.RESULTS, 0, 0).pack()
    await host.ask(Type.RUN)
    assert core.starts == 1
    core.state["busy"] = 1
    await cycles(dut, 2)
    assert await host.refused(Type.RUN) == Error.BUSY
    assert await host.refused(Type.WRITE, place + bytes(config.memories[Space.RESULTS].bytes_per_word)) == Error.BUSY
    assert await host.refused(Type.READ, place + b"\1\0") == Error.BUSY
    assert await host.refused(Type.RUN, b"\0") == Error.LENGTH  # what can never be done is said first
    await host.ask(Type.IMAGE, b"pixels")
    await host.ask(Type.STATUS)
    await host.ask(Type.RESET)
    assert (core.starts, core.resets, core.words, bytes(core.image)) == (1, 1, {}, b"pixels")
    core.state["busy"] = 0
    await cycles(dut, 2)
    await host.ask(Type.RUN)
    assert core.starts == 2


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def image_bytes_wait_for_the_core(dut):
    _, core, host = await begin(dut)
    core.hold_image(True)
    first, second = bytes(range(256)) * 4, bytes(range(255, -1, -1)) * 4
    assert await host.ask(Type.IMAGE, b"") == (wire.IMAGE_FIFO).to_bytes(2, "little")
    assert await host.ask(Type.IMAGE, first) == (wire.IMAGE_FIFO - 1024).to_bytes(2, "little")
    assert await host.ask(Type.IMAGE, second[:1023]) == b"\1\0"
    assert await host.refused(Type.IMAGE, b"ab") == Error.BUSY
    assert await host.ask(Type.IMAGE, second[1023:]) == b"\0\0"
    assert await host.refused(Type.IMAGE, b"c") == Error.BUSY
    core.hold_image(False)
    while len(core.image) < 2048:
        await cycles(dut, 50)
    assert bytes(core.image) == first + second
    core.hold_image(True)
    await cycles(dut, 4)
    core.image.clear()
    await host.ask(Type.IMAGE, b"lost")
    core.bytes.watched = False
    await host.ask(Type.RESET)
    core.bytes.watched = True
    assert await host.ask(Type.IMAGE, b"kept") == (wire.IMAGE_FIFO - 4).to_bytes(2, "little")
    core.hold_image(False)
    await cycles(dut, 200)
    assert bytes(core.image) == b"kept"


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def status_shows_core_and_line(dut):
    _, core, host = await begin(dut)
    core.state.update(busy=1, fault=3, fault_address=0xBEEF, cycles=0xFFFFFFFE, frames=0x01020304)
    core.hold_image(True)
    await host.ask(Type.IMAGE, b"12345")
    host.source.put(received(frame(Type.RUN, 7, SESSION, flip=9)))
    host.source.put(received(b"\0abc\0", {1: 1, 2: 1}))
    status = Status.unpack(await host.ask(Type.STATUS))
    assert status == Status(1, 3, 0xBEEF, 0xFFFFFFFE, 0x01020304, wire.IMAGE_FIFO - 5, 2, 0, 2)
