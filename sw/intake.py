"""The intake of the emulated core: image bytes in, words of bit planes out, while programs run or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hw.arch.config import IMAGE_PLANES, Config
from hw.arch.isa import Fault, Pack, Target
from hw.arch.timing import pack_words, plane_groups

Store = Callable[[Target, int, int, int, np.ndarray], None]


class Stop(Exception):
    """What stops the machine; `address` of the instruction, None for the one at hand."""

    def __init__(self, fault: Fault, address: int | None = None) -> None:
        self.fault = fault
        self.address = address


class Intake:
    """Packs an image as soon as its last byte is there.

    Parameters
    ----------
    store : called with target, plane group, channel word, first bit and bits [pixels, N, count]; may raise `Stop`
    """

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store
        self.reset()

    def reset(self) -> None:
        """Forget the stream and the image."""
        self._stream = bytearray()
        self._image: tuple[Pack, Target, int] | None = None  # not taken yet: its instruction, set-up and address
        self._missing = 0  # bytes that the image is long, until it is packed
        self._failed = False

    @property
    def room(self) -> int:
        """Bytes taken now: what the image lacks, or what the line buffer holds."""
        return max(0, max(self._missing, self._config.image_depth) - len(self._stream))

    @property
    def waiting(self) -> bool:
        """Bytes of the image are missing."""
        return bool(self._missing)

    def feed(self, data: bytes) -> None:
        """Append bytes to the stream."""
        self._stream += data
        self._advance()

    def begin(self, pack: Pack, target: Target, address: int) -> None:
        """Execute `Pack` at that address: nothing if the last image was not taken yet."""
        if self._image is None:
            self._image, self._missing = (pack, target, address), pack.rows * pack.columns * pack.channels
            row_bytes, window = pack.columns * pack.channels, pack.window_rows * pack.window_columns * pack.channels
            room, lines = self._config.word >> pack.split, self._config.image_depth
            if window > room or row_bytes * max(1, pack.window_rows - 1) >= lines:
                self._fail()
            self._advance()

    def take(self) -> None:
        """Execute `Await` when nothing is missing; raises `Stop` if the image could not be stored."""
        if self._failed and self._image:
            raise Stop(Fault.ADDRESS, self._image[2])
        self._image = None

    def _fail(self) -> None:
        self._missing, self._failed = 0, True

    def _advance(self) -> None:
        if self._image is None or not 0 < self._missing <= len(self._stream):
            return
        pack, target, _ = self._image
        image = np.frombuffer(bytes(self._stream[: self._missing]), np.uint8)
        del self._stream[: self._missing]
        self._missing = 0
        if pack.window_rows > pack.rows or pack.window_columns > pack.columns:
            return
        try:
            self._pack(pack, target, image.reshape(pack.rows, pack.columns, pack.channels))
        except Stop:
            self._fail()

    def _pack(self, pack: Pack, target: Target, image: np.ndarray) -> None:
        """Store the bit planes of all windows."""
        config = self._config
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
