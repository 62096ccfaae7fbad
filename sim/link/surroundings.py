"""What stands around the endpoint in its benches: a core in Python behind it, a host in front of it.

Settings: `preset` of the configuration, `stall`, the probability of a pause on every stream.
"""

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from hw.arch import wire
from hw.arch.config import preset
from hw.arch.wire import Error, Hello, Refusal, Type
from hw.interfaces import read_layout, status_layout, write_layout
from sim.helpers import Sink, Source, cycles, frame, pack, parse, received, settings, start, unpack

SESSION = 0xA55A
IDLE_INPUTS = dict.fromkeys((
    "i__valid", "i__payload", "o__ready", "o_write__ready", "o_read__ready", "o_image__ready", "i_read__valid",
    "i_read__payload", "status"), 0)


class Core:
    """Memories, image bytes and pulses; `state` is what the status port shows."""

    def __init__(self, dut, config, stall: float):
        self.dut, self.config = dut, config
        self.words, self.image, self.starts, self.resets = {}, bytearray(), 0, 0
        self.state = {"busy": 0, "fault": 0, "fault_address": 0, "cycles": 0, "frames": 0}
        self.writes, self.requests = Sink(dut, "o_write", stall), Sink(dut, "o_read", stall)
        self.answers, self.bytes = Source(dut, "i_read", stall), Sink(dut, "o_image", stall)
        cocotb.start_soon(self._run())

    def hold_image(self, hold: bool) -> None:
        self.bytes.stall = 1.0 if hold else settings()["stall"]

    async def _run(self) -> None:
        write, read = write_layout(self.config), read_layout()
        while True:
            await FallingEdge(self.dut.clk)
            self.dut.status.value = pack(status_layout(), **self.state)
            await ReadOnly()
            self.starts += int(self.dut.start.value)
            self.resets += int(self.dut.reset.value)
            while self.writes.taken:
                word = unpack(write, self.writes.taken.popleft())
                self.words[word["space"], word["bank"], word["address"]] = word["data"]
            while self.requests.taken:
                place = unpack(read, self.requests.taken.popleft())
                self.answers.put([self.words.get((place["space"], place["bank"], place["address"]), 0)])
            while self.bytes.taken:
                self.image.append(self.bytes.taken.popleft())


class Host:
    """Sends requests and takes replies."""

    def __init__(self, dut, stall: float):
        self.dut, self.sequence = dut, 0
        self.source, self.sink = Source(dut, "i", stall, always_ready=True), Sink(dut, "o", stall)
        self.line = bytearray()

    async def reply(self) -> tuple[wire.Header, bytes]:
        """The next reply."""
        while True:
            byte, = await self.sink.get(1)
            if byte:
                self.line.append(byte)
            elif self.line:
                line, self.line = bytes(self.line), bytearray()
                return parse(line)

    async def raw(self, kind: int, sequence: int, payload: bytes = b"", session: int = SESSION) -> tuple[int, bytes]:
        """Type and payload of the reply to one request, whose sequence and session it must repeat."""
        self.source.put(received(frame(kind, sequence % 256, session, payload)))
        header, body = await self.reply()
        assert (header.sequence, header.session) == (sequence % 256, session)
        return header.type, body

    async def ask(self, kind: int, payload: bytes = b"") -> bytes:
        """Payload of the reply to the next request, which must be granted."""
        type_, body = await self.raw(kind, self.sequence, payload)
        assert type_ == kind, f"{kind} was refused: {Refusal.unpack(body) if type_ == Type.ERROR else type_}"
        self.sequence += 1
        return body

    async def refused(self, kind: int, payload: bytes = b"") -> Error:
        """The error that the next request is refused with."""
        type_, body = await self.raw(kind, self.sequence, payload)
        self.sequence += 1
        assert type_ == Type.ERROR
        refusal = Refusal.unpack(body)
        assert (refusal.type, refusal.detail) == (kind, 0)
        return Error(refusal.error)

    async def hello(self, session: int = SESSION, sequence: int = 0) -> Hello:
        type_, body = await self.raw(Type.HELLO, sequence, b"", session)
        assert type_ == Type.HELLO
        self.sequence = sequence + 1
        return Hello.unpack(body)

    async def silent(self) -> None:
        """Assert that nothing more comes."""
        await self.source.drained()
        await cycles(self.dut, 600)
        assert not any(self.sink.taken)


async def begin(dut):
    """Reset; configuration, core and host, in session."""
    await start(dut, **IDLE_INPUTS)
    config, stall = preset(settings()["preset"]), settings()["stall"]
    core, host = Core(dut, config, stall), Host(dut, stall)
    await host.hello()
    return config, core, host
