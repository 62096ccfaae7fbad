"""Where tensors live in the activation memory: the layout formula of `hw.arch.isa.Target`, chosen per reader.

A reader that advances S input pixels per output pixel sees its input split into S x S phases, so that it always
walks with stride one. The row pitch of a phase is congruent to the reader's output width modulo the pixel lanes:
then output pixel p sits in bank p mod pixel_lanes, a kernel tap rotates all lanes by the same number of banks, and
no two lanes ever meet in one bank, across row ends too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hw.arch.config import Config
from hw.arch.isa import Tap, Target


@dataclass(frozen=True)
class Layout:
    """Placement of one tensor of bit planes.

    `pitch` counts pixels, the `_words` fields count words of one bank; `base` is assigned by `allocate`.
    """

    rows: int
    columns: int
    channels: int
    planes: int
    groups: int  # plane groups of N
    channel_words: int
    phases: int
    pitch: int
    phase_words: int
    lanes: int  # banks
    word: int  # bits per word
    base: int = 0

    @property
    def pixel_words(self) -> int:
        return self.groups * self.channel_words

    @property
    def words(self) -> int:
        """Words of every bank that the tensor takes."""
        return self.phases * self.phases * self.phase_words

    @property
    def tail_bits(self) -> int:
        """Channels in the last channel word: the others hold zero."""
        return self.channels - (self.channel_words - 1) * self.word

    def target(self) -> Target:
        """The instruction that makes `Conv` or `Pack` write this tensor."""
        return Target(
            base=self.base, pixel_words=self.pixel_words, channel_words=self.channel_words, columns=self.columns,
            phases=self.phases, phase_words=self.phase_words, phase_row_words=self.phases * self.phase_words,
            pitch_words=self.pitch // self.lanes * self.pixel_words, pitch_banks=self.pitch % self.lanes,
        )

    def tap(self, dy: int, dx: int, anchor: bool) -> Tap:
        """The descriptor of the tap at (dy, dx) from a lane's origin."""
        phase = dy % self.phases * self.phases + dx % self.phases
        distance = dy // self.phases * self.pitch + dx // self.phases
        return Tap(
            offset=phase * self.phase_words + distance // self.lanes * self.pixel_words,
            rotate=distance % self.lanes, dy=dy, dx=dx, anchor=int(anchor),
        )

    def before(self, row: int) -> int:
        """Words of every bank before a row that begins in the first phase and bank 0."""
        return row // self.phases * self.pitch // self.lanes * self.pixel_words

    def row_skip(self, columns: int) -> int:
        """`Walk.row_skip` for a reader of `columns` output columns."""
        return max(0, self.pitch - columns) // self.lanes * self.pixel_words


def plan(
    config: Config, rows: int, columns: int, channels: int, planes: int, stride: int, out_rows: int, out_columns: int
) -> Layout:
    """Layout of a rows x columns tensor for a reader of out_rows x out_columns pixels, `stride` input pixels apart."""
    lanes = config.pixel_lanes
    phase_rows, pitch = -(-rows // stride), -(-columns // stride)
    if out_rows > 1:
        pitch = max(pitch, out_columns)
        pitch += (out_columns - pitch) % lanes
    groups, channel_words = -(-planes // config.N), -(-channels // config.word)
    bank_rows = -(-phase_rows * pitch // lanes)
    return Layout(
        rows=rows, columns=columns, channels=channels, planes=planes, groups=groups, channel_words=channel_words,
        phases=stride, pitch=pitch, phase_words=bank_rows * groups * channel_words, lanes=lanes, word=config.word,
    )


def allocate(layouts: dict[str, Layout], births: dict[str, int], deaths: dict[str, int]) -> dict[str, Layout]:
    """Give every tensor a base address, first fit, so that tensors alive at the same step never overlap.

    A tensor is alive from step `births[name]` to step `deaths[name]`, both included.
    """
    placed: dict[str, Layout] = {}
    for name in sorted(layouts, key=lambda n: (births[n], n)):
        layout, base = layouts[name], 0
        rivals = [placed[n] for n in placed if births[n] <= deaths[name] and births[name] <= deaths[n]]
        for rival in sorted(rivals, key=lambda r: r.base):
            if base + layout.words <= rival.base:
                break
            base = max(base, rival.base + rival.words)
        placed[name] = replace(layout, base=base)
    return placed
