"""Graph to program: geometry, layouts, memory images, instructions; or one sentence saying what does not fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hw.arch import timing
from hw.arch.config import IMAGE_PLANES, Config, Space
from hw.arch.isa import Code, Conv, End, Pack, Padding, Source, Walk, encode
from hw.arch.packed import FieldError, Packed
from sw.compiler.layout import Layout, allocate, plan
from sw.compiler.memories import coefficient_words, threshold_words, to_bytes, weight_words
from sw.compiler.program import CompileError, Program, Stage
from sw.graph import Conv as ConvNode
from sw.graph import Graph

IMAGE = "image"


@dataclass(frozen=True, eq=False)
class Task:
    """One layer lowered to what the array does: a dense tap list on a source tensor.

    `taps[q]` are the (dy, dx) of pool position q; `weights` has its taps in the same order.
    """

    node: ConvNode
    source: str
    weights: np.ndarray  # uint8 [m, co, taps, ci]
    coefficients: np.ndarray  # int64 [co or 1, m, n], first planes most significant when fused
    thresholds: np.ndarray | None
    code: np.ndarray | None
    bias: np.ndarray | None
    fused: bool
    stride: int  # input pixels per pooled output pixel
    taps: tuple[tuple[tuple[int, int], ...], ...]
    rows: int  # source rows
    columns: int
    out_rows: int
    out_columns: int
    macs: int

    @property
    def out_planes(self) -> int:
        return 0 if self.code is None else self.code.shape[1]

    @property
    def planes(self) -> int:
        return self.coefficients.shape[2]


@dataclass(frozen=True)
class Intake:
    """How the image becomes bit planes: `Pack` and the tensor it makes."""

    pack: Pack
    channels: int
    rows: int
    columns: int
    margin: int


def _intake(graph: Graph, config: Config) -> tuple[Intake, bool]:
    """Pack whole kernel windows into words where they fit, else single pixels; True when windows are packed."""
    readers = [layer for layer in graph.layers if layer.source == IMAGE]
    if len(readers) != 1:
        raise CompileError(f"graph {graph.name} must have one layer that reads the image, not {len(readers)}")
    node, image = readers[0], graph.image
    _, _, ci, kh, kw = node.weights.shape
    if node.padding and node.pad != Padding.LOW:
        raise CompileError(f"layer {node.name} reads the image, so its padding must be LOW, not {node.pad.name}")
    rows, columns = image.rows + 2 * node.padding, image.columns + 2 * node.padding
    windows = kh * kw * ci <= config.word and max(kh, kw) <= 15
    window_rows, window_columns, stride = (kh, kw, node.stride) if windows else (1, 1, 1)
    buffer = window_rows * columns * ci
    if buffer > config.image_depth:
        raise CompileError(
            f"layer {node.name} needs {buffer} bytes of image line buffer, {buffer - config.image_depth} more than the "
            f"{config.image_depth} of the configuration"
        )
    if not windows and ci > config.word:
        raise CompileError(f"image channels must be at most {config.word}, the configuration's word, not {ci}")
    pack = _checked(node.name, lambda: Pack(rows, columns, ci, window_rows, window_columns, stride))
    return Intake(
        pack=pack, channels=window_rows * window_columns * ci, margin=node.padding,
        rows=(rows - window_rows) // stride + 1, columns=(columns - window_columns) // stride + 1,
    ), windows


def _lower(node: ConvNode, shape: tuple[int, int], source: str, config: Config) -> Task:
    """A layer on a tensor of bit planes of `shape` (rows, columns)."""
    m, co, ci, kh, kw = node.weights.shape
    rows, columns = shape
    conv_rows = (rows + 2 * node.padding - kh) // node.stride + 1
    conv_columns = (columns + 2 * node.padding - kw) // node.stride + 1
    out_rows = (conv_rows - node.pool) // node.pool_stride + 1
    out_columns = (conv_columns - node.pool) // node.pool_stride + 1
    taps = tuple(
        tuple((wy * node.stride + ky - node.padding, wx * node.stride + kx - node.padding)
              for ky in range(kh) for kx in range(kw))
        for wy in range(node.pool) for wx in range(node.pool)
    )
    coefficients = node.coefficients if node.coefficients.ndim == 3 else node.coefficients[None]
    n = coefficients.shape[2]
    binary = n > 1 and bool(np.all(coefficients[:, :, :-1] == 2 * coefficients[:, :, 1:]))
    return Task(
        node=node, source=source, weights=node.weights.transpose(0, 1, 3, 4, 2).reshape(m, co, kh * kw, ci),
        coefficients=coefficients, thresholds=node.thresholds, code=node.code, bias=node.bias,
        fused=binary and n % config.N == 0, stride=node.stride * node.pool_stride, taps=taps,
        rows=rows, columns=columns, out_rows=out_rows, out_columns=out_columns,
        macs=out_rows * out_columns * node.pool**2 * m * co * n * ci * kh * kw,
    )


def _lower_image(node: ConvNode, intake: Intake, windows: bool, config: Config) -> Task:
    """The layer that reads the image: windows became channels, and planes a multiple of N.

    Planes added in front are constantly -1; with weight sum W they add -coefficient*W, which moves the thresholds.
    """
    m, co, ci, kh, kw = node.weights.shape
    inner = replace(node, padding=0)
    if windows:
        flat = node.weights.transpose(0, 1, 4, 3, 2).reshape(m, co, kh * kw * ci, 1, 1)
        inner = replace(inner, weights=flat, stride=1)
    task = _lower(inner, (intake.rows, intake.columns), IMAGE, config)
    last = task.coefficients[:, :, -1:]
    if not np.array_equal(task.coefficients, last << np.arange(IMAGE_PLANES - 1, -1, -1)):
        raise CompileError(f"layer {node.name} reads the image, so its coefficients must be a_i * 2^(7-j)")
    planes = -(-IMAGE_PLANES // config.N) * config.N
    extra = (1 << planes) - (1 << IMAGE_PLANES)
    sums = 2 * node.weights.astype(np.int64).sum(axis=(2, 3, 4)) - ci * kh * kw  # [m, co]
    shift = -extra * (last[:, :, 0] * sums.T).sum(axis=1)
    return replace(
        task, fused=True, coefficients=last << np.arange(planes - 1, -1, -1),
        thresholds=None if node.thresholds is None else node.thresholds + shift[:, None],
        bias=None if node.bias is None else node.bias - shift,
    )


def _checked(layer: str, make):  # type: ignore[no-untyped-def]
    """Build an instruction; a field that outgrows the instruction set becomes a compile error of the layer."""
    try:
        return make()
    except FieldError as error:
        raise CompileError(f"layer {layer} does not fit the instruction set: {error}") from None


def _check_numbers(task: Task, config: Config) -> None:
    """Refuse a layer whose accumulators, coefficients or sums could overflow; bounds hold for every input."""
    name = task.node.name
    k = task.weights.shape[2] * task.weights.shape[3]
    groups = -(-task.planes // config.N)
    count = k * (sum(1 << config.N * g for g in range(groups)) if task.fused else 1)
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
    limit = (1 << (config.sum_bits - 1)) - 1
    if bound > limit:
        raise CompileError(f"layer {name} sums up to {bound}, more than {config.sum_bits} signed bits hold")


def _clip(thresholds: np.ndarray, config: Config) -> np.ndarray:
    """Thresholds beyond any sum become the extreme ones that act the same."""
    top = (1 << (config.sum_bits - 1)) - 1
    return np.clip(thresholds, -top - 1, top)


def _code_table(code: np.ndarray, config: Config) -> list[Code]:
    """Both halves of the code table; unused levels hold zero."""
    table = np.zeros((16, 8), np.uint8)
    table[: code.shape[0], : code.shape[1]] = code
    rows = np.packbits(table, axis=1, bitorder="little")[:, 0]
    return [Code(half, int.from_bytes(rows[8 * half : 8 * half + 8].tobytes(), "little")) for half in (0, 1)]


class _Emitter:
    """Collects instructions and memory images, layer by layer."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.instructions: list[Packed] = []
        self.parts: dict[Space, list[np.ndarray]] = {space: [] for space in config.memories}
        self.stages: list[Stage] = []
        self.result_words = 0

    def place(self, space: Space, layer: str, words: np.ndarray) -> int:
        """Append words [banks, count, bytes] to a memory and return their first address."""
        address = sum(part.shape[1] for part in self.parts[space])
        depth = self.config.memories[space].depth
        if address + words.shape[1] > depth:
            raise CompileError(
                f"layer {layer} needs {words.shape[1]} words per bank of {space.name.lower()} memory after {address} "
                f"used ones, {address + words.shape[1] - depth} more than its depth of {depth}"
            )
        self.parts[space].append(words)
        return address

    def intake(self, intake: Intake, image: Layout) -> None:
        self.instructions += [image.target(), intake.pack]
        cycles = timing.pack_cycles(self.config, intake.pack) + timing.FETCH
        self.stages.append(Stage(IMAGE, "pack", f"{IMAGE_PLANES}", 0, 0, cycles))

    def layer(self, task: Task, source: Layout, out: Layout | None) -> None:
        config, name = self.config, task.node.name
        m, co, taps, ci = task.weights.shape
        row_groups = -(-co // config.channel_lanes)
        tap_words = np.array([[source.tap(dy, dx).pack() for position in task.taps for dy, dx in position]])
        tap_base = self.place(Space.TAPS, name, to_bytes(tap_words, config.memories[Space.TAPS].bits))
        shared = len(task.coefficients) == 1
        coefficients = task.coefficients[:, :, -config.N :] if task.fused else task.coefficients
        coefficient_image = coefficient_words(coefficients, 1 if shared else row_groups, config)
        thresholds = 0
        if task.thresholds is not None:
            words = threshold_words(_clip(task.thresholds, config), config)
            thresholds = self.place(Space.THRESHOLDS, name, words)
        read = Source(
            source.base, source.pixel_words, source.channel_words, source.tail_bits, task.rows, task.columns,
            task.stride, task.node.pad)
        walk = Walk(
            task.out_rows * task.out_columns, task.out_columns, source.row_skip(task.out_columns), tap_base, taps,
            len(task.taps))
        setup: list[Packed] = [read, walk]
        if out is not None and task.code is not None:
            setup += [out.target(), *_code_table(task.code, config)]
        conv = Conv(
            weights=self.place(Space.WEIGHTS, name, weight_words(task.weights, config)),
            weight_passes=-(-m // config.M), activation_passes=-(-task.planes // config.N), fused=int(task.fused),
            coefficients=self.place(Space.COEFFICIENTS, name, coefficient_image),
            coefficient_stride=0 if shared else coefficient_image.shape[1] // row_groups,
            thresholds=thresholds, levels=0 if task.thresholds is None else task.thresholds.shape[1],
            target_groups=0 if out is None else out.groups,
            row_groups=row_groups, last_channels=co - (row_groups - 1) * config.channel_lanes,
        )
        self.instructions += [*setup, conv]
        if out is None:
            self.result_words += row_groups * config.channel_lanes * task.out_rows * task.out_columns
        kh, kw = task.node.weights.shape[3:]
        self.stages.append(Stage(
            name=name, kernel=f"{kh}x{kw}" + (f" /{task.node.stride}" if task.node.stride > 1 else ""),
            planes=f"{m}x{task.planes}", passes=conv.weight_passes * (1 if task.fused else conv.activation_passes),
            macs=task.macs, cycles=timing.conv_cycles(config, conv, walk, read) + timing.FETCH * len(setup),
        ))


def compile(graph: Graph, config: Config) -> Program:
    """Compile `graph` for `config`.

    Raises `CompileError` with one sentence when a layer does not fit a memory (how much is missing) or an
    arithmetic width, or uses what this accelerator does not do.
    """
    intake, windows = _intake(graph, config)
    tasks: list[Task] = []
    shapes: dict[str, tuple[int, int]] = {}
    for node in graph.layers:
        task = (_lower_image(node, intake, windows, config) if node.source == IMAGE
                else _checked(node.name, lambda node=node: _lower(node, shapes[node.source], node.source, config)))
        _check_numbers(task, config)
        shapes[node.name] = (task.out_rows, task.out_columns)
        tasks.append(task)
    if [task.node.name for task in tasks if task.code is None] != [tasks[-1].node.name]:
        raise CompileError(f"graph {graph.name} must emit integers in its last layer and only there")
    if shapes[tasks[-1].node.name] != (1, 1):
        raise CompileError(f"layer {tasks[-1].node.name} must have one output pixel, not {shapes[tasks[-1].node.name]}")

    layouts = _layouts(tasks, intake, config)
    used = max(layout.base + layout.words for layout in layouts.values())
    if used > config.activation_depth:
        worst = max(layouts, key=lambda name: layouts[name].words)
        raise CompileError(
            f"layer {worst} makes {layouts[worst].words} words per bank; with it activations need {used}, "
            f"{used - config.activation_depth} more than the activation memory's depth of {config.activation_depth}"
        )
    emitter = _Emitter(config)
    _checked(IMAGE, lambda: emitter.intake(intake, layouts[IMAGE]))
    for task in tasks:
        out = layouts.get(task.node.name)
        _checked(task.node.name, lambda task=task, out=out: emitter.layer(task, layouts[task.source], out))
    return _finish(graph, config, emitter, intake, tasks[-1], used)


def _layouts(tasks: list[Task], intake: Intake, config: Config) -> dict[str, Layout]:
    """Layouts of all tensors, each shaped for its readers and placed in the activation memory."""
    tensors = {IMAGE: (intake.rows, intake.columns, intake.channels, tasks[0].planes)}
    births, deaths = {IMAGE: 0}, {IMAGE: 0}
    for step, task in enumerate(tasks, 1):
        name = task.node.name
        if task.code is not None:
            tensors[name] = (task.out_rows, task.out_columns, task.weights.shape[1], task.out_planes)
        births[name] = deaths[name] = step
        deaths[task.source] = step
    layouts: dict[str, Layout] = {}
    for name, (rows, columns, channels, planes) in tensors.items():
        plans = {plan(config, rows, columns, channels, planes, t.stride, t.out_rows, t.out_columns)
                 for t in tasks if t.source == name}
        if len(plans) != 1:
            raise CompileError(f"tensor {name} must be read with one stride and output width, not {len(plans)}")
        layouts[name] = plans.pop()
    return allocate(layouts, births, deaths)


def _finish(graph: Graph, config: Config, emitter: _Emitter, intake: Intake, last: Task, used: int) -> Program:
    """Close the program: instructions into their memory, result order, capacity of what is left."""
    emitter.instructions.append(End())
    emitter.stages.append(Stage("end", "", "", 0, 0, timing.END))
    if len(emitter.instructions) > config.program_depth:
        raise CompileError(
            f"graph {graph.name} needs {len(emitter.instructions)} instructions, "
            f"{len(emitter.instructions) - config.program_depth} more than the program memory's {config.program_depth}"
        )
    if emitter.result_words > config.result_depth:
        raise CompileError(
            f"layer {last.node.name} emits {emitter.result_words} integers, "
            f"{emitter.result_words - config.result_depth} more than the result memory's {config.result_depth}"
        )
    size = config.memories[Space.PROGRAM].bytes_per_word
    words = b"".join(encode(i).to_bytes(size, "little") for i in emitter.instructions)
    memories = {space: np.concatenate(parts, axis=1) for space, parts in emitter.parts.items() if parts}
    memories[Space.PROGRAM] = np.frombuffer(words, np.uint8).reshape(1, -1, size)
    classes = last.weights.shape[1]
    bias = np.zeros(classes, np.int64) if last.bias is None else last.bias
    return Program(
        config=config, instructions=tuple(emitter.instructions), memories=memories,
        rows=intake.pack.rows, columns=intake.pack.columns, channels=intake.pack.channels, margin=intake.margin,
        result_words=emitter.result_words, result_index=np.arange(classes), bias=bias,
        stages=tuple(emitter.stages), activation_words=used,
    )
