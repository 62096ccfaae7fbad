"""Lowering: layers of the graph become tasks, dense tap lists on tensors of bit planes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt

import numpy as np

from hw.arch.config import IMAGE_PLANES, VALUE_BITS, Config
from hw.arch.isa import Pack, Padding, Walk
from hw.arch.packed import FieldError, fields_of
from hw.arch.timing import plane_groups
from sw.compiler.program import CompileError
from sw.graph import IMAGE, Graph, Shape
from sw.graph import Conv as ConvNode

MAX_REPEAT: int = dict(fields_of(Walk))["repeat"]["high"]
MAX_WINDOW: int = dict(fields_of(Pack))["window_rows"]["high"]


@dataclass(frozen=True, eq=False)
class Task:
    """One layer lowered to what the array does: a dense tap list on a source tensor.

    `taps[q]` are the (dy, dx) of pool position q; `weights` has its taps in the same order, once for `repeat` of them.
    """

    node: ConvNode
    source: str
    weights: np.ndarray  # uint8 [m, co, taps, ci]
    coefficients: np.ndarray  # int64 [co or 1, m, n], first planes most significant when fused
    thresholds: np.ndarray | None
    code: np.ndarray | None
    bias: np.ndarray | None  # part of X with `node.residual`, else the host's
    fused: bool
    stride: int  # input pixels per pooled output pixel
    taps: tuple[tuple[tuple[int, int], ...], ...]
    anchors: tuple[int, ...]  # taps of a position that lie inside the source where the position lies inside the map
    repeat: int
    rows: int  # source rows
    columns: int
    split: bool  # words hold two plane groups
    out_rows: int
    out_columns: int
    macs: int
    kernel: str

    @property
    def out_planes(self) -> int:
        return 0 if self.code is None else self.code.shape[1]

    @property
    def planes(self) -> int:
        return self.coefficients.shape[2]

    def placed_weights(self, config: Config) -> np.ndarray:
        """The weights where their bits of the source lie in words: the packer uses the upper bits, of both halves."""
        if self.source != IMAGE:
            return self.weights
        m, co, taps, ci = self.weights.shape
        room = config.word >> self.split
        placed = np.concatenate([np.ones((m, co, taps, room - ci), np.uint8), self.weights], axis=3)
        return np.tile(placed, 1 + self.split)

    def activation_passes(self, config: Config) -> int:
        """Words per tap and channel word, one after the other."""
        return -(-self.planes // config.N) >> self.split


@dataclass(frozen=True)
class Intake:
    """How the image becomes bit planes: `Pack` and the tensor it makes."""

    pack: Pack
    channels: int
    rows: int
    columns: int
    margin: int


def image_intake(graph: Graph, config: Config) -> Intake:
    """How the layer that reads the image has it packed: in the largest windows that tile its kernel and fit a word, or
    half a word where two planes side by side make its passes shorter.

    Whole kernels lie as far apart as the layer's stride; smaller windows begin at every pixel, one per tap.
    """
    readers = [layer for layer in graph.layers if layer.source == IMAGE]
    if len(readers) != 1:
        raise CompileError(f"graph {graph.name} must have one layer that reads the image, not {len(readers)}")
    node, image = readers[0], graph.image
    ci = image.channels
    if node.padding and node.pad != Padding.LOW:
        raise CompileError(f"layer {node.name} reads the image, so its padding must be LOW, not {node.pad.name}")
    if ci > config.word:
        raise CompileError(f"image channels must be at most {config.word}, the configuration's word, not {ci}")
    rows, columns = image.rows + 2 * node.padding, image.columns + 2 * node.padding
    if columns * ci >= config.image_depth:
        raise CompileError(
            f"layer {node.name} needs {columns * ci + 1} bytes of image line buffer, "
            f"{columns * ci + 1 - config.image_depth} more than the {config.image_depth} of the configuration")
    (high, wide), split = _window(node, columns, config)
    stride = node.stride if (high, wide) == node.kernel else 1
    pack = checked(node.name, lambda: Pack(rows, columns, ci, high, wide, stride, stride, split))
    return Intake(
        pack=pack, channels=high * wide * ci, margin=node.padding,
        rows=(rows - high) // stride + 1, columns=(columns - wide) // stride + 1)


def _window(node: ConvNode, columns: int, config: Config) -> tuple[tuple[int, int], int]:
    """Rows and columns of the window that packs the image, and whether a word holds two planes of it.

    It tiles the kernel, fits the room for a plane and the line buffer, and makes passes short, then of few words.
    """
    ci, groups = node.source_channels, plane_groups(config)

    def cost(choice: tuple[tuple[int, int], int]) -> tuple[int, ...]:
        (high, wide), split = choice
        taps = node.kernel[0] * node.kernel[1] * node.average**2 // (high * wide)
        words = taps * (groups >> split)
        return max(words, config.chain), words, taps, -high, split

    return min((
        ((high, wide), split) for split in range(1 + config.splits) if ci <= config.word >> split
        for high in _divisors(node.kernel[0]) for wide in _divisors(node.kernel[1])
        if high == wide == 1 or node.average == 1 and max(high, wide) <= MAX_WINDOW
        and high * wide * ci <= config.word >> split and (high - 1) * columns * ci < config.image_depth), key=cost)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _kernel(node: ConvNode) -> str:
    """Kernel, stride and pool for people."""
    kh, kw = node.weights.shape[3:]
    stride = f" /{node.stride}" if node.stride > 1 else ""
    average = f"average {node.average}, " if node.average > 1 else ""
    return f"{average}{kh}x{kw}{stride}" + (f", pool {node.pool}" if node.pool > 1 else "")


def _halves(bits: int) -> np.ndarray:
    """Code uint8 [16, bits] of the levels of a search: first the planes of their upper halves, then of the lower."""
    upper = max(0, bits - 4)
    shifts = [*range(upper - 1, -1, -1), *range(bits - upper - 1, -1, -1)]
    return (np.arange(16)[:, None] >> np.array(shifts) & 1).astype(np.uint8)


def _anchors(node: ConvNode) -> tuple[int, ...]:
    """The first and the last tap without padding: both lie inside the source exactly where the convolution is defined.

    That is so while they come in this order.
    """
    kh, kw = node.kernel
    if not node.pool_padding:
        return ()
    if 2 * node.padding >= min(kh, kw):
        raise CompileError(
            f"layer {node.name} pools with padding, so its own must be less than half its kernel, not {node.padding}")
    first, last = ((node.padding, node.padding), (kh - 1 - node.padding, kw - 1 - node.padding))
    area = node.average**2
    return tuple({(first[0] * kw + first[1]) * area, (last[0] * kw + last[1] + 1) * area - 1})


def lower(
    node: ConvNode, shape: tuple[int, int], source: str, config: Config, step: tuple[int, int] = (1, 1),
    out: Shape | None = None,
) -> Task:
    """A layer on a tensor of bit planes of `shape` (rows, columns); of output `out` if its taps are `step` apart."""
    m, co, ci, kh, kw = node.weights.shape
    rows, columns = shape
    out, unit = out or node.output(rows, columns), node.average
    if unit * unit > MAX_REPEAT:
        raise CompileError(f"layer {node.name} averages {unit} x {unit} pixels, more than {isqrt(MAX_REPEAT)} squared")
    window = range(-node.pool_padding, node.pool - node.pool_padding)
    taps = tuple(
        tuple(((wy * node.stride + ky * step[0]) * unit + ay - node.padding,
               (wx * node.stride + kx * step[1]) * unit + ax - node.padding)
              for ky in range(kh) for kx in range(kw) for ay in range(unit) for ax in range(unit))
        for wy in window for wx in window
    )
    coefficients = node.coefficients if node.coefficients.ndim == 3 else node.coefficients[None]
    n = coefficients.shape[2]
    binary = n > 1 and n % config.N == 0 and bool(np.all(coefficients[:, :, :-1] == 2 * coefficients[:, :, 1:]))
    longest = len(taps[0]) * ci * _fused_weight(n, config)
    return Task(
        node=node, source=source, weights=node.weights.transpose(0, 1, 3, 4, 2).reshape(m, co, kh * kw, ci),
        coefficients=coefficients, thresholds=node.thresholds, code=_halves(node.levels) if node.search else node.code,
        bias=np.zeros(co, np.int64) if node.residual and node.bias is None else node.bias,
        fused=binary and not longest >> config.accumulator_bits, taps=taps, anchors=_anchors(node), repeat=unit * unit,
        # One pixel has no neighbours to keep a distance to.
        stride=1 if out.rows == out.columns == 1 else node.stride * node.pool_stride * unit,
        rows=rows, columns=columns, split=False, out_rows=out.rows, out_columns=out.columns,
        macs=out.rows * out.columns * node.pool**2 * m * co * n * ci * kh * kw * unit**2, kernel=_kernel(node),
    )


def lower_image(node: ConvNode, intake: Intake, config: Config) -> Task:
    """The layer that reads the image: windows became channels, a tap is a window, and planes a multiple of N.

    Planes added in front are constantly -1; with weight sum W they add -coefficient*W, which moves the thresholds.
    """
    m, co, ci, kh, kw = node.weights.shape
    pack, margin = intake.pack, 2 * node.padding
    high, wide = step = pack.window_rows, pack.window_columns
    tiles = node.weights.reshape(m, co, ci, kh // high, high, kw // wide, wide).transpose(0, 1, 6, 2, 4, 3, 5)
    inner = replace(
        node, padding=0, stride=node.stride // pack.row_stride,
        weights=tiles.reshape(m, co, intake.channels, kh // high, kw // wide))
    out = node.output(pack.rows - margin, pack.columns - margin)
    task = lower(inner, (intake.rows, intake.columns), IMAGE, config, step, out)
    last = task.coefficients[:, :, -1:]
    if not np.array_equal(task.coefficients, last << np.arange(IMAGE_PLANES - 1, -1, -1)):
        raise CompileError(f"layer {node.name} reads the image, so its coefficients must be a_i * 2^(7-j)")
    planes = -(-IMAGE_PLANES // config.N) * config.N
    extra = (1 << planes) - (1 << IMAGE_PLANES)
    sums = (2 * node.weights.astype(np.int64).sum(axis=(2, 3, 4)) - ci * kh * kw) * task.repeat  # [m, co]
    shift = -extra * (last[:, :, 0] * sums.T).sum(axis=1)
    return replace(
        task, fused=True, split=bool(pack.split), kernel=_kernel(node),
        coefficients=last << np.arange(planes - 1, -1, -1),
        thresholds=task.thresholds if task.thresholds is None or node.residual else _moved(task, shift),
        bias=None if task.bias is None else task.bias - shift,
    )


def _moved(task: Task, shift: np.ndarray) -> np.ndarray:
    """Thresholds of sums that are `shift` [co] higher; of a search the first step, which the others are relative to."""
    assert task.thresholds is not None
    moved = task.thresholds + shift[:, None]
    return np.concatenate([moved[:, :1], task.thresholds[:, 1:]], axis=1) if task.node.search else moved


def checked(layer: str, make):  # type: ignore[no-untyped-def]
    """Build an instruction; a field that outgrows the instruction set becomes a compile error of the layer."""
    try:
        return make()
    except FieldError as error:
        raise CompileError(f"layer {layer} does not fit the instruction set: {error}") from None


def _fused_weight(planes: int, config: Config) -> int:
    """What one tap adds to an accumulator at most, when all planes pass through it."""
    return sum(1 << config.N * group for group in range(-(-planes // config.N)))


def check_numbers(task: Task, config: Config) -> None:
    """Refuse a layer whose accumulators, coefficients or sums could overflow; bounds hold for every input."""
    name = task.node.name
    k = len(task.taps[0]) * task.weights.shape[3]
    count = k * (_fused_weight(task.planes, config) if task.fused else 1)
    if count >> config.accumulator_bits:
        raise CompileError(
            f"layer {name} counts up to {count}, more than {config.accumulator_bits} accumulator bits hold")
    used = task.coefficients[:, :, -config.N :] if task.fused else task.coefficients
    if np.abs(used).max() >> (config.coefficient_bits - 1):
        raise CompileError(
            f"layer {name} has a coefficient of {np.abs(used).max()}, "
            f"more than {config.coefficient_bits} signed bits hold"
        )
    bound = int(np.abs(task.coefficients).sum(axis=(1, 2)).max()) * k
    if task.node.residual and task.bias is not None:
        bound += int(np.abs(task.bias).max())
    if task.node.add:
        bound += 1 << VALUE_BITS - 1 + task.node.shift
    limit = (1 << (config.sum_bits - 1)) - 1
    if bound > limit:
        raise CompileError(f"layer {name} sums up to {bound}, more than {config.sum_bits} signed bits hold")
    if task.node.search and task.thresholds is not None and (step := int(np.abs(task.thresholds).max())) > limit:
        raise CompileError(f"layer {name} searches in steps up to {step}, more than {config.sum_bits} signed bits hold")
