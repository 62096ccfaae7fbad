"""A device in Python: the far side of `hw.arch.wire` around the emulator's core.

The driver meets the same bytes, refusals and duplicates as on a board, and benches of the RTL endpoint can compare
with it frame by frame.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable

from hw.arch import wire
from hw.arch.config import Space
from hw.arch.wire import Address, Error, Hello, Refusal, Status, Type
from sw.emulator import Machine
from sw.protocol import Deframer, Frame, encode

_COUNT = struct.Struct("<H")
_MAX_16 = (1 << 16) - 1
Action = Callable[[bool], bytes]


class _Refuse(Exception):
    def __init__(self, error: Error, detail: int = 0) -> None:
        self.error = error
        self.detail = detail


class EmulatedDevice:
    """Bytes in, bytes out; runs a frame the moment its image is complete.

    Parameters
    ----------
    machine : Machine, the core
    epoch : int or None, 32 bits; None draws one
    """

    def __init__(self, machine: Machine, epoch: int | None = None) -> None:
        self.machine = machine
        # Each checks a payload and returns what is to be done, which is told whether it is asked for the first time.
        self._commands: dict[int, Callable[[bytes], Action]] = {
            Type.HELLO: self._hello, Type.WRITE: self._write, Type.READ: self._read, Type.IMAGE: self._image,
            Type.RUN: self._run, Type.STATUS: self._status, Type.RESET: self._reset,
            Type.PING: lambda payload: lambda first: payload,
        }
        self._power_on(secrets.randbits(32) if epoch is None else epoch)

    def power_cycle(self) -> None:
        """Lose memories, session and counters, as the board does; the epoch changes."""
        self.machine = Machine(self.machine.config)
        self._power_on(self.epoch + 1 & 0xFFFFFFFF)

    def reset_button(self) -> None:
        """Lose session and counters and stop; memories stay, and the epoch changes all the same."""
        self.machine.reset()
        self._power_on(self.epoch + 1 & 0xFFFFFFFF)

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the line; the bytes answered."""
        return b"".join(reply for frame in self._deframer.feed(data) if (reply := self._answer(frame)))

    def _power_on(self, epoch: int) -> None:
        self.epoch = epoch
        self._session: int | None = None
        self._expected = self._executed = self._stale = 0
        self._was_busy: dict[int, bool] = {}  # by sequence number, of the last WINDOW requests
        self._fifo = bytearray()
        self._deframer = Deframer()

    def _answer(self, frame: Frame) -> bytes:
        if frame.type == Type.HELLO and not frame.payload:
            self._session, self._expected, self._executed = frame.session, frame.sequence, 0
        elif frame.type != Type.HELLO and frame.session != self._session:
            self._stale += 1
            return b""
        try:
            kind, payload = frame.type, self._execute(frame)
        except _Refuse as refusal:
            kind, payload = Type.ERROR, Refusal(refusal.error, frame.type, refusal.detail).pack()
        return encode(Frame(kind, frame.sequence, frame.session, payload))

    def _execute(self, frame: Frame) -> bytes:
        """The reply's payload. What changes the device is done once; asked again, it is answered as before."""
        if frame.type == Type.HELLO and frame.payload:
            raise _Refuse(Error.LENGTH)
        behind = (self._expected - frame.sequence) % 256
        if behind > self._executed:
            raise _Refuse(Error.SEQUENCE, self._expected)
        if behind == 0:
            self._expected = (self._expected + 1) % 256
            self._executed = min(self._executed + 1, wire.WINDOW)
        if frame.type not in self._commands:
            raise _Refuse(Error.TYPE)
        prepare = self._commands[frame.type]
        act = prepare(frame.payload)
        if behind == 0 or frame.type == Type.READ:
            self._was_busy[frame.sequence % wire.WINDOW] = busy = self._blocked(frame)
        else:
            busy = self._was_busy.get(frame.sequence % wire.WINDOW, False)
        if busy:
            raise _Refuse(Error.BUSY)
        return act(behind == 0)

    def _blocked(self, frame: Frame) -> bool:
        if frame.type == Type.IMAGE:
            return len(frame.payload) > self._free
        return self.machine.busy and frame.type in (Type.WRITE, Type.READ, Type.RUN)

    @property
    def _free(self) -> int:
        return wire.IMAGE_FIFO - len(self._fifo)

    def _place(self, payload: bytes, readable: bool) -> tuple[Space, int, int, int]:
        """Memory, bank, address and bytes per word at the start of WRITE and READ."""
        address = Address.unpack(payload[: Address.FORMAT.size])
        memories = self.machine.config.memories
        if address.space not in memories or (readable and address.space not in wire.READABLE):
            raise _Refuse(Error.SPACE)
        space = Space(address.space)
        memory = memories[space]
        if address.bank >= memory.banks:
            raise _Refuse(Error.BANK)
        return space, address.bank, address.address, memory.bytes_per_word

    def _check_range(self, space: Space, address: int, count: int) -> None:
        if address + count > self.machine.config.memories[space].depth:
            raise _Refuse(Error.ADDRESS)

    def _write(self, payload: bytes) -> Action:
        if len(payload) < Address.FORMAT.size:
            raise _Refuse(Error.LENGTH)
        space, bank, address, size = self._place(payload, readable=False)
        data = payload[Address.FORMAT.size :]
        if not data or len(data) % size:
            raise _Refuse(Error.LENGTH)
        words = [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
        self._check_range(space, address, len(words))

        def act(first: bool) -> bytes:
            if first:
                self.machine.write(space, bank, address, words)
            return b""

        return act

    def _read(self, payload: bytes) -> Action:
        _check_length(payload, Address.FORMAT.size + _COUNT.size)
        space, bank, address, size = self._place(payload, readable=True)
        (count,) = _COUNT.unpack(payload[Address.FORMAT.size :])
        if not 1 <= count <= wire.MAX_PAYLOAD // size:
            raise _Refuse(Error.LENGTH)
        self._check_range(space, address, count)
        return lambda first: b"".join(
            word.to_bytes(size, "little") for word in self.machine.read(space, bank, address, count)
        )

    def _image(self, payload: bytes) -> Action:
        def act(first: bool) -> bytes:
            if first:
                self._fifo.extend(payload)
                self._advance()
            return _COUNT.pack(self._free)

        return act

    def _run(self, payload: bytes) -> Action:
        _check_length(payload, 0)

        def act(first: bool) -> bytes:
            if first:
                self.machine.run()
                self._advance()
            return b""

        return act

    def _advance(self) -> None:
        """Let the core take the image bytes it has room for, and run on."""
        while self._fifo and (room := self.machine.room):
            self.machine.feed(bytes(self._fifo[:room]))
            del self._fifo[:room]
            if self.machine.busy:
                self.machine.run()

    def _status(self, payload: bytes) -> Action:
        _check_length(payload, 0)
        machine = self.machine
        return lambda first: Status(
            int(machine.busy), int(machine.fault), machine.fault_address, machine.cycles, machine.frames, self._free,
            min(self._deframer.bad, _MAX_16), min(self._stale, _MAX_16), 0,
        ).pack()

    def _reset(self, payload: bytes) -> Action:
        _check_length(payload, 0)

        def act(first: bool) -> bytes:
            if first:
                self.machine.reset()
                self._fifo.clear()
            return b""

        return act

    def _hello(self, payload: bytes) -> Action:
        digest = self.machine.config.digest
        return lambda first: Hello(wire.DESIGN_ID, digest, self.epoch, wire.MAX_PAYLOAD, wire.IMAGE_FIFO).pack()


def _check_length(payload: bytes, expected: int) -> None:
    if len(payload) != expected:
        raise _Refuse(Error.LENGTH)
