"""Accelerator configurations: what the user chooses, what follows from it, and the named presets.

One frozen `Config` describes one bitstream. Everything else (layouts, timing, memory maps, the compiler's
placement) is derived from it, so two parties that hold equal configurations agree on all of it; `Config.digest`
is how a driver and a device find out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from enum import IntEnum


class ConfigError(ValueError):
    """A configuration that cannot be built; the message is one sentence naming field, range and value."""


class Space(IntEnum):
    """Memories that the host can address. Values travel on the wire."""

    PROGRAM = 0
    TAPS = 1
    WEIGHTS = 2
    COEFFICIENTS = 3
    THRESHOLDS = 4
    ACTIVATIONS = 5
    RESULTS = 6
    VALUES = 7


@dataclass(frozen=True)
class Memory:
    """Shape of one memory: `banks` independent banks of `depth` words of `bits` bits."""

    banks: int
    depth: int
    bits: int

    @property
    def bytes_per_word(self) -> int:
        """Bytes one word takes on the wire (little-endian, zero-padded)."""
        return -(-self.bits // 8)

    @property
    def total_bits(self) -> int:
        return self.banks * self.depth * self.bits


def _u(low: int, high: int, doc: str, default: int) -> int:
    return field(default=default, metadata={"low": low, "high": high, "doc": doc})


INSTRUCTION_BITS = 128
TAP_BITS = 36
IMAGE_PLANES = 8
VALUE_BITS = 16  # a value of a residual connection, signed


@dataclass(frozen=True)
class Config:
    """One accelerator.

    The array is `row_lanes` x `column_lanes` dot-product units of `word` bits. Row lane r carries weight plane
    r mod M of output channel r div M; column lane c carries activation plane c mod N of pixel c div N. A layer
    with m weight planes and n activation planes takes ceil(m/M)*ceil(n/N) passes, whatever m and n are.

    Raises `ConfigError` for a value outside its range or two values that contradict each other.
    """

    M: int = _u(1, 8, "weight planes side by side in the row lanes", 1)
    N: int = _u(1, 8, "activation planes side by side in the column lanes", 1)
    row_lanes: int = _u(1, 256, "rows of the array: output channels x M", 8)
    column_lanes: int = _u(1, 128, "columns of the array: pixels x N", 4)
    word: int = _u(8, 512, "bits per operand word of a dot-product unit", 32)
    chain: int = _u(1, 64, "row lanes drained through one combine unit", 4)
    weight_depth: int = _u(2, 65536, "weight words per row lane", 1024)
    activation_depth: int = _u(2, 65536, "activation words (N planes each) per pixel lane", 2048)
    tap_depth: int = _u(2, 4096, "kernel tap descriptors", 256)
    coefficient_depth: int = _u(2, 65536, "coefficient words (N each) per chain", 256)
    threshold_depth: int = _u(2, 65536, "thresholds per chain", 512)
    program_depth: int = _u(2, 4096, "instructions", 64)
    value_depth: int = _u(0, 65536, "words of residual values per pixel lane, one value per chain each; 0: none", 256)
    result_depth: int = _u(2, 65536, "integer results of one frame", 256)
    image_depth: int = _u(2, 65536, "bytes of the image line buffer", 2048)
    accumulator_bits: int = _u(4, 24, "bits of a popcount accumulator", 14)
    coefficient_bits: int = _u(2, 24, "bits of a signed coefficient", 12)
    sum_bits: int = _u(8, 48, "bits of a signed sum and of a threshold", 28)
    clock_hz: int = _u(1_000_000, 1_000_000_000, "core clock in Hz", 25_000_000)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value, low, high = getattr(self, f.name), f.metadata["low"], f.metadata["high"]
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(
                    f"Config.{f.name} ({f.metadata['doc']}) must be an integer in {low}..{high}, not {value!r}")
        for name, divisor, by in (
            ("row_lanes", "M", "each channel takes M row lanes"),
            ("column_lanes", "N", "each pixel takes N column lanes"),
            ("chain", "M", "a channel drains through one combine unit"),
            ("row_lanes", "chain", "every row lane belongs to one chain"),
        ):
            if getattr(self, name) % getattr(self, divisor):
                raise ConfigError(
                    f"Config.{name} must be a multiple of {divisor} = {getattr(self, divisor)} ({by}), "
                    f"not {getattr(self, name)}"
                )
        if self.value_depth == 1:
            raise ConfigError("Config.value_depth must be 0 (no residual connections) or at least 2, not 1")
        if self.image_depth & (self.image_depth - 1):
            raise ConfigError(f"Config.image_depth must be a power of two, not {self.image_depth}")
        if self.word % 8:
            raise ConfigError(f"Config.word must be a multiple of 8, not {self.word}")
        if self.word % self.channel_lanes:
            raise ConfigError(
                f"Config.word must be a multiple of row_lanes / M = {self.channel_lanes} "
                f"(a row group fills an equal slice of a word), not {self.word}"
            )
        if self.pixel_lanes & (self.pixel_lanes - 1) or self.pixel_lanes > 16:
            raise ConfigError(f"Config.column_lanes / N must be a power of two up to 16, not {self.pixel_lanes}")

    @property
    def channel_lanes(self) -> int:
        """Output channels computed side by side."""
        return self.row_lanes // self.M

    @property
    def pixel_lanes(self) -> int:
        """Output pixels computed side by side; also the number of activation banks."""
        return self.column_lanes // self.N

    @property
    def chains(self) -> int:
        """Combine units per column lane."""
        return self.row_lanes // self.chain

    @property
    def chain_channels(self) -> int:
        """Output channels drained through one combine unit."""
        return self.chain // self.M

    @property
    def slices(self) -> int:
        """Row groups that share one activation word."""
        return self.word // self.channel_lanes

    @property
    def splits(self) -> bool:
        """Whether the image's plane groups make pairs, so that a word may hold two of them (`isa.Pack.split`)."""
        return -(-IMAGE_PLANES // self.N) % 2 == 0

    @property
    def macs_per_cycle(self) -> int:
        """Binary multiply-accumulates per cycle at peak."""
        return self.row_lanes * self.column_lanes * self.word

    @property
    def memories(self) -> dict[Space, Memory]:
        """Shape of every host-addressable memory."""
        values = Memory(self.pixel_lanes, self.value_depth, self.chains * VALUE_BITS)
        return {
            Space.PROGRAM: Memory(1, self.program_depth, INSTRUCTION_BITS),
            Space.TAPS: Memory(1, self.tap_depth, TAP_BITS),
            Space.WEIGHTS: Memory(self.row_lanes, self.weight_depth, self.word),
            Space.COEFFICIENTS: Memory(self.chains, self.coefficient_depth, self.N * self.coefficient_bits),
            Space.THRESHOLDS: Memory(self.chains, self.threshold_depth, self.sum_bits),
            Space.ACTIVATIONS: Memory(self.pixel_lanes, self.activation_depth, self.N * self.word),
            Space.RESULTS: Memory(1, self.result_depth, self.sum_bits),
        } | ({Space.VALUES: values} if self.value_depth else {})

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, one line. `from_json` inverts it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read a configuration; unknown keys and broken JSON raise `ConfigError`, missing keys take defaults."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"configuration must be a JSON object: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"configuration must be a JSON object, not {type(values).__name__}")
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"configuration key must be one of {', '.join(known)}, not {key!r}")
        return cls(**values)

    @property
    def digest(self) -> bytes:
        """16 bytes naming this configuration: equal exactly when all fields are equal."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=16, person=b"abacus-config").digest()

    def replace(self, **changes: int) -> Config:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)


PRESETS: dict[str, Config] = {
    # The smallest machines that have every feature; tests run on them.
    "tiny": Config(row_lanes=4, column_lanes=2, word=16, chain=2, weight_depth=1024, activation_depth=1024,
                   value_depth=1024),
    "tiny-2x2": Config(
        M=2, N=2, row_lanes=8, column_lanes=4, word=16, chain=4, weight_depth=512, activation_depth=512,
        coefficient_bits=13, value_depth=1024,
    ),
    # 512 MAC/cycle: FPGAs of 20k LUT4 with little memory.
    "compact": Config(row_lanes=8, column_lanes=2, word=32, chain=8),
    # 1,024 MAC/cycle: the virtual board, and FPGAs of 24k LUT4 and more.
    "small": Config(row_lanes=8, column_lanes=4, word=32, chain=4),
    # 1,024 MAC/cycle shaped for layers of even m and n. Two planes of the image side by side take one more bit.
    "small-2x2": Config(M=2, N=2, row_lanes=8, column_lanes=4, word=32, chain=4, coefficient_bits=13),
    # 4,096 MAC/cycle: Artix-7 35T class, whose LUTs leave no room for residual connections.
    "medium": Config(
        row_lanes=16, column_lanes=4, word=64, chain=8, weight_depth=1024, activation_depth=1024,
        threshold_depth=1024, coefficient_depth=512, value_depth=0, clock_hz=100_000_000,
    ),
    # As many, with chains as short as a pass over an image of two planes per word. The flip-flops of twice the combine
    # units are more than the open placer gets into a 35T: Artix-7 100T class.
    "medium-short": Config(
        row_lanes=16, column_lanes=4, word=64, chain=4, weight_depth=1024, activation_depth=1024,
        threshold_depth=512, coefficient_depth=512, value_depth=0, clock_hz=100_000_000,
    ),
    # 16,384 MAC/cycle: Artix-7 100T class.
    "large": Config(
        row_lanes=32, column_lanes=8, word=64, chain=8, weight_depth=1024, activation_depth=1024,
        threshold_depth=1024, coefficient_depth=512, value_depth=512, clock_hz=100_000_000,
    ),
}


def preset(name: str) -> Config:
    """The preset called `name`; an unknown name raises `ConfigError` listing the known ones."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}") from None
