"""A script of line bytes on the endpoint, answered frame by frame as the caller says. Settings: see
`sim.link.surroundings`, and `script`, the path of a JSON object:

steps : list of [state, line, replies]: what the core's status shows, bytes to send, and header and payload of each
    reply that must follow before the next step, bytes in hexadecimal; the epoch in Hello is that of the device's choice
words : list of [space, bank, address, word] that the core must hold at the end
starts, resets : how often the core must have been started and reset
"""

import dataclasses
import json
from pathlib import Path

import cocotb

from hw.arch.config import preset
from hw.arch.wire import Hello, Type
from sim.helpers import cycles, received, settings, start
from sim.link.surroundings import IDLE_INPUTS, Core, Host

SILENCE = 300  # cycles in which an unasked reply would begin


@cocotb.test(timeout_time=2000, timeout_unit="ms")
async def replay(dut):
    """Replies in number, order and content, and their effects."""
    script = json.loads(Path(str(settings()["script"])).read_text())
    await start(dut, **IDLE_INPUTS)
    stall = settings()["stall"]
    core, host = Core(dut, preset(str(settings()["preset"])), stall), Host(dut, stall)
    core.hold_image(True)
    core.bytes.watched = False  # RESET takes back what the core refused
    epochs = set()
    for number, (state, line, replies) in enumerate(script["steps"]):
        core.state.update(state)
        host.source.put(received(bytes.fromhex(line)))
        for expected in map(bytes.fromhex, replies):
            header, body = await host.reply()
            if header.type == Type.HELLO:
                hello = Hello.unpack(body)
                epochs.add(hello.epoch)
                body = dataclasses.replace(hello, epoch=0).pack()
            assert header.pack() + body == expected, f"step {number}: {header} {body.hex()}, not {expected.hex()}"
        if not replies:
            await host.source.drained()
            await cycles(dut, SILENCE)
        assert not any(host.sink.taken), f"step {number}: more than {len(replies)} replies"
    await cycles(dut, SILENCE)
    assert [[*place, word] for place, word in sorted(core.words.items())] == script["words"]
    assert (core.starts, core.resets, len(epochs)) == (script["starts"], script["resets"], 1)
