"""Whole programs on the core: results and cycles against the emulator's, memories loaded through the host ports."""

import json
from pathlib import Path

import cocotb
from cocotb.triggers import FallingEdge

from hw.arch.config import Config, Space
from hw.interfaces import read_layout, status_layout, write_layout
from sim.helpers import Sink, Source, cycles, pack, settings, start, unpack

POLL = 64  # cycles between looks at the status

IDLE_INPUTS = {"start": 0, "reset": 0, "i_write__valid": 0, "i_read__valid": 0, "i_image__valid": 0, "o_read__ready": 0}


class Host:
    """What the link does to a core."""

    def __init__(self, dut, config: Config, stall: float):
        self.dut, self.config = dut, config
        self.writes, self.reads = Source(dut, "i_write"), Source(dut, "i_read", stall)
        self.image, self.answers = Source(dut, "i_image", stall), Sink(dut, "o_read", stall)

    async def write(self, space: int, bank: int, words: list[int]) -> None:
        layout = write_layout(self.config)
        self.writes.put(pack(layout, space=space, bank=bank, address=a, data=w) for a, w in enumerate(words))
        await self.writes.drained()

    async def read(self, space: int, bank: int, count: int) -> list[int]:
        self.reads.put(pack(read_layout(), space=space, bank=bank, address=a) for a in range(count))
        return await self.answers.get(count)

    def status(self) -> dict[str, int]:
        return unpack(status_layout(), int(self.dut.status.value))

    async def reset(self) -> None:
        self.dut.reset.value = 1
        await cycles(self.dut, 1)
        self.dut.reset.value = 0

    async def frame(self, limit: int) -> dict[str, int]:
        """Run one frame and return the status after it; fails after `limit` cycles."""
        self.dut.start.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.start.value = 0
        for _ in range(0, limit, POLL):
            await cycles(self.dut, POLL)
            status = self.status()
            if not status["busy"]:
                return status
        raise AssertionError(f"core still busy after {limit} cycles: {status}")


@cocotb.test()
async def frames(dut):
    """Run after run: write memories, run a frame, compare fault, results and cycles; at the end nothing is left.

    The case is a JSON object: `config`, `stall` and `runs`, each run a list of memories [space, bank, words], the image
    stream, [fault, fault address], the result words, and the predicted cycles. A run without memories goes on with the
    program of the run before, and its image comes while that one is at work.
    """
    case = json.loads(Path(str(settings()["case"])).read_text())
    host = Host(dut, Config.from_json(json.dumps(case["config"])), case["stall"])
    await start(dut, **IDLE_INPUTS)
    for number, (memories, image, fault, results, predicted) in enumerate(case["runs"]):
        if memories:
            await host.reset()
            for space, bank, words in memories:
                await host.write(space, bank, words)
            host.image.put(image)
        following = case["runs"][number + 1 :][:1]
        ahead = following[0][1] if following and not following[0][0] else []
        host.image.put(ahead)
        status = await host.frame(4 * predicted + 10_000)
        assert [status["fault"], status["fault_address"]] == fault, f"run {number}: {status}, not {fault}"
        if fault[0]:
            host.image.forget()
            await cycles(dut, 4)
            continue
        if not ahead:
            await cycles(dut, len(host.image.queue))  # a short program may end before its bytes have come
            assert not host.image.queue, f"run {number}: {len(host.image.queue)} image bytes not taken"
        assert await host.read(Space.RESULTS, 0, len(results)) == results, f"run {number}"
        found = status["cycles"] - status["waited"]
        assert found == predicted, f"run {number}: {found} cycles, predicted {predicted}"
    await cycles(dut, 10)
    assert not host.answers.taken, "answers nobody asked for"
