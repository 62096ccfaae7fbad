"""Whom the endpoint hears, in which order and how often. Settings: see `sim.link.surroundings`."""

from collections import deque

import cocotb

from hw.arch import wire
from hw.arch.config import Space
from hw.arch.wire import Address, Error, Refusal, Status, Type
from sim.helpers import cycles, frame, generator, parse, received
from sim.link.surroundings import SESSION, begin


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def repeated_requests_take_effect_once(dut):
    config, core, host = await begin(dut)
    size = config.memories[Space.RESULTS].bytes_per_word
    place = Address(Space.RESULTS, 0, 3).pack()
    requests = [
        (Type.WRITE, place + b"\1" * size), (Type.IMAGE, b"image"), (Type.RUN, b""), (Type.RUN, b""),
        (Type.STATUS, b""), (Type.READ, place + b"\1\0"), (Type.IMAGE, b"more"), (Type.PING, b"ping"), (13, b""),
        (Type.RESET, b""), (Type.IMAGE, b"after"),
    ]
    first = []
    for number, (kind, payload) in enumerate(requests):
        if number == 3:  # the second RUN meets a busy core
            core.state["busy"] = 1
            await cycles(dut, 2)
        elif number == 4:
            core.state["busy"] = 0
            await cycles(dut, 2)
        first.append(await host.raw(kind, host.sequence + number, payload))
    assert first[3] == (Type.ERROR, Refusal(Error.BUSY, Type.RUN, 0).pack())
    await cycles(dut, 100)
    core.words.clear()
    core.words[Space.RESULTS, 0, 3] = int.from_bytes(b"\1" * size, "little")
    for _ in range(2):
        repeats = [await host.raw(kind, host.sequence + n, payload) for n, (kind, payload) in enumerate(requests)]
        assert [reply for n, reply in enumerate(repeats) if requests[n][0] != Type.IMAGE] == \
               [reply for n, reply in enumerate(first) if requests[n][0] != Type.IMAGE]
        assert all(len(body) == 2 for n, (_, body) in enumerate(repeats) if requests[n][0] == Type.IMAGE)
    # A busy core does not turn a granted request into a refused one.
    core.state["busy"] = 1
    await cycles(dut, 2)
    assert await host.raw(Type.WRITE, host.sequence, requests[0][1]) == (Type.WRITE, b"")
    assert (core.starts, core.resets, bytes(core.image)) == (1, 1, b"imagemoreafter")
    assert len(core.words) == 1


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def requests_keep_their_order(dut):
    _, core, host = await begin(dut)
    await host.hello(sequence=245)  # so that the numbers wrap on the way
    for ahead in (1, 2, 100, 200):
        assert await host.raw(Type.RUN, host.sequence + ahead) == (
            Type.ERROR, Refusal(Error.SEQUENCE, Type.RUN, host.sequence % 256).pack())
    # Behind the session's HELLO nothing was executed, however near.
    assert (await host.raw(Type.RUN, host.sequence - 2))[0] == Type.ERROR
    assert core.starts == 0
    for _ in range(wire.WINDOW + 2):
        await host.ask(Type.PING)
    for back, known in ((1, True), (wire.WINDOW, True), (wire.WINDOW + 1, False)):
        kind, _ = await host.raw(Type.RUN, host.sequence - back)
        assert kind == (Type.RUN if known else Type.ERROR), back
    assert core.starts == 0
    await host.ask(Type.RUN)
    assert core.starts == 1


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def other_sessions_are_not_heard(dut):
    _, core, host = await begin(dut)
    for session in (0, SESSION ^ 1, SESSION ^ 0x8000):
        host.source.put(received(frame(Type.RUN, 1, session)))
    await host.silent()
    status = Status.unpack(await host.ask(Type.STATUS))
    assert (status.stale_frames, status.bad_frames, core.starts) == (3, 0, 0)
    # A malformed HELLO is refused and starts no session.
    assert await host.raw(Type.HELLO, 9, b"?", session=4) == (
        Type.ERROR, Refusal(Error.LENGTH, Type.HELLO, 0).pack())
    await host.ask(Type.PING)
    await host.hello(session=0x1234, sequence=40)
    host.source.put(received(frame(Type.RUN, 1, SESSION)))
    await host.silent()
    assert await host.raw(Type.RUN, 41, session=0x1234) == (Type.RUN, b"")
    assert core.starts == 1


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def nothing_is_executed_before_hello(dut):
    _, core, host = await begin(dut)
    dut.rst.value = 1
    await cycles(dut, 2)
    dut.rst.value = 0
    for session in (0, SESSION):
        for sequence in (0, 1):
            host.source.put(received(frame(Type.RUN, sequence, session)))
    await host.silent()
    await host.hello()
    status = Status.unpack(await host.ask(Type.STATUS))
    assert (status.stale_frames, core.starts) == (4, 0)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def a_noisy_line_loses_and_doubles_nothing(dut):
    """Go-back-N over a line with bit errors: every image byte arrives once and in order."""
    _, core, host = await begin(dut)
    sent = b"".join([await over_noise(dut, host, window) for window in (8, wire.WINDOW)])
    await cycles(dut, 200)
    assert bytes(core.image) == sent


async def over_noise(dut, host, window: int) -> bytes:
    """Send pieces of an image, up to `window` at a time, until the last is answered; all of them."""
    rng = generator(str(window))
    pieces = [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 24))) for _ in range(2 * window)]
    done = 0
    outstanding = deque()
    while done < len(pieces):
        line = b"".join(
            frame(Type.IMAGE, (host.sequence + n) % 256, SESSION, pieces[n])
            for n in range(done, min(done + window, len(pieces)))
        )
        spoilt = bytearray(line)
        for _ in range(rng.randrange(3)):
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        host.source.put(received(bytes(spoilt)))
        await host.source.drained()
        await cycles(dut, 1500)
        outstanding.extend(host.sink.taken)
        host.sink.taken.clear()
        for body in bytes(outstanding).split(b"\0"):
            if body:
                header, _ = parse(body)
                if header.type == Type.IMAGE and header.sequence == (host.sequence + done) % 256:
                    done += 1
        outstanding.clear()
    host.sequence += len(pieces)
    return b"".join(pieces)
