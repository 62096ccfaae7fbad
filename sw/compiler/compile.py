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
from sw.compiler.streaming import LayerWords, Part, Placement, place
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


def _layer_words(task: Task, source: Layout, config: Config) -> LayerWords:
    """What the memories hold for a layer that reads a tensor of that layout."""
    row_groups = -(-task.weights.shape[1] // config.channel_lanes)
    taps = [source.tap(dy, dx, n in task.anchors) for position in task.taps for n, (dy, dx) in enumerate(position)]
    shared = len(task.coefficients) == 1
    coefficients = task.coefficients[:, :, -config.N :] if task.fused else task.coefficients
    compared = [_clip(task.thresholds, config)] if task.thresholds is not None else []
    if task.node.residual and task.bias is not None:
        compared.insert(0, task.bias[:, None])
    none = np.zeros((len(task.weights[0]), 0), np.int64)
    images = {
        Space.TAPS: to_bytes(np.array([[tap.pack() for tap in taps]]), config.memories[Space.TAPS].bits),
        Space.WEIGHTS: weight_words(task.placed_weights(config), config),
        Space.COEFFICIENTS: coefficient_words(coefficients, 1 if shared else row_groups, config),
        Space.THRESHOLDS: threshold_words(np.concatenate([none, *compared], axis=1), config),
    }
    unit = config.slices if task.code is not None else 1
    return LayerWords(task.node.name, row_groups, unit, images, frozenset(
        {Space.WEIGHTS, Space.THRESHOLDS} | (set() if shared else {Space.COEFFICIENTS})))


class _Emitter:
    """Collects instructions, stages and the stream of a frame, part by part."""

    def __init__(self, config: Config, plain: dict[str, str], placement: Placement) -> None:
        self.config = config
        self.plain = plain  # planes of each layer before recoding
        self.instructions: list[Packed] = []
        self.stages: list[Stage] = []
        self.stream = b""
        self.result_words = 0
        self._placement = placement
        self._setup: dict[tuple[type[Packed], int], Packed] = {(Values, 0): NO_VALUES}
        self._loads = self._loaded = 0  # chunks for which there is a `Load`, and an `Await`

    @property
    def loaded(self) -> bool:
        """Whether all that a frame loads is there."""
        return self._loaded == len(self._placement.chunks)

    def intake(self, intake: Intake, image: Layout) -> None:
        """Take the image, and begin to load."""
        cycles = self.pack(intake, image) + self._add(Await(), timing.AWAIT)
        self.stages.append(Stage(IMAGE, "pack", f"{IMAGE_PLANES}", 0, 0, cycles + self._load()))

    def pack(self, intake: Intake, image: Layout) -> int:
        return self._set(image.target()) + self._add(intake.pack, timing.PACK)

    def ahead(self, intake: Intake, image: Layout) -> None:
        """Have the next frame's image packed."""
        self.stages.append(Stage(IMAGE, "next image, ahead", f"{IMAGE_PLANES}", 0, 0, self.pack(intake, image)))

    def await_part(self, part: Part) -> int:
        """Have the words of a part there, and others on their way; cycles."""
        cycles = 0
        if part.chunk == self._loaded:
            if not self._placement.ahead:
                cycles += self._load()
            cycles += self._add(Await(), timing.AWAIT)
            self._loaded += 1
            if self._placement.ahead:
                cycles += self._load()
        return cycles

    def layer(self, task: Task, part: Part, source: Layout, out: Layout | None, values: Values) -> int:
        """Compute a part of a layer; cycles."""
        config, place = self.config, part.addresses
        m, co, _, _ = task.weights.shape
        row_groups = -(-co // config.channel_lanes)
        final = part.first + part.groups == row_groups
        read = Source(
            source.base, source.pixel_words, source.channel_words, source.tail_bits, task.rows, task.columns,
            task.stride, task.node.pad)
        walk = Walk(
            task.out_rows * task.out_columns, task.out_columns, source.row_skip(task.out_columns), place[Space.TAPS],
            len(task.taps[0]), len(task.taps), task.repeat)
        setup: list[Packed] = [read, walk]
        if out is not None and task.code is not None:
            target = out.target()
            setup += [replace(target, base=target.base + part.first // config.slices), *_code_table(task.code, config)]
        if values != NO_VALUES:
            words = -(-walk.pixels // config.pixel_lanes) * config.chain_channels  # of a row group
            values = replace(values, base=values.base + part.first * words)
        shared = len(task.coefficients) == 1
        weight_passes, activation_passes = -(-m // config.M), task.activation_passes(config)
        conv = Conv(
            weights=place[Space.WEIGHTS], weight_passes=weight_passes, activation_passes=activation_passes,
            fused=int(task.fused), coefficients=place[Space.COEFFICIENTS],
            coefficient_stride=0 if shared else weight_passes * (1 if task.fused else activation_passes) * config.chain,
            thresholds=place[Space.THRESHOLDS], levels=0 if task.thresholds is None else task.thresholds.shape[1],
            search=int(task.node.search), target_groups=0 if out is None else out.groups, row_groups=part.groups,
            last_channels=co - (row_groups - 1) * config.channel_lanes if final else config.channel_lanes,
            split=int(task.split),
        )
        cycles = sum(self._set(instruction) for instruction in [*setup, values])
        if conv.emits(values):
            self.result_words += part.groups * config.channel_lanes * walk.pixels
        return cycles + self._add(conv, timing.conv_cycles(config, conv, walk, read, values))

    def stage(self, task: Task, parts: int, cycles: int) -> None:
        """Say what a layer took."""
        m, config = len(task.weights), self.config
        planes, plain = f"{m}x{task.planes}", self.plain[task.node.name]
        self.stages.append(Stage(
            name=task.node.name, kernel=task.kernel + (f", {parts} parts" if parts > 1 else ""),
            planes=planes if planes == plain else f"{planes} for {plain}",
            passes=-(-m // config.M) * (1 if task.fused else -(-task.planes // config.N)),
            macs=task.macs, cycles=cycles,
        ))

    def _load(self) -> int:
        """Begin to load the next chunk, if there is one; cycles."""
        if self._loads == len(self._placement.chunks) or self._loads > self._loaded:
            return 0
        chunk = self._placement.chunks[self._loads]
        self._loads += 1
        self.stream += chunk.stream()
        return self._add(chunk.load(), timing.LOAD)

    def _set(self, instruction: Packed) -> int:
        """Set up what is not set up yet; cycles."""
        register = type(instruction), instruction.half if isinstance(instruction, Code) else 0
        if self._setup.get(register) == instruction:
            return 0
        self._setup[register] = instruction
        return self._add(instruction, timing.FETCH)

    def _add(self, instruction: Packed, cycles: int) -> int:
        self.instructions.append(instruction)
        return cycles


def compile(graph: Graph, config: Config, *, recoding: bool = True, streaming: bool = True) -> Program:
    """Compile `graph` for `config`, with `recoding` in as few planes as symmetric coefficients allow (`recode`), with
    `streaming` also if its weights do not fit, so that every frame loads them (`sw.compiler.streaming`).

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
    layers = [checked(task.node.name, lambda task=task: _layer_words(task, layouts[task.source], config))
              for task in tasks]
    placement = place(layers, config, streaming=streaming)
    emitter = _Emitter(config, plain, placement)
    values = place_values(tasks, config)
    checked(IMAGE, lambda: emitter.intake(intake, layouts[IMAGE]))
    read = False  # whether the image was
    for number, task in enumerate(tasks):
        name, cycles = task.node.name, 0
        parts = [part for part in placement.parts if part.layer == number]
        for part in parts:
            cycles += emitter.await_part(part)
            if ahead and read and emitter.loaded:  # nothing else has to come before the next image
                emitter.ahead(intake, layouts[IMAGE])
                ahead = False
            cycles += checked(name, lambda task=task, part=part: emitter.layer(
                task, part, layouts[task.source], layouts.get(task.node.name), values.get(task.node.name, NO_VALUES)))
        emitter.stage(task, len(parts), cycles)
        read |= task.source == IMAGE
    if ahead:
        emitter.ahead(intake, layouts[IMAGE])
    return _finish(graph, config, emitter, placement, intake, tasks[-1], used)


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


def _finish(
    graph: Graph, config: Config, emitter: _Emitter, placement: Placement, intake: Intake, last: Task, used: int
) -> Program:
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
    memories = placement.memories | {Space.PROGRAM: np.frombuffer(words, np.uint8).reshape(1, -1, size)}
    classes = last.weights.shape[1]
    bias = np.zeros(classes, np.int64) if last.bias is None else last.bias
    return Program(
        config=config, instructions=tuple(emitter.instructions), memories=memories,
        stream=np.frombuffer(emitter.stream, np.uint8),
        rows=intake.pack.rows, columns=intake.pack.columns, channels=intake.pack.channels, margin=intake.margin,
        result_words=emitter.result_words, result_index=np.arange(classes), bias=bias,
        stages=tuple(emitter.stages), activation_words=used,
    )
