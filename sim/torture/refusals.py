"""Everything that does not fit must be refused before the first WRITE, saying what was expected and what was found."""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from cobs import cobs

from hw.arch import wire
from hw.arch.config import PRESETS, Config, ConfigError
from hw.arch.wire import Hello, Type
from sim.figures import Figure
from sim.torture import network
from sim.torture.artifact import Parts, sample
from sw import artifact
from sw.device import EmulatedDevice
from sw.driver import Accelerator
from sw.emulator import Machine
from sw.errors import AbacusError
from sw.protocol import Deframer, Frame, encode

LEAST = 25
Case = tuple[str, Callable[[], None], tuple[str, ...]]  # name, attempt, what the message must show
Header = dict[str, Any]


class _Device:
    """A link to an emulated device whose HELLO or frames are changed; counts WRITEs."""

    name, timeout, bytes_per_second = "test", 0.01, None
    writes = 0

    def __init__(self, config: Config = network.CONFIG, version: int = wire.VERSION, **hello: Any) -> None:
        self._device, self._version, self._hello = EmulatedDevice(Machine(config), epoch=1), version, hello
        self._deframer, self._arrived = Deframer(), b""

    def send(self, data: bytes) -> None:
        for frame in self._deframer.feed(data):
            _Device.writes += frame.type == Type.WRITE
            (reply,) = Deframer().feed(self._device.feed(encode(frame)))
            self._arrived += self._changed(reply)

    def receive(self, timeout: float) -> bytes:
        data, self._arrived = self._arrived, b""
        return data

    def close(self) -> None:
        self._arrived = b""

    def _changed(self, reply: Frame) -> bytes:
        payload = reply.payload
        if reply.type == Type.HELLO and self._hello:
            payload = dataclasses.replace(Hello.unpack(payload), **self._hello).pack()
        head = wire.Header(self._version << 4 | reply.type, reply.sequence, reply.session, len(payload)).pack()
        return b"\x00" + cobs.encode(head + payload + wire.CRC.pack(zlib.crc32(head + payload))) + b"\x00"


def measure(quick: bool, seed: int) -> list[Figure]:
    """Every case; quick or not, it takes seconds."""
    _Device.writes, failures, count = 0, [], 0
    for name, attempt, shown in (*_devices(), *_files()):
        count += 1
        try:
            attempt()
            failures.append(f"{name}: accepted")
        except AbacusError as error:
            text = str(error)
            if "\n" in text or not all(re.search(part, text) for part in shown):
                failures.append(f"{name}: {text}")
    return [Figure(
        f"{count} kinds of mismatch between program, device and model file",
        f">= {LEAST} kinds, all refused in one sentence with expected and actual, 0 WRITEs sent",
        f"{count - len(failures)} of {count} refused so, {_Device.writes} WRITEs sent" + "".join(
            f"; {failure}" for failure in failures),
        count >= LEAST and not failures and not _Device.writes,
    )]


def _devices() -> Iterator[Case]:
    wanted, program = network.CONFIG.digest.hex(), network.program()

    def load(device: _Device) -> None:
        with Accelerator(device, retries=1) as accelerator:
            accelerator.load(program)

    def case(name: str, shown: tuple[str, ...], **device: Any) -> Case:
        return name, lambda: load(_Device(**device)), shown

    for field in dataclasses.fields(Config):
        other = _neighbour(network.CONFIG, field.name)
        yield case(f"configuration, {field.name}", (wanted, other.digest.hex()), config=other)
    for name, config in PRESETS.items():
        if config != network.CONFIG:
            yield case(f"preset {name}", (wanted, f"preset {name}"), config=config)
    yield case("design", (wire.DESIGN_ID.hex(), "00" * 16), design=bytes(16))
    yield case("max_payload", ("128", "100"), max_payload=100)
    yield case("image_fifo", ("bytes", " 0"), image_fifo=0)
    yield case("receive_buffer", (str(wire.MAX_FRAME), "99"), receive_buffer=99)
    yield case("protocol version", ("version 3", f"not {wire.VERSION}"), version=3)


def _neighbour(config: Config, name: str) -> Config:
    """A valid configuration that differs in that field, and in others only where it must."""
    value = getattr(config, name)
    for other in (value + 1, 2 * value, value // 2, value - 1, 4 * value, value + 8):
        try:
            return config.replace(**{name: other})
        except ConfigError:
            continue
    raise ConfigError(f"no neighbour of {name} = {value} is valid")


def _files() -> Iterator[Case]:
    good = sample(True)
    parts = Parts.of(good)

    def raw(name: str, data: bytes, *shown: str) -> Case:
        return name, lambda: _parse(data), shown

    def case(name: str, change: Callable[[Header], Any], *shown: str) -> Case:
        header = json.loads(parts.text)
        change(header)
        return raw(f"model file, {name}", dataclasses.replace(parts, text=json.dumps(header)).file(), *shown)

    def put(*path: Any) -> Callable[[Header], None]:
        def change(header: Header) -> None:
            *way, last, value = path
            target: Any = header
            for key in way:
                target = target[key]
            target[last] = value
        return change

    yield raw("model file, magic", b"X" + good[1:], "magic")
    yield raw("model file, version", good[:8] + b"\x09\x00" + good[10:], "must be 1, not 9")
    yield raw("model file, truncated", good[:-5], "damaged or truncated")
    yield raw("model file, one bit", good[:99] + bytes([good[99] ^ 1]) + good[100:], "digest is .* says")
    yield raw("model file, empty", b"", "magic")
    yield case("offset", put("sections", 1, "offset", 5), "must start at offset", "not 5")
    yield case("length", put("sections", 0, "length", 5), "must be .* bytes", "not 5")
    yield case("checksum", put("sections", 0, "crc32", 5), "wrong checksum")
    yield case("dtype", put("sections", 0, "dtype", "object"), "must be of dtype", "not 'object'")
    yield case("shape", put("sections", 0, "shape", [-1]), "shape", r"not \[-1\]")
    yield case("section twice", put("sections", 1, "name", json.loads(parts.text)["sections"][0]["name"]), "twice")
    yield case("content", put("content", "extra", 1), "must be graph and program", "extra")
    program = json.loads(parts.text)["content"]["program"]
    for name in ("rows", "columns", "channels"):
        yield case(f"program {name}", put("content", "program", name, 50), "must take images of shape", "not .*[0-9]")
    yield case("program result_words", put("content", "program", "result_words", 5000), "at most", "not 5000")
    yield case("program digest", put("content", "program", "digest", "00"), "is for configuration '00'", "but holds")
    other = network.CONFIG.replace(word=32).to_json()
    yield case("program configuration", put("content", "program", "config", other), "is for configuration",
               network.CONFIG.digest.hex()[:8])
    unknown = json.dumps({**json.loads(program["config"]), "turbo": 1})
    yield case("program configuration key", put("content", "program", "config", unknown), "one of", "not 'turbo'")
    yield case("program margin", put("content", "program", "margin", -1), "0\\.\\.", "not -1")


def _parse(data: bytes) -> None:
    artifact.parse(data)
