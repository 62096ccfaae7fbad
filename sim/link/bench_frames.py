"""Deframer and framer against `cobs` and `zlib`. Settings: `stall`, the probability of a pause on either side."""

import cocotb
from cobs import cobs
from cocotb.triggers import FallingEdge, ReadOnly

from hw.arch import wire
from hw.link.cobs import PLAIN
from sim.helpers import Sink, Source, cycles, frame, generator, pack, received, settings, start

PAYLOADS = (
    b"", b"\0", b"\0\0\0", b"\1", bytes(range(256)), b"\xff" * 253, b"\x55" * 600, b"\0" * 300, b"\xaa" * 244 + b"\0",
)


def payloads(count: int) -> list[bytes]:
    """Awkward payloads, then random ones rich in zeros."""
    rng = generator()
    extra = [bytes(rng.choice((0, 0, rng.randrange(256))) for _ in range(rng.randrange(80))) for _ in range(count)]
    # Runs that end at, before and behind the end of a full block of 254.
    edges = [b"\x11" * length for length in range(242, 256)]
    return [*PAYLOADS, *edges, *extra]


class Counters:
    """Counts pulses of `bad` and `overrun`."""

    def __init__(self, dut):
        self.dut, self.bad, self.overrun = dut, 0, 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            await FallingEdge(self.dut.clk)
            await ReadOnly()
            self.bad += int(self.dut.bad.value)
            self.overrun += int(self.dut.overrun.value)


async def open_deframer(dut, stall: float | None = None):
    await start(dut, o__ready=0, i__valid=0, i__payload=0)
    pause = settings()["stall"] if stall is None else stall
    return Source(dut, "i", pause, always_ready=True), Sink(dut, "o", pause), Counters(dut)


