"""The intake of the emulated core: image bytes in, words of memories out, while programs run or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hw.arch.config import IMAGE_PLANES, Config, Space
from hw.arch.isa import Fault, Load, Pack, Target
from hw.arch.timing import pack_words, plane_groups

Store = Callable[[Target, int, int, int, np.ndarray], None]
Fill = Callable[[Space, int, np.ndarray], None]


class Stop(Exception):
    """What stops the machine; `address` of the instruction, None for the one at hand."""

    def __init__(self, fault: Fault, address: int | None = None) -> None:
        self.fault = fault
        self.address = address


class Intake:
    """Packs an image or loads words as soon as their last byte is there.

    Parameters
    ----------
    store : called with target, plane group, channel word, first bit and bits [pixels, N, count]; may raise `Stop`
    fill : called with a memory, the first word and uint8 [words, banks, bytes per word]

    Members
    -------
    held : whether an image was not taken yet; then a `Pack` does nothing
    """

    def __init__(self, config: Config, store: Store, fill: Fill) -> None:
        self._config, self._store, self._fill = config, store, fill
        self.reset()

    def reset(self) -> None:
        """Forget the stream and the image."""
        self._stream = bytearray()
        self._job: Callable[[bytes], None] | None = None  # what to do with the next `_missing` bytes
        self._missing = self._address = 0
        self._failed = self.held = False

    @property
    def room(self) -> int:
        """Bytes taken now: what is missing, or what the line buffer holds."""
        return max(0, max(self._missing, self._config.image_depth) - len(self._stream))

    def ready(self) -> bool:
        """Whether nothing is going on; raises `Stop` if what it was at could not be stored."""
        if self._failed:
            raise Stop(Fault.ADDRESS, self._address)
        return self._job is None

    def feed(self, data: bytes) -> None:
        """Append bytes to the stream."""
        self._stream += data
        self._advance()

    def pack(self, pack: Pack, target: Target, address: int) -> None:
        """Execute `Pack` at that address, when `ready`."""
        row_bytes, window = pack.columns * pack.channels, pack.window_rows * pack.window_columns * pack.channels
        self.held = True
        self._begin(address, pack.rows * row_bytes, lambda data: self._pack(pack, target, data))
        room, lines = self._config.word >> pack.split, self._config.image_depth
        if window > room or row_bytes * max(1, pack.window_rows - 1) >= lines:
            self._fail()
        self._advance()

    def load(self, load: Load, address: int) -> None:
        """Execute `Load` at that address, when `ready`."""
        self._begin(address, load.stream_bytes(self._config), lambda data: self._load(load, data))
        if any(first + words > self._config.memories[space].depth for space, (first, words) in load.spans.items()):
            self._fail()
        self._advance()

    def _begin(self, address: int, size: int, job: Callable[[bytes], None]) -> None:
        self._address, self._missing, self._job = address, size, job

    def _fail(self) -> None:
        self._job, self._missing, self._failed = None, 0, True

    def _advance(self) -> None:
        if self._job is None or self._missing > len(self._stream):
            return
        data, job = bytes(self._stream[: self._missing]), self._job
        del self._stream[: self._missing]
        self._job, self._missing = None, 0
        try:
            job(data)
        except Stop:
            self._fail()

    def _load(self, load: Load, data: bytes) -> None:
        """Fill the memories."""
        place = 0
        for space, (first, words) in load.spans.items():
            memory = self._config.memories[space]
            size = words * memory.banks * memory.bytes_per_word
            part = np.frombuffer(data, np.uint8)[place : place + size]
            self._fill(space, first, part.reshape(words, memory.banks, memory.bytes_per_word))
            place += size

    def _pack(self, pack: Pack, target: Target, data: bytes) -> None:
        """Store the bit planes of all windows."""
        if pack.window_rows > pack.rows or pack.window_columns > pack.columns:
            return
        image, config = np.frombuffer(data, np.uint8).reshape(pack.rows, pack.columns, pack.channels), self._config
        count, words, room = plane_groups(config) * config.N, pack_words(config, pack), config.word >> pack.split
        windows = np.lib.stride_tricks.sliding_window_view(image, (pack.window_rows, pack.window_columns), axis=(0, 1))
        windows = windows[:: pack.row_stride, :: pack.column_stride].transpose(0, 1, 4, 2, 3)  # y, x, kx, c, ky
        flat = windows.reshape(windows.shape[0] * windows.shape[1], -1)
        planes = np.zeros((len(flat), count, room), np.uint8)
        shifts = np.arange(IMAGE_PLANES - 1, -1, -1)
        planes[:, count - IMAGE_PLANES :, -flat.shape[1] :] = flat[:, None, :] >> shifts[:, None] & 1
        groups = planes.reshape(len(flat), words, -1, config.N, room)[:, :, ::-1]  # the less significant half is lower
        groups = groups.transpose(0, 1, 3, 2, 4).reshape(len(flat), words, config.N, config.word)
        for group in range(words):
            self._store(target, group, 0, 0, groups[:, group])
