"""What the compiler makes: everything one device needs to run one network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hw.arch import timing
from hw.arch.config import Config, Space
from hw.arch.isa import Load, Pack
from hw.arch.packed import Packed


class CompileError(ValueError):
    """A graph that this configuration cannot run; the message names layer, resource, need and capacity."""


class TooLarge(CompileError):
    """Tensors or values outgrow their memory: fewer rows at a time may fit."""


@dataclass(frozen=True)
class Stage:
    """One layer as scheduled: what `python -m sw info` prints and what the cycle prediction adds up."""

    name: str
    kernel: str
    planes: str  # weight x activation planes
    passes: int  # array passes per output pixel group and row group
    macs: int  # useful binary multiply-accumulates of one frame
    cycles: int  # predicted, exact


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled network for one configuration.

    `memories[space]` is uint8 [banks, words, bytes per word], little-endian words as they travel on the wire,
    holding what stays of every bank from address 0 on. `stream` are the bytes that `Load` takes of the image stream in
    every frame, behind the image. `rows`, `columns` and `channels` describe the image, `margin` pixels of zeros on
    every side included. On the wire it is `bands`, each a (first row, rows) of it: one, or several that overlap.
    """

    config: Config
    instructions: tuple[Packed, ...]
    memories: dict[Space, np.ndarray]
    stream: np.ndarray  # uint8 [bytes]
    rows: int
    columns: int
    channels: int
    margin: int
    bands: tuple[tuple[int, int], ...]
    result_words: int
    result_index: np.ndarray  # int64 [classes]: result word of each class
    bias: np.ndarray  # int64 [classes]
    stages: tuple[Stage, ...]
    activation_words: int  # peak use per bank

    @property
    def predicted_cycles(self) -> int:
        """Core cycles of one frame, without those that it waits for the intake."""
        return sum(stage.cycles for stage in self.stages)

    @property
    def pack_cycles(self) -> int:
        """Cycles of the intake for one image whose bytes are always there in time."""
        packs = [instruction for instruction in self.instructions if isinstance(instruction, Pack)]
        return sum(timing.pack_cycles(self.config, pack) for pack in packs[: len(self.bands)])

    def image_bytes(self, image: np.ndarray) -> bytes:
        """One uint8 HWC image as the bytes of its frame in the stream; `ValueError` for another shape or dtype."""
        expected = (self.rows - 2 * self.margin, self.columns - 2 * self.margin, self.channels)
        if image.dtype != np.uint8 or image.shape != expected:
            raise ValueError(f"image must be uint8 of shape {expected}, not {image.dtype} of shape {image.shape}")
        margin = (self.margin, self.margin)
        padded = np.pad(image, (margin, margin, (0, 0)))
        return b"".join(padded[first : first + rows].tobytes() for first, rows in self.bands) + self.stream.tobytes()

    def words(self, space: Space) -> int:
        """Words of every bank that are used of a memory the program fills."""
        loads = (instruction for instruction in self.instructions if isinstance(instruction, Load))
        spans = (load.spans[space] for load in loads if space in load.spans)
        stays = self.memories[space].shape[1] if space in self.memories else 0
        return max([stays, *(first + count for first, count in spans if count)])

    def logits(self, results: list[int]) -> np.ndarray:
        """Integer logits int64 [classes] from the unsigned words of the result memory."""
        words = np.array(results, dtype=np.int64)[self.result_index]
        sign = 1 << (self.config.sum_bits - 1)
        return (words ^ sign) - sign + self.bias

    def memory_words(self, space: Space) -> Iterator[tuple[int, int, list[int]]]:
        """(bank, first address, words) of every bank of a memory that the program fills."""
        for bank, words in enumerate(self.memories[space]):
            yield bank, 0, [int.from_bytes(word.tobytes(), "little") for word in words]