def plain(kind: int, sequence: int, session: int, payload: bytes) -> bytes:
    return wire.Header(wire.VERSION << 4 | kind, sequence, session, len(payload)).pack() + payload


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def whole_frames_arrive(dut):
    source, sink, counters = await open_deframer(dut)
    for sequence, payload in enumerate(payloads(20)):
        source.put(received(frame(7, sequence % 256, 0x1234, payload)))
        expected = plain(7, sequence % 256, 0x1234, payload)
        assert bytes(await sink.get(len(expected))) == expected
    await cycles(dut, 20)
    assert (counters.bad, counters.overrun, len(sink.taken)) == (0, 0, 0)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def frames_share_delimiters_and_empty_ones_vanish(dut):
    source, sink, counters = await open_deframer(dut)
    bodies = [frame(1, n, 5, bytes([n]) * n).strip(b"\0") for n in range(8)]
    source.put(received(b"\0\0\0" + b"\0".join(bodies) + b"\0\0\0\0"))
    expected = b"".join(plain(1, n, 5, bytes([n]) * n) for n in range(8))
    assert bytes(await sink.get(len(expected))) == expected
    assert counters.bad == 0


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def every_single_bit_error_is_found(dut):
    """Each flipped line bit costs the frame, or two where it makes or breaks a delimiter; none is delivered wrong."""
    source, sink, counters = await open_deframer(dut, stall=0.0)
    good = frame(2, 9, 77, b"\0\1\2\0\xff")
    probe, expected = frame(7, 1, 2, b"probe"), plain(7, 1, 2, b"probe")
    for bit in range(8, 8 * len(good) - 8):
        spoilt = bytearray(good)
        spoilt[bit // 8] ^= 1 << bit % 8
        before = counters.bad
        source.put(received(bytes(spoilt) + probe))
        assert bytes(await sink.get(len(expected))) == expected, f"bit {bit}"
        assert counters.bad in (before + 1, before + 2), f"bit {bit}"
    assert not sink.taken


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def bad_frames_are_dropped_and_counted(dut):
    source, sink, counters = await open_deframer(dut)
    long = bytes(wire.MAX_PAYLOAD + 1)
    stuffed = frame(7, 0, 1, b"abc").strip(b"\0")
    bad = [
        frame(7, 0, 1, b"abc", version=2), frame(7, 0, 1, b"abc", length=2), frame(7, 0, 1, b"abc", length=4),
        frame(7, 0, 1, b"abc", flip=3), frame(7, 0, 1, b"abc", flip=70), frame(7, 0, 1, long),
        frame(7, 0, 1, b"", length=0xFFFF), frame(7, 0, 1, bytes(3 * wire.MAX_PAYLOAD)),
        b"\0" + stuffed[:-2] + b"\0", b"\0" + stuffed + b"\5\0", b"\0\1\0", b"\0\1\1\1\1\1\1\1\1\1\1\0", b"\0\xff\1\0",
        b"\0" + cobs.encode(b"123456789") + b"\0", b"\0" + stuffed[:7] + b"\0",
    ]
    good = plain(7, 3, 1, b"fine")
    for number, line in enumerate(bad):
        source.put(received(line + frame(7, 3, 1, b"fine")))
        assert bytes(await sink.get(len(good))) == good, f"after bad frame {number}"
        assert counters.bad == number + 1, f"bad frame {number}"
    assert counters.overrun == 0


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def line_errors_spoil_one_frame(dut):
    source, sink, counters = await open_deframer(dut)
    line, expected = frame(7, 3, 1, b"fine"), plain(7, 3, 1, b"fine")
    for position in range(1, len(line) - 1):
        source.put(received(line, {position: 1}) + received(line))
        assert bytes(await sink.get(len(expected))) == expected
        assert counters.bad == position
    source.put([0x100, *received(b"\0" + line)])  # a break between frames
    assert bytes(await sink.get(len(expected))) == expected


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_full_buffer_drops_whole_frames(dut):
    source, sink, counters = await open_deframer(dut, stall=0.0)
    sink.stall = 1.0
    largest = bytes(n * 37 % 256 for n in range(wire.MAX_PAYLOAD))
    held, fit = wire.RECEIVE_BUFFER, wire.RECEIVE_BUFFER // wire.MAX_FRAME
    rest = largest[: held - fit * wire.MAX_FRAME - (wire.MAX_FRAME - wire.MAX_PAYLOAD)]
    for sequence in range(fit):
        source.put(received(frame(7, sequence, 1, largest)))
    source.put(received(frame(7, fit, 1, rest)))  # all that the credits allow
    for _ in range(2):
        source.put(received(frame(7, 99, 1, largest)))  # more than they allow
    await source.drained()
    await cycles(dut, 4)
    assert (counters.overrun, counters.bad) == (2, 0)
    sink.stall = 0.0
    expected = b"".join(plain(7, sequence, 1, largest) for sequence in range(fit)) + plain(7, fit, 1, rest)
    assert bytes(await sink.get(len(expected))) == expected
    source.put(received(frame(7, 4, 1, largest)))
    assert bytes(await sink.get(len(largest) + 6)) == plain(7, 4, 1, largest)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def noise_never_hides_the_next_frame(dut):
    source, sink, counters = await open_deframer(dut, stall=0.0)
    rng, expected = generator(), plain(7, 3, 1, b"fine")
    for _ in range(40):
        noise = [rng.randrange(512) for _ in range(rng.randrange(1, 120))]
        source.put([*noise, *received(frame(7, 3, 1, b"fine"))])
        if noise[-1] == 0x100:
            source.put(received(frame(7, 3, 1, b"fine")))
        assert bytes(await sink.get(len(expected))) == expected
    assert not len(sink.taken) % len(expected)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def framer_matches_cobs_and_zlib(dut):
    await start(dut, o__ready=0, i__valid=0, i__payload=0)
    source, sink = Source(dut, "i", settings()["stall"]), Sink(dut, "o", settings()["stall"])
    for payload in payloads(20):
        body = plain(3, 200, 0xBEEF, payload)
        source.put(pack(PLAIN, data=byte, last=position == len(body) - 1) for position, byte in enumerate(body))
        expected = frame(3, 200, 0xBEEF, payload)
        assert bytes(await sink.get(len(expected))) == expected
    await cycles(dut, 20)
    assert not sink.taken


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def framer_keeps_up(dut):
    """A large frame leaves in one cycle per byte, once its first block is stuffed."""
    await start(dut, o__ready=0, i__valid=0, i__payload=0)
    source, sink = Source(dut, "i"), Sink(dut, "o")
    body = plain(3, 0, 1, b"\x77" * 1000)
    expected = frame(3, 0, 1, b"\x77" * 1000)
    source.put(pack(PLAIN, data=byte, last=position == len(body) - 1) for position, byte in enumerate(body))
    taken = 0
    while len(sink.taken) < len(expected):
        await cycles(dut, 1)
        taken += 1
        assert taken < len(expected) + 254 + 20
    assert bytes(sink.taken) == expected
