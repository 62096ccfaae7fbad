"""One random script of requests, refusals, repeats, strangers and noise, answered alike by the emulated device and by
the RTL's endpoint."""

import dataclasses
import json
import random

import pytest

from hw.arch import wire
from hw.arch.config import Config, Space, preset
from hw.arch.isa import Fault
from hw.arch.wire import Address, Hello, Type
from hw.link.endpoint import Endpoint
from sim.runner import run
from sw.device import EmulatedDevice
from sw.protocol import Deframer, Frame, encode

STEPS = 130


class Memories:
    """A core that only stores words; what its status shows is set from outside."""

    def __init__(self, config: Config):
        self.config, self.words, self.starts, self.resets = config, {}, 0, 0
        self.busy, self.fault, self.fault_address, self.cycles, self.frames = False, Fault.NONE, 0, 0, 0

    def write(self, space, bank, address, words):
        self.words.update({(int(space), bank, address + n): word for n, word in enumerate(words)})

    def read(self, space, bank, address, count):
        return [self.words.get((int(space), bank, address + n), 0) for n in range(count)]

    def run(self):
        self.starts += 1

    def reset(self):
        self.resets += 1


class Held(EmulatedDevice):
    """The core takes no image bytes."""

    def _advance(self):
        pass


def some_payload(rng, config, kind):
    """Mostly right, sometimes wrong by a little."""
    if kind in (Type.WRITE, Type.READ):
        space = rng.choice((*Space, Space.RESULTS, Space.ACTIVATIONS, 15, 200))
        memory = config.memories.get(space, config.memories[Space.RESULTS])
        bank = rng.choice((0, memory.banks - 1, memory.banks) if rng.random() < 0.4 else (0,))
        address = rng.choice((0, 5, memory.depth - 2, memory.depth - 1, memory.depth, 65535))
        place = Address(space, bank, address).pack()
        if kind == Type.READ:
            most = wire.MAX_PAYLOAD // memory.bytes_per_word
            payload = place + rng.choice((1, 1, 2, 3, 0, most, most + 1, 65535)).to_bytes(2, "little")
        else:
            # Words without bits above the memory's width: what the core makes of those is its own affair.
            words = [rng.getrandbits(memory.bits) for _ in range(rng.choice((1, 1, 2, 3, 0)))]
            payload = place + b"".join(word.to_bytes(memory.bytes_per_word, "little") for word in words)
        return payload if rng.random() < 0.85 else payload[: rng.randrange(len(payload))] + b"x" * rng.randrange(3)
    if kind in (Type.IMAGE, Type.PING):
        return rng.randbytes(rng.choice((0, 1, 7, 100, 500, wire.MAX_PAYLOAD)))
    return b"" if rng.random() < 0.85 else rng.randbytes(rng.randint(1, 3))


def script(config, seed):
    """What `sim.link.bench_script` replays, with the emulated device's answers."""
    rng = random.Random(seed)
    memories = Memories(config)
    device, steps, sent = Held(memories, epoch=0), [], []
    session, sequence, kinds = 0, rng.randrange(256), [*Type, *Type, *(Type.WRITE, Type.READ, Type.IMAGE) * 2, 0, 13]
    for number in range(STEPS):
        state = {"busy": int(rng.random() < 0.25), "fault": rng.choice((0, 3)), "fault_address": rng.getrandbits(12),
                 "cycles": rng.getrandbits(32), "frames": rng.getrandbits(32)}
        for name, value in state.items():
            setattr(memories, name, Fault(value) if name == "fault" else value)
        chance = rng.random()
        if sent and chance < 0.3:
            frame = rng.choice(sent[-40:])  # some of them longer ago than WINDOW, some of other sessions
        elif chance < 0.35:
            kind = rng.choice(kinds)
            stranger = session ^ rng.choice((0, 1, 0x100))
            frame = Frame(kind, rng.randrange(256), stranger, some_payload(rng, config, kind))
        else:
            # The first requests come before any HELLO.
            kind = Type.HELLO if number > 5 and chance > 0.96 or number == 6 else rng.choice(kinds)
            frame = Frame(kind, sequence, session, some_payload(rng, config, kind))
            sent.append(frame)
        line = encode(frame)
        if chance > 0.9 and number > 6 and frame.type != Type.HELLO:
            spoilt = bytearray(line)
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
            line = bytes(spoilt) + b"\0"
        replies = Deframer().feed(device.feed(line))
        # As a host that has lost nothing would count: from the device's last word.
        for reply in replies:
            if reply.type == Type.HELLO:
                session, sequence = reply.session, (reply.sequence + 1) % 256
            elif reply.sequence == sequence and not (reply.type == Type.ERROR and reply.payload[0] == 7):
                sequence = (sequence + 1) % 256
        steps.append((state, line.hex(), [_plain(reply).hex() for reply in replies]))
    words = [[*place, word] for place, word in sorted(memories.words.items())]
    return {"steps": steps, "words": words, "starts": memories.starts, "resets": memories.resets}


def _plain(reply):
    header = wire.Header(wire.VERSION << 4 | reply.type, reply.sequence, reply.session, len(reply.payload))
    payload = reply.payload
    if reply.type == Type.HELLO:
        payload = dataclasses.replace(Hello.unpack(payload), epoch=0).pack()
    return header.pack() + payload


CASES = [("tiny-2x2", 0, 0.0), ("tiny", 4, 0.3), ("tiny-2x2", 3, 0.0)]


def test_the_scripts_meet_everything():
    """They are worth replaying: every kind of answer, silence and effect occurs."""
    scripts = [script(preset(name), seed) for name, seed, _ in CASES]
    answers = [replies for content in scripts for _, _, replies in content["steps"]]
    replies = [bytes.fromhex(reply) for replies in answers for reply in replies]
    assert {reply[0] & 15 for reply in replies} == set(Type)
    assert {reply[wire.HEADER.size] for reply in replies if reply[0] & 15 == Type.ERROR} == set(wire.Error)
    assert [] in answers
    assert all(content["words"] and content["starts"] and content["resets"] for content in scripts)


@pytest.mark.parametrize(("name", "seed", "stall"), CASES)
def test_device_and_endpoint_answer_alike(name, seed, stall, tmp_path):
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script(preset(name), seed)))
    settings = {"preset": name, "stall": stall, "script": str(path)}
    assert run(Endpoint(preset(name)), "sim.link.bench_script", seed=seed, settings=settings) == 1
