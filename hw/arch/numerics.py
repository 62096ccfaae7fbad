"""What the accelerator computes, in plain integers: the one definition.

PyTorch integer inference, the emulator and the RTL are each tested equal to these functions. A plane is a list of
bits; bit 1 stands for +1 and bit 0 for -1. Nothing here is fast, and nothing here rounds, saturates or wraps.
"""

from __future__ import annotations

from collections.abc import Sequence

from .config import IMAGE_PLANES, VALUE_BITS

Bits = Sequence[int]


def popcount(word: int) -> int:
    """Ones of a non-negative integer."""
    return word.bit_count()


def pack(bits: Bits) -> int:
    """The word with bits[k] at position k."""
    return sum(bit << k for k, bit in enumerate(bits))


def dot(weights: Bits, activations: Bits, mask: Bits | None = None) -> int:
    """S = sum of w * a over the +-1 values: 2 popcount(w xnor a) - K.

    `mask` has a 1 for each tap that counts; the others contribute nothing, as zero padding of a +-1 tensor does, and
    K is then the number that count.
    """
    if len(weights) != len(activations) or (mask is not None and len(mask) != len(weights)):
        raise ValueError(f"dot must have operands of one length, not {len(weights)} and {len(activations)}")
    counted = (1 << len(weights)) - 1 if mask is None else pack(mask)
    agree = ~(pack(weights) ^ pack(activations)) & counted
    return 2 * popcount(agree) - popcount(counted)


def combine(coefficients: Sequence[Sequence[int]], dots: Sequence[Sequence[int]]) -> int:
    """O = sum_i sum_j c[i][j] * S[i][j], i over weight planes and j over activation planes."""
    return sum(c * s for row, values in zip(coefficients, dots, strict=True) for c, s in zip(row, values, strict=True))


def max_pool(values: Sequence[int]) -> int:
    """P = the largest O of a pool window."""
    return max(values)


def add(value: int, bias: int, kept: int, shift: int) -> int:
    """X = P + bias + V * 2^shift, what a residual connection compares with thresholds."""
    return value + bias + (kept << shift)


def keep(value: int, shift: int, rectify: bool) -> int:
    """V = X / 2^shift rounded down, saturated to `VALUE_BITS` bits, at least 0 if `rectify`."""
    top = (1 << VALUE_BITS - 1) - 1
    kept = min(max(value >> shift, -top - 1), top)
    return max(kept, 0) if rectify else kept


def level(value: int, thresholds: Sequence[int]) -> int:
    """#{ t : value >= T[t] }; thresholds ascend."""
    return sum(value >= threshold for threshold in thresholds)


def search(value: int, steps: Sequence[int]) -> list[int]:
    """Bits of a level, most significant first: a binary search.

    The first step is the threshold in the middle, each further one the distance to the next, above where the last bit
    is 1 and below where it is 0. With steps T, 2^(b-2) D ... 2 D, D the b bits say in which of 2^b intervals of width
    D the value lies, the lowest and the highest one being open; T is where the upper half begins.
    """
    bits: list[int] = []
    for step in steps:
        value += step if bits and not bits[-1] else -step
        bits.append(int(value >= 0))
    return bits


def encode(index: int, code: Sequence[Bits]) -> Bits:
    """Planes out, plane 0 first: row `index` of the code table."""
    return code[index]


def image_planes(pixel: int) -> list[int]:
    """Bits of a pixel 0..255, most significant first, so that sum_j 2^(7-j) (2 bit_j - 1) = 2 pixel - 255."""
    if not 0 <= pixel < 1 << IMAGE_PLANES:
        raise ValueError(f"pixel must be in 0..{(1 << IMAGE_PLANES) - 1}, not {pixel}")
    return [pixel >> (IMAGE_PLANES - 1 - j) & 1 for j in range(IMAGE_PLANES)]


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Positions of a window of `kernel` along an axis of `size` padded by `padding` at both ends."""
    return (size + 2 * padding - kernel) // stride + 1


Tensor = Sequence[Sequence[Sequence[Bits]]]  # planes of a map: [row][column][plane][channel]


def convolve(
    planes: Tensor, weights: Tensor, coefficients: Sequence[Sequence[int]], *, stride: int, padding: int, low: bool,
    average: int = 1,
) -> list[list[int]]:
    """O of one output channel at every position, from its weight bits [ky][kx][plane][channel].

    A tap outside the map counts as all-zero bits when `low`, else it does not count. With `average`, a weight serves
    a window of average x average taps: the sum of an average pool, without its division.
    """
    weights = [[row[kx // average] for kx in range(len(row) * average)] for row in weights for _ in range(average)]
    stride, kernel_rows, kernel_columns = stride * average, len(weights), len(weights[0])

    def at(y: int, x: int) -> int:
        taps = [(ky, kx, y * stride + ky - padding, x * stride + kx - padding)
                for ky in range(kernel_rows) for kx in range(kernel_columns)]
        return combine(coefficients, [
            [sum(_tap(planes, row, column, j, weights[ky][kx][i], low) for ky, kx, row, column in taps)
             for j in range(len(coefficients[0]))]
            for i in range(len(coefficients))])

    rows = output_size(len(planes), kernel_rows, stride, padding)
    columns = output_size(len(planes[0]), kernel_columns, stride, padding)
    return [[at(y, x) for x in range(columns)] for y in range(rows)]


def _tap(planes: Tensor, row: int, column: int, plane: int, weights: Bits, low: bool) -> int:
    """Dot product over the channels of one tap."""
    if 0 <= row < len(planes) and 0 <= column < len(planes[0]):
        return dot(weights, planes[row][column][plane])
    return dot(weights, [0] * len(weights)) if low else 0


def pool(values: Sequence[Sequence[int]], window: int, stride: int, padding: int = 0) -> list[list[int]]:
    """Max-pool of one channel's map with a square window; positions outside the map do not take part."""
    sizes = len(values), len(values[0])
    rows, columns = (output_size(size, window, stride, padding) for size in sizes)

    def inside(start: int, size: int) -> range:
        return range(max(0, start * stride - padding), min(size, start * stride - padding + window))

    return [[max_pool([values[i][j] for i in inside(y, sizes[0]) for j in inside(x, sizes[1])])
             for x in range(columns)] for y in range(rows)]
