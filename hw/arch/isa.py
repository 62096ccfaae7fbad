"""The instruction set: what the sequencer executes, one frozen dataclass per instruction.

A layer is described by instructions that set up one block each (`Source`, `Walk`, `Target`, `Code`, and `Values` for
residual connections) and then `Conv`, which runs it. A set-up instruction holds until the next one of its kind.
`Pack` has the image stream turned into bit planes while others run and `Load` has it written to memories, both until
`Await`; `End` closes the frame.

Instructions are `INSTRUCTION_BITS` wide, opcode in the low four bits, unused bits zero. Opcode 0 is illegal, so erased
memory never runs.

Addresses count words of one bank. Activation tensors are laid out by the formula in `Target`. Address sums are kept
modulo 2^ADDRESS_BITS, origins of lanes modulo 2^ORIGIN_BITS and the channel word of a row group modulo
2^CHANNEL_WORD_BITS; a tensor that fits its memory never gets there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .config import INSTRUCTION_BITS, TAP_BITS, Config, Space
from .packed import FieldError, Packed, bits, used_bits

ADDRESS_BITS, ORIGIN_BITS, CHANNEL_WORD_BITS = 18, 13, 8
MOST_STEPS = 8  # of a binary search


class Opcode(IntEnum):
    """Low four bits of an instruction."""

    ILLEGAL = 0
    END = 1
    PACK = 2
    SOURCE = 3
    WALK = 4
    TARGET = 5
    CODE = 6
    CONV = 7
    VALUES = 8
    AWAIT = 9
    LOAD = 10


class Padding(IntEnum):
    """What a kernel tap outside the input contributes."""

    SKIP = 0  # nothing: the tap is not counted, as zero padding of a +-1 tensor
    LOW = 1  # planes of all zero bits, i.e. -1 in every plane: exact zero padding of {0, 1}-coded tensors


class Fault(IntEnum):
    """Why the sequencer stopped. Sticky until the next run."""

    NONE = 0
    ILLEGAL = 1  # unknown opcode, non-zero unused bits, a field outside its range, or a set-up instruction missing
    OVERRUN = 2  # the program has no END before the end of the program memory
    ADDRESS = 3  # an access outside a memory


@dataclass(frozen=True)
class Source(Packed):
    """Where `Conv` reads: the input tensor.

    A lane's origin is input position (y*stride, x*stride) of its output pixel (y, x). A tap at (dy, dx) is inside
    the image when 0 <= y*stride + dy < rows and 0 <= x*stride + dx < columns; outside, `padding` says what happens.
    """

    base: int = bits(16, "first activation word")
    pixel_words: int = bits(12, "activation words per pixel", low=1)
    channel_words: int = bits(8, "activation words per pixel and plane group", low=1)
    tail_bits: int = bits(10, "channels in the last channel word", low=1)
    rows: int = bits(12, "input rows", low=1)
    columns: int = bits(12, "input columns", low=1)
    stride: int = bits(6, "input pixels between neighbouring output pixels", low=1)
    padding: int = bits(1, "Padding.SKIP or Padding.LOW")


@dataclass(frozen=True)
class Walk(Packed):
    """Which output pixels `Conv` computes, in row-major order, and with which taps.

    Pixel p of a row-major walk runs in pixel lane p mod pixel_lanes. `row_skip` is added to the lanes' addresses
    at the end of a row: (pitch - columns) / pixel_lanes * pixel_words of the input layout.
    `positions` are the pool window's positions; position q uses taps tap_base + q*taps ... + taps - 1 and a pixel's
    value is the maximum over its positions that are not void (`Tap.anchor`). `repeat` consecutive taps of a position
    share their weights, as those of an average pool do; a position starts with a tap of its own.
    """

    pixels: int = bits(20, "output pixels", low=1)
    columns: int = bits(12, "output columns", low=1)
    row_skip: int = bits(16, "extra activation words at the end of a row")
    tap_base: int = bits(12, "first tap descriptor")
    taps: int = bits(10, "kernel taps per position", low=1)
    positions: int = bits(8, "pool window positions", low=1)
    repeat: int = bits(8, "consecutive taps with the same weights", low=1)


@dataclass(frozen=True)
class Target(Packed):
    """Where `Conv` or `Pack` writes: the output tensor.

    Pixel (y, x), phases S: flat index q = (y div S)*pitch + x div S, bank = q mod pixel_lanes and
    address = base + (y mod S)*phase_row_words + (x mod S)*phase_words + (q div pixel_lanes)*pixel_words
    + group*channel_words + channel_word.
    `pitch` is split so that hardware needs no division: pitch = pitch_words/pixel_words*pixel_lanes + pitch_banks.
    """

    base: int = bits(16, "first activation word")
    pixel_words: int = bits(12, "activation words per pixel", low=1)
    channel_words: int = bits(8, "activation words per pixel and plane group", low=1)
    columns: int = bits(12, "columns of the tensor", low=1)
    phases: int = bits(4, "phases S per axis: the reader's stride", low=1)
    phase_words: int = bits(16, "activation words per phase")
    phase_row_words: int = bits(16, "activation words per row of phases, S*phase_words")
    pitch_words: int = bits(16, "whole bank rows of the pitch, in words")
    pitch_banks: int = bits(4, "remaining banks of the pitch, less than pixel_lanes")


@dataclass(frozen=True)
class Code(Packed):
    """Half of the code table: output planes of eight levels, one byte each, plane 0 in bit 0.

    Level l is row l mod 8 of half l div 8. A level of more than four bits is looked up as two: see `Conv`.
    """

    half: int = bits(1, "which eight levels")
    table: int = bits(64, "eight bytes of planes")


@dataclass(frozen=True)
class Values(Packed):
    """Residual values: what `Conv` adds to its sums and keeps of them. A frame starts with all fields zero.

    With `add` or `keep`, a channel's thresholds follow its bias in the threshold memory, and the pooled sum P becomes
    X = P + bias + V * 2^shift (V of `add`, else 0), which is compared. `keep` stores X / 2^shift, rounded down,
    saturated to VALUE_BITS bits and, if `rectify`, at least 0, where V was. Values lie in the order (row group, pixel
    group, channel of the chain) from `base` on: pixel lane k's in bank k, one value per chain in a word. So a layer
    finds the values of another one that has the same output map and channels.
    """

    base: int = bits(16, "first value word")
    add: int = bits(1, "values are added")
    keep: int = bits(1, "values are kept")
    shift: int = bits(4, "a value counts 2^shift")
    rectify: int = bits(1, "kept values are at least 0")


NO_VALUES = Values(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Conv(Packed):
    """Compute a layer: O = sum over passes of coefficient * dot product, pool, then threshold or emit.

    For every row group, then pixel group, then position, weight pass i and activation pass j one pass over the
    taps and channel words. `fused` runs all activation passes as one: the accumulator is multiplied by 2^N before
    each next group, so planes must have binary weights, most significant first.
    Weights are read in the order (row group, i, tap, channel word) from `weights` on, where `Walk.repeat` taps are one.
    A pass reads `chain` coefficients from coefficients + row group*coefficient_stride + pass*chain.
    In a `split` layer a word holds two plane groups, the more significant one in its upper half, which counts 2^N
    times. `Source.tail_bits` of each half are in use, and a pixel has one word per activation pass; else the layer is
    ILLEGAL. `fused` then multiplies by 4^N, so that planes follow each other as without `split`.
    `levels` > 0: level = #{t : O >= T[t]}, thresholds ascending, (row group, channel of the chain, t) from
    `thresholds` on; planes out are code[level]. `levels` = 0: O goes to the result memory, in the order
    (row group, pixel, channel lane), all lanes of a row group included; but with `Values.keep` only values are made.

    `search`: the threshold words are the steps of a binary search, `levels` of them, 1..MOST_STEPS. The level has a bit
    per step, most significant first (`numerics.search`). Of a level of b > 4 bits, planes 0..b - 5 are those of
    code[level div 16], the others those of code[level mod 16].
    """

    weights: int = bits(16, "first weight word")
    weight_passes: int = bits(4, "weight plane groups, ceil(m / M)", low=1, high=8)
    activation_passes: int = bits(4, "activation plane groups, ceil(n / N)", low=1, high=9)
    fused: int = bits(1, "activation passes in one accumulation")
    coefficients: int = bits(16, "first coefficient word")
    coefficient_stride: int = bits(12, "coefficient words between row groups; 0 shares them")
    thresholds: int = bits(16, "first threshold")
    levels: int = bits(4, "thresholds per channel; 0 emits integers or makes values only")
    search: int = bits(1, "thresholds are the steps of a binary search")
    target_groups: int = bits(4, "plane groups written, ceil(planes out / N)", high=8)
    row_groups: int = bits(12, "groups of channel lanes", low=1)
    last_channels: int = bits(9, "channel lanes in use in the last row group", low=1)
    split: int = bits(1, "words hold two plane groups each")

    def emits(self, values: Values) -> bool:
        """Integers go to the result memory."""
        return not self.levels and not values.keep

    def residual(self, values: Values) -> bool:
        """Values are added or kept, and the threshold memory holds biases."""
        return bool(values.keep or values.add and self.levels)

    def compared(self, values: Values) -> int:
        """Threshold words per channel."""
        return self.levels + self.residual(values)


@dataclass(frozen=True)
class Pack(Packed):
    """Start to turn the next image of the stream (rows x columns x channels bytes) into bit plane words at `Target`.

    The intake does it while the instructions that follow run, and `Await` takes the image. Until then another `Pack`,
    of the next frame too, does nothing: a frame may end with the `Pack` of the image that the next frame begins with.

    A word holds one bit plane of a window of window_rows x window_columns pixels in its upper
    window_columns*channels*window_rows bits: of these, bit (kx*channels + c)*window_rows + ky is pixel
    (y*row_stride + ky, x*column_stride + kx), channel c. The other bits are zero. Planes are most significant first,
    padded at the front with zero planes to a multiple of N. The image arrives already padded.

    With `split` a word holds two planes N apart, each as above in one half, the more significant one in the upper half.
    This is legal where plane groups make pairs (`Config.splits`).
    """

    rows: int = bits(12, "image rows", low=1)
    columns: int = bits(12, "image columns", low=1)
    channels: int = bits(5, "channels per pixel", low=1)
    window_rows: int = bits(4, "window rows", low=1)
    window_columns: int = bits(4, "window columns", low=1)
    row_stride: int = bits(4, "rows between windows", low=1)
    column_stride: int = bits(4, "columns between windows", low=1)
    split: int = bits(1, "words hold two planes each")


@dataclass(frozen=True)
class Load(Packed):
    """Start to write the next bytes of the image stream to memories: weights, coefficients, thresholds, then taps.

    The intake does it while the instructions that follow run, and `Await` waits for it. It does one thing after the
    other: `Load`, and a `Pack` that has something to do, wait like `Await` until the one before is done.

    `_words` words go into every bank of a memory from a first word on, in the order (word, bank), each with the bytes
    that it has on the wire (`hw.arch.config.Memory.bytes_per_word`). Words outside a memory are a fault before any is
    written. What a running `Conv` reads must not be loaded.
    """

    weights: int = bits(16, "first weight word")
    weight_words: int = bits(16, "weight words per row lane")
    coefficients: int = bits(16, "first coefficient word")
    coefficient_words: int = bits(16, "coefficient words per chain")
    thresholds: int = bits(16, "first threshold")
    threshold_words: int = bits(16, "thresholds per chain")
    taps: int = bits(12, "first tap descriptor")
    tap_words: int = bits(12, "tap descriptors")

    @property
    def spans(self) -> dict[Space, tuple[int, int]]:
        """First word and number of words of every memory, in the order of the stream."""
        return {
            Space.WEIGHTS: (self.weights, self.weight_words),
            Space.COEFFICIENTS: (self.coefficients, self.coefficient_words),
            Space.THRESHOLDS: (self.thresholds, self.threshold_words), Space.TAPS: (self.taps, self.tap_words),
        }

    def stream_bytes(self, config: Config) -> int:
        """Bytes of the image stream that it takes."""
        memories = config.memories
        return sum(
            words * memories[space].banks * memories[space].bytes_per_word for space, (_, words) in self.spans.items())


LOADABLE = tuple(Load(*[0] * 8).spans)  # memories that `Load` writes


@dataclass(frozen=True)
class Await(Packed):
    """Wait for the intake, and take the image, if there is one.

    A fault of the intake stops the machine here, or at an instruction that waits for the intake as well, with the
    address of the `Pack` or `Load` that it was at.
    """


@dataclass(frozen=True)
class End(Packed):
    """Close the frame: results are complete."""


@dataclass(frozen=True)
class Tap(Packed):
    """One kernel tap of one pool position, an entry of the tap memory.

    A position with an `anchor` outside the input tensor does not take part in a pixel's maximum: it counts as the least
    sum there is. With d the tap's flat distance in pixels inside its phase, `rotate` = d mod pixel_lanes and `offset` =
    phase*phase_words + floor(d / pixel_lanes)*pixel_words.
    """

    offset: int = bits(17, "words from the lane's address", signed=True)
    rotate: int = bits(4, "banks from the lane's bank")
    dy: int = bits(7, "rows from the lane's origin", signed=True)
    dx: int = bits(7, "columns from the lane's origin", signed=True)
    anchor: int = bits(1, "outside the input the position is void")


Instruction = Source | Walk | Target | Code | Values | Conv | Pack | Load | Await | End

OPCODES: dict[Opcode, type[Packed]] = {
    Opcode.END: End, Opcode.PACK: Pack, Opcode.SOURCE: Source, Opcode.WALK: Walk, Opcode.TARGET: Target,
    Opcode.CODE: Code, Opcode.CONV: Conv, Opcode.VALUES: Values, Opcode.AWAIT: Await,
    Opcode.LOAD: Load,
}
OPCODE_OF = {cls: opcode for opcode, cls in OPCODES.items()}
OPCODE_WIDTH = 4

if any(OPCODE_WIDTH + used_bits(cls) > INSTRUCTION_BITS for cls in OPCODE_OF) or used_bits(Tap) > TAP_BITS:
    raise AssertionError("an instruction or tap outgrew its word")


def encode(instruction: Packed) -> int:
    """The instruction as a word of INSTRUCTION_BITS."""
    return OPCODE_OF[type(instruction)] | instruction.pack() << OPCODE_WIDTH


def halves(config: Config, source: Source) -> bool:
    """Whether a `split` layer may read it: one channel word per plane group, in use not beyond its halves."""
    return source.channel_words == 1 and source.tail_bits <= config.word // 2


def ceilings(config: Config) -> dict[tuple[type[Packed], str], int]:
    """Highest legal values of the fields whose range depends on the configuration."""
    values, split = int(config.value_depth > 0), int(config.splits)
    return {(Source, "tail_bits"): config.word, (Target, "pitch_banks"): config.pixel_lanes - 1,
            (Values, "add"): values, (Values, "keep"): values, (Conv, "split"): split, (Pack, "split"): split}


def decode(word: int, config: Config | None = None) -> Packed:
    """Inverse of `encode`; `FieldError` for a word that the hardware of `config` would reject as ILLEGAL.

    Without a configuration, fields may have any value that fits some configuration.
    """
    try:
        cls = OPCODES[Opcode(word & ((1 << OPCODE_WIDTH) - 1))]
    except (KeyError, ValueError):
        raise FieldError(f"instruction opcode must be one of {[int(o) for o in OPCODES]}, not {word & 15}") from None
    instruction = cls.unpack(word >> OPCODE_WIDTH)
    for (owner, name), high in ceilings(config).items() if config else ():
        if owner is cls and getattr(instruction, name) > high:
            raise FieldError(f"{cls.__name__}.{name} must be at most {high}, not {getattr(instruction, name)}")
    return instruction
