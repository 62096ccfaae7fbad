"""Bit-exact emulator of the core: executes programs instruction by instruction on the same memories.

It follows the meaning given in `hw.arch.isa`, stale memory contents included, not the graph the program came from:
equality with the PyTorch reference therefore checks compiler and instruction set together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hw.arch import isa, timing
from hw.arch.config import VALUE_BITS, Config, Space
from hw.arch.isa import Await, Code, Conv, End, Fault, Load, Pack, Padding, Source, Tap, Target, Values, Walk, decode
from hw.arch.packed import FieldError, Packed, used_bits
from sw.intake import Intake, Stop


class Machine:
    """The core of one accelerator.

    `write`, `read` and `feed` are what the link does to it; `run` executes one frame and returns early, with `busy`
    still set, when bytes of the stream are missing: feed them and call `run` again. `cycles` leaves these waits out.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        # Bits are kept unpacked, one per byte: the arithmetic below is matrix products of +-1.
        self._bits: dict[Space, np.ndarray] = {
            space: np.zeros((memory.banks, memory.depth, memory.bits), np.uint8)
            for space, memory in config.memories.items() if space not in (Space.PROGRAM, Space.RESULTS, Space.VALUES)
        }
        self._values = np.zeros((config.pixel_lanes, config.value_depth, config.chains), "<i2")
        self._program = [0] * config.program_depth
        self._results = [0] * config.result_depth
        self._intake = Intake(config, self._store, self._fill)
        self.cycles = 0
        self.frames = 0
        self.reset()

    def reset(self) -> None:
        """Stop and forget the image stream; memories keep their contents."""
        self._intake.reset()
        self._pc = 0
        self._written = 0
        self._registers: dict[type[Packed] | tuple[type[Packed], int], Packed] = {}
        self.busy = False
        self.fault = Fault.NONE
        self.fault_address = 0

    def write(self, space: Space, bank: int, address: int, words: Sequence[int]) -> None:
        """Store consecutive words of one bank; `IndexError` outside the memory."""
        memory = self.config.memories[space]
        if not (0 <= bank < memory.banks and 0 <= address and address + len(words) <= memory.depth):
            raise IndexError(f"{space.name} words {address}..{address + len(words) - 1} of bank {bank} do not exist")
        if space in (Space.PROGRAM, Space.RESULTS):
            store = self._program if space == Space.PROGRAM else self._results
            store[address : address + len(words)] = [word & (1 << memory.bits) - 1 for word in words]
            return
        size = memory.bytes_per_word
        raw = np.frombuffer(b"".join(int(w).to_bytes(size, "little") for w in words), np.uint8).reshape(-1, size)
        if space == Space.VALUES:
            self._values[bank, address : address + len(words)] = raw.view("<i2")
            return
        bits = np.unpackbits(raw, axis=1, bitorder="little")[:, : memory.bits]
        self._bits[space][bank, address : address + len(words)] = bits

    def read(self, space: Space, bank: int, address: int, count: int) -> list[int]:
        """Consecutive words of one bank."""
        if space in (Space.PROGRAM, Space.RESULTS):
            return (self._program if space == Space.PROGRAM else self._results)[address : address + count]
        if space == Space.VALUES:
            return [int.from_bytes(word.tobytes(), "little") for word in self._values[bank, address : address + count]]
        packed = np.packbits(self._bits[space][bank, address : address + count], axis=1, bitorder="little")
        return [int.from_bytes(word.tobytes(), "little") for word in packed]

    @property
    def room(self) -> int:  # image bytes that the core takes now
        return self._intake.room

    def feed(self, data: bytes) -> None:
        """Append bytes to the image stream; an image is packed, between frames too, as soon as it is complete."""
        self._intake.feed(data)

    def run(self) -> None:
        """Execute until END, a fault, or an instruction that waits for bytes of the image stream."""
        if not self.busy:
            self.busy, self.fault, self.fault_address = True, Fault.NONE, 0
            self._pc = self._written = self.cycles = 0
            self._registers = {Values: isa.NO_VALUES}
        try:
            while self.busy and self._step():
                pass
        except Stop as stop:
            self.busy, self.fault = False, stop.fault
            self.fault_address = self._pc if stop.address is None else stop.address
            self._intake.reset()

    def _step(self) -> bool:
        """Execute one instruction; False when it must wait for the intake."""
        if self._pc >= self.config.program_depth:
            raise Stop(Fault.OVERRUN)
        try:
            instruction = decode(self._program[self._pc], self.config)
        except FieldError:
            raise Stop(Fault.ILLEGAL) from None
        match instruction:
            case Pack():
                target = self._register(Target)
                if not self._intake.held:
                    if not self._intake.ready():
                        return False
                    self._intake.pack(instruction, target, self._pc)
                self.cycles += timing.PACK
            case Load():
                if not self._intake.ready():
                    return False
                self._intake.load(instruction, self._pc)
                self.cycles += timing.LOAD
            case Await():
                if not self._intake.ready():
                    return False
                self._intake.held = False
                self.cycles += timing.AWAIT
            case Conv():
                self._conv(instruction)
                walk, source, values = self._register(Walk), self._register(Source), self._register(Values)
                self.cycles += timing.conv_cycles(self.config, instruction, walk, source, values)
            case End():
                self.busy = False
                self.frames += 1
                self.cycles += timing.END
            case Code():
                self._registers[Code, instruction.half] = instruction
                self.cycles += timing.FETCH
            case _:
                self._registers[type(instruction)] = instruction
                self.cycles += timing.FETCH
        self._pc += 1
        return True

    def _register(self, cls):  # type: ignore[no-untyped-def]
        try:
            return self._registers[cls]
        except KeyError:
            raise Stop(Fault.ILLEGAL) from None

    def _store(self, target: Target, group: int, channel_word: int, low: int, bits: np.ndarray) -> None:
        """Write bits [pixels, N, count] at bit `low` of each pixel's target word; bit 0 clears the rest of the word."""
        lanes, s = self.config.pixel_lanes, target.phases
        y, x = np.divmod(np.arange(len(bits)), target.columns)
        q = y // s * target.pitch_banks + x // s
        address = target.base + y % s * target.phase_row_words + x % s * target.phase_words
        address += y // s * target.pitch_words + q // lanes * target.pixel_words
        address %= 1 << isa.ADDRESS_BITS
        address += group * target.channel_words + channel_word % (1 << isa.CHANNEL_WORD_BITS)
        if address.max() >= self.config.activation_depth:
            raise Stop(Fault.ADDRESS)
        words = self._bits[Space.ACTIVATIONS]
        words = words.reshape(*words.shape[:2], self.config.N, self.config.word)
        if low == 0:
            words[q % lanes, address] = 0
        words[q % lanes, address, :, low : low + bits.shape[2]] = bits

    def _fill(self, space: Space, first: int, words: np.ndarray) -> None:
        """Write uint8 [words, banks, bytes per word] to all banks of a memory."""
        bits = np.unpackbits(words, axis=2, bitorder="little")[:, :, : self.config.memories[space].bits]
        self._bits[space][:, first : first + len(words)] = bits.transpose(1, 0, 2)

    def _operands(self, conv: Conv, walk: Walk, source: Source, position: int) -> tuple[np.ndarray, ...]:
        """At a pool position: activation bits [pixels, taps, passes*N, channel words*word], whether a tap counts
        [pixels, taps], and whether the position is void [pixels]."""
        config, lanes = self.config, self.config.pixel_lanes
        first = walk.tap_base + position * walk.taps
        if first + walk.taps > config.tap_depth:
            raise Stop(Fault.ADDRESS)
        taps = [Tap.unpack(word % (1 << used_bits(Tap))) for word in self.read(Space.TAPS, 0, first, walk.taps)]
        names = ("offset", "rotate", "dy", "dx", "anchor")
        offset, rotate, dy, dx, anchor = (np.array([getattr(tap, name) for tap in taps]) for name in names)
        pixel = np.arange(walk.pixels)[:, None]
        y, x = pixel // walk.columns, pixel % walk.columns
        row = y * source.stride % (1 << isa.ORIGIN_BITS) + dy
        column = x * source.stride % (1 << isa.ORIGIN_BITS) + dx
        inside = (row >= 0) & (row < source.rows) & (column >= 0) & (column < source.columns)
        bank = (pixel + rotate) % lanes
        address = source.base + pixel // lanes * source.pixel_words + y * walk.row_skip
        address = address % (1 << isa.ADDRESS_BITS) + offset + (pixel % lanes + rotate >= lanes) * source.pixel_words
        words = np.arange(conv.activation_passes * source.channel_words)
        address = np.where(inside, address, 0)[:, :, None] + np.where(inside[:, :, None], words, 0)
        if address.min() < 0 or address.max() >= config.activation_depth:
            raise Stop(Fault.ADDRESS)
        bits = self._bits[Space.ACTIVATIONS][bank[:, :, None], address] * inside[:, :, None, None].astype(np.uint8)
        shape = (walk.pixels, walk.taps, conv.activation_passes, source.channel_words, config.N, config.word)
        planes = bits.reshape(shape).transpose(0, 1, 2, 4, 3, 5)
        planes = planes.reshape(walk.pixels, walk.taps, conv.activation_passes * config.N, -1)
        return planes, inside | (source.padding == Padding.LOW), (~inside & (anchor == 1)).any(axis=1)

    def _sums(self, conv: Conv, walk: Walk, source: Source, position: int) -> np.ndarray:
        """O of one pool position: int64 [row groups, pixels, channel lanes]."""
        config = self.config
        planes, valid, void = self._operands(conv, walk, source, position)
        pixels, taps, count, bits = planes.shape
        shared = -(-taps // walk.repeat)
        words = conv.row_groups * conv.weight_passes * shared * source.channel_words
        block = self._block(Space.WEIGHTS, conv.weights, words)
        block = block.reshape(config.channel_lanes, config.M, conv.row_groups, conv.weight_passes, shared, bits)
        weights = block.transpose(2, 0, 3, 1, 4, 5).reshape(-1, shared, bits).repeat(walk.repeat, axis=1)[:, :taps]
        # Matches of the bits in use: unused ones hold zero against ones. Skipped taps count nothing.
        exact = np.dtype(np.float32 if taps * bits < 1 << 24 else np.float64)
        signs = planes.transpose(0, 2, 1, 3).astype(exact) * 2 - 1
        signs *= valid[:, None, :, None]
        against = weights.astype(exact) * 2 - 1
        parts = 1 + conv.split  # plane groups in a word
        dots = np.stack([
            np.matmul(ours.reshape(pixels * count, -1), theirs.reshape(len(weights), -1).T).astype(np.int64)
            for ours, theirs in zip(np.split(signs, parts, axis=3), np.split(against, parts, axis=2), strict=True)])
        used = source.tail_bits + (source.channel_words - 1) * config.word
        dots = dots.reshape(parts, pixels, conv.activation_passes, config.N, conv.row_groups, config.channel_lanes, -1)
        dots += (valid.sum(axis=1) * (bits // parts - used)).reshape(-1, 1, 1, 1, 1, 1)
        dots = sum(part << n * config.N for n, part in enumerate(dots))
        if conv.fused:
            shifts = config.N * parts * np.arange(conv.activation_passes - 1, -1, -1)
            dots = (dots << shifts.reshape(-1, 1, 1, 1, 1)).sum(axis=1, keepdims=True)
        coefficients = [self._coefficients(conv, group, dots.shape[1]) for group in range(conv.row_groups)]
        sums = np.einsum("pjngcm,gcmjn->gpc", dots, np.array(coefficients))
        return np.where(void[:, None], -1 << config.sum_bits - 1, sums)

    def _coefficients(self, conv: Conv, group: int, passes: int) -> np.ndarray:
        """int64 [channel lanes, weight planes, passes, N] of one row group."""
        config = self.config
        count = conv.weight_passes * passes * config.chain
        block = self._block(Space.COEFFICIENTS, conv.coefficients + group * conv.coefficient_stride, count)
        values = _signed(block.reshape(config.chains, count, config.N, config.coefficient_bits))
        values = values.reshape(config.chains, conv.weight_passes, passes, config.chain_channels, config.M, config.N)
        return values.transpose(0, 3, 1, 4, 2, 5).reshape(config.channel_lanes, -1, passes, config.N)

    def _block(self, space: Space, first: int, count: int) -> np.ndarray:
        """Bits of `count` words of every bank."""
        if first + count > self.config.memories[space].depth:
            raise Stop(Fault.ADDRESS)
        return self._bits[space][:, first : first + count]

    def _conv(self, conv: Conv) -> None:
        config = self.config
        walk: Walk = self._register(Walk)
        source: Source = self._register(Source)
        values: Values = self._register(Values)
        if conv.split and not isa.halves(config, source):
            raise Stop(Fault.ILLEGAL)
        if conv.levels:
            for needed in (Target, (Code, 0), (Code, 1)):
                self._register(needed)
            if not conv.target_groups:
                raise Stop(Fault.ILLEGAL)
        if conv.search and conv.levels > isa.MOST_STEPS:
            raise Stop(Fault.ILLEGAL)
        best = self._sums(conv, walk, source, 0)
        for position in range(1, walk.positions):
            best = np.maximum(best, self._sums(conv, walk, source, position))
        for group, sums in enumerate(best):
            if conv.emits(values):
                self._emit(sums)
                continue
            count = config.chain_channels * conv.compared(values)
            block = self._block(Space.THRESHOLDS, conv.thresholds + group * count, count)
            thresholds = _signed(block).reshape(config.channel_lanes, conv.compared(values))
            if conv.residual(values):
                sums = self._add_and_keep(sums + thresholds[:, 0], values, group)
                thresholds = thresholds[:, 1:]
            if not conv.levels:
                continue
            levels = _search(sums, thresholds) if conv.search else (sums[:, :, None] >= thresholds).sum(axis=2)
            self._encode(levels, conv, group)

    def _add_and_keep(self, sums: np.ndarray, values: Values, group: int) -> np.ndarray:
        """X of one row group [pixels, channel lanes] from P + bias; its values are added and kept."""
        config, pixels = self.config, len(sums)
        groups = -(-pixels // config.pixel_lanes)
        first, count = values.base + group * groups * config.chain_channels, groups * config.chain_channels
        if first + count > config.value_depth:
            raise Stop(Fault.ADDRESS)
        words = self._values[:, first : first + count]
        lanes = words.reshape(config.pixel_lanes, groups, config.chain_channels, config.chains).transpose(1, 0, 3, 2)
        kept = lanes.reshape(-1, config.channel_lanes).astype(np.int64)  # a copy [pixels of all groups, channel lanes]
        if values.add:
            sums = sums + (kept[:pixels] << values.shift)
        if values.keep:
            top = (1 << VALUE_BITS - 1) - 1
            kept[:pixels] = np.clip(sums >> values.shift, 0 if values.rectify else -top - 1, top)
            lanes[:] = kept.reshape(lanes.shape)
        return sums

    def _emit(self, sums: np.ndarray) -> None:
        words = (sums & ((1 << self.config.sum_bits) - 1)).reshape(-1).tolist()
        if self._written + len(words) > self.config.result_depth:
            raise Stop(Fault.ADDRESS)
        self.write(Space.RESULTS, 0, self._written, words)
        self._written += len(words)

    def _encode(self, levels: np.ndarray, conv: Conv, group: int) -> None:
        """Store the planes of one row group's levels [pixels, channel lanes]."""
        config = self.config
        rows = [self._register((Code, half)).table.to_bytes(8, "little") for half in (0, 1)]
        table = np.zeros((16, max(8, conv.target_groups * config.N)), np.uint8)
        table[:, :8] = np.unpackbits(np.frombuffer(b"".join(rows), np.uint8)[:, None], axis=1, bitorder="little")
        upper = max(0, conv.levels - 4) if conv.search else 0
        planes = np.concatenate([table[levels >> 4, :upper], table[levels & 15, upper:]], axis=2)
        if group == conv.row_groups - 1:
            planes[:, conv.last_channels :] = 0  # [pixels, channels, planes]: lanes not in use store zeros
        word, position = divmod(group, config.slices)
        target: Target = self._register(Target)
        for plane_group in range(conv.target_groups):
            bits = planes[:, :, plane_group * config.N : (plane_group + 1) * config.N].transpose(0, 2, 1)
            self._store(target, plane_group, word, position * config.channel_lanes, bits)


def _search(sums: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Levels of sums [pixels, channels] by the steps [channels, count] of a binary search."""
    left = sums - steps[:, 0]
    levels = (left >= 0).astype(np.int64)
    for step in steps.T[1:]:
        left += np.where(left >= 0, -step, step)
        levels = levels << 1 | (left >= 0)
    return levels


def _signed(bits: np.ndarray) -> np.ndarray:
    """Two's complement integers from bits [..., width], least significant first."""
    weights = 1 << np.arange(bits.shape[-1], dtype=np.int64)
    weights[-1] = -weights[-1]
    return bits.astype(np.int64) @ weights
