"""Graph to program: geometry, layouts, memory images, instructions; or one sentence saying what does not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hw.arch import timing
from hw.arch.config import IMAGE_PLANES, Config, Space
from hw.arch.isa import NO_VALUES, Await, Code, Conv, End, Source, Values, Walk, encode
from hw.arch.packed import Packed
from sw.compiler.layout import Layout, allocate, plan
from sw.compiler.lower import Intake, Task, check_numbers, checked, image_intake, lower, lower_image
from sw.compiler.memories import coefficient_words, threshold_words, to_bytes, weight_words
from sw.compiler.program import CompileError, Program, Stage
from sw.compiler.recode import recode
from sw.compiler.values import place_values
from sw.graph import IMAGE, Graph


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

    def __init__(self, config: Config, plain: dict[str, str]) -> None:
        self.config = config
        self.plain = plain  # planes of each layer before recoding
        self.instructions: list[Packed] = []
        self.parts: dict[Space, list[np.ndarray]] = {space: [] for space in config.memories}
        self.stages: list[Stage] = []
        self.values = NO_VALUES
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
        self.pack(intake, image, "pack")
        self.instructions.append(Await())
        self.stages[-1] = replace(self.stages[-1], cycles=self.stages[-1].cycles + timing.AWAIT)

    def pack(self, intake: Intake, image: Layout, kernel: str) -> None:
        self.instructions += [image.target(), intake.pack]
        self.stages.append(Stage(IMAGE, kernel, f"{IMAGE_PLANES}", 0, 0, timing.FETCH + timing.PACK))

    def layer(self, task: Task, source: Layout, out: Layout | None, values: Values) -> None:
        config, name = self.config, task.node.name
        m, co, _, _ = task.weights.shape
        row_groups = -(-co // config.channel_lanes)
        taps = [source.tap(dy, dx, n in task.anchors) for position in task.taps for n, (dy, dx) in enumerate(position)]
        tap_words = np.array([[tap.pack() for tap in taps]])
        tap_base = self.place(Space.TAPS, name, to_bytes(tap_words, config.memories[Space.TAPS].bits))
        shared = len(task.coefficients) == 1
        coefficients = task.coefficients[:, :, -config.N :] if task.fused else task.coefficients
        coefficient_image = coefficient_words(coefficients, 1 if shared else row_groups, config)
        thresholds = 0
        levels = 0 if task.thresholds is None else task.thresholds.shape[1]
        compared = [_clip(task.thresholds, config)] if task.thresholds is not None else []
        if task.node.residual and task.bias is not None:
            compared.insert(0, task.bias[:, None])
        if compared:
            thresholds = self.place(Space.THRESHOLDS, name, threshold_words(np.concatenate(compared, axis=1), config))
        read = Source(
            source.base, source.pixel_words, source.channel_words, source.tail_bits, task.rows, task.columns,
            task.stride, task.node.pad)
        walk = Walk(
            task.out_rows * task.out_columns, task.out_columns, source.row_skip(task.out_columns), tap_base,
            len(task.taps[0]), len(task.taps), task.repeat)
        setup: list[Packed] = [read, walk]
        if out is not None and task.code is not None:
            setup += [out.target(), *_code_table(task.code, config)]
        if values != self.values:
            setup.append(values)
            self.values = values
        conv = Conv(
            weights=self.place(Space.WEIGHTS, name, weight_words(task.placed_weights(config), config)),
            weight_passes=-(-m // config.M), activation_passes=task.activation_passes(config), fused=int(task.fused),
            coefficients=self.place(Space.COEFFICIENTS, name, coefficient_image),
            coefficient_stride=0 if shared else coefficient_image.shape[1] // row_groups,
            thresholds=thresholds, levels=levels, search=int(task.node.search),
            target_groups=0 if out is None else out.groups,
            row_groups=row_groups, last_channels=co - (row_groups - 1) * config.channel_lanes, split=int(task.split),
        )
        self.instructions += [*setup, conv]
        if conv.emits(values):
            self.result_words += row_groups * config.channel_lanes * task.out_rows * task.out_columns
        planes = f"{m}x{task.planes}"
        self.stages.append(Stage(
            name=name, kernel=task.kernel,
            planes=planes if planes == self.plain[name] else f"{planes} for {self.plain[name]}",
            passes=conv.weight_passes * (1 if task.fused else conv.activation_passes),
            macs=task.macs, cycles=timing.conv_cycles(config, conv, walk, read, values) + timing.FETCH * len(setup),
        ))


def compile(graph: Graph, config: Config, *, recoding: bool = True) -> Program:
    """Compile `graph` for `config`, with `recoding` in as few planes as symmetric coefficients allow (`recode`).

    Raises `CompileError` with one sentence when a layer does not fit a memory (how much is missing) or an
    arithmetic width, or uses what this accelerator does not do.
    """
    plain = {layer.name: f"{layer.weight_planes}x{layer.source_planes}" for layer in graph.layers}
    if recoding:
        graph = recode(graph)
    intake = image_intake(graph, config)
    tasks: list[Task] = []
    shapes: dict[str, tuple[int, int]] = {}
    for node in graph.layers:
        task = (lower_image(node, intake, config) if node.source == IMAGE
                else checked(node.name, lambda node=node: lower(node, shapes[node.source], node.source, config)))
        check_numbers(task, config)
        shapes[node.name] = (task.out_rows, task.out_columns)
        tasks.append(task)

    # With the image's words to itself, the next image is packed while this one's later layers run.
    ahead = True
    layouts = _layouts(tasks, intake, config, ahead)
    if (used := _used(layouts)) > config.activation_depth:
        ahead = False
        layouts = _layouts(tasks, intake, config, ahead)
    if (used := _used(layouts)) > config.activation_depth:
        worst = max(layouts, key=lambda name: layouts[name].words)
        raise CompileError(
            f"layer {worst} makes {layouts[worst].words} words per bank; with it activations need {used}, "
            f"{used - config.activation_depth} more than the activation memory's depth of {config.activation_depth}"
        )
    emitter = _Emitter(config, plain)
    values = place_values(tasks, config)
    checked(IMAGE, lambda: emitter.intake(intake, layouts[IMAGE]))
    for task in tasks:
        out = layouts.get(task.node.name)
        kept = values.get(task.node.name, NO_VALUES)
        checked(task.node.name, lambda task=task, out=out, kept=kept: emitter.layer(
            task, layouts[task.source], out, kept))
        if ahead and task.source == IMAGE:
            emitter.pack(intake, layouts[IMAGE], "next image, ahead")
    return _finish(graph, config, emitter, intake, tasks[-1], used)


def _used(layouts: dict[str, Layout]) -> int:
    """Activation words per bank that the tensors reach."""
    return max(layout.base + layout.words for layout in layouts.values())


def _layouts(tasks: list[Task], intake: Intake, config: Config, ahead: bool) -> dict[str, Layout]:
    """Layouts of all tensors, each shaped for its readers and placed in the activation memory.

    `ahead`: the image shares its words with no other tensor.
    """
    image = next(task for task in tasks if task.source == IMAGE)
    words = image.activation_passes(config)
    tensors = {IMAGE: (intake.rows, intake.columns, intake.channels, words * config.N)}
    births, deaths = {IMAGE: 0}, {IMAGE: 0}
    for step, task in enumerate(tasks, 1):
        name = task.node.name
        if task.code is not None:
            tensors[name] = (task.out_rows, task.out_columns, task.weights.shape[1], task.out_planes)
        births[name] = deaths[name] = step
        deaths[task.source] = step
    if ahead:
        deaths[IMAGE] = len(tasks)
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
