"""Graph to program: geometry, layouts, memory images, instructions; or one sentence saying what does not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hw.arch import timing
from hw.arch.config import Config, Space
from hw.arch.isa import End, encode
from sw.compiler.emit import Emitter, Plan, emit_layers, image_stage, layer_stage
from sw.compiler.layout import Layout, allocate, plan
from sw.compiler.lower import Intake, Task, check_numbers, checked, image_intake, lower, lower_image
from sw.compiler.memories import layer_words, tap_words
from sw.compiler.pace import frame_cycles
from sw.compiler.program import CompileError, Program, Stage, TooLarge
from sw.compiler.recode import recode
from sw.compiler.streaming import LayerWords, place
from sw.compiler.tiling import Tiling, tilings, whole
from sw.compiler.values import place_values
from sw.graph import IMAGE, Graph

TRIES = 4  # of every cut, from the fewest bands that fit on


def compile(
    graph: Graph, config: Config, *, recoding: bool = True, streaming: bool = True, tiling: bool = True
) -> Program:
    """Compile `graph` for `config`, with `recoding` in as few planes as symmetric coefficients allow (`recode`), with
    `streaming` also if its weights do not fit, so that every frame loads them (`sw.compiler.streaming`), with `tiling`
    also if its tensors do not fit, in bands of rows (`sw.compiler.tiling`).

    Raises `CompileError` with one sentence when a layer does not fit a memory (how much is missing) or an
    arithmetic width, or uses what this accelerator does not do.
    """
    plain = {layer.name: f"{layer.weight_planes}x{layer.source_planes}" for layer in graph.layers}
    builder = _Builder(recode(graph) if recoding else graph, config, plain, streaming)
    try:
        return builder.build(whole(builder.tasks, builder.intake))
    except TooLarge as error:
        if not tiling:
            raise
        return _tiled(builder, error)


def _tiled(builder: _Builder, refusal: TooLarge) -> Program:
    """The fastest of the programs that run layers in bands; `CompileError` with the refusal if there is none."""
    found: list[Program] = []
    complaint = ""
    for choices in tilings(builder.tasks, builder.intake, builder.config):
        tries = 0
        for choice in choices:
            try:
                found.append(builder.build(choice))
                tries += 1
            except TooLarge:
                continue
            except CompileError as error:
                complaint = complaint or f"; in bands of rows {error}"
                break  # more bands need more
            if tries == TRIES:
                break
    if not found:
        raise CompileError(f"{refusal}{complaint or ', in bands of rows too'}") from None
    return min(found, key=lambda program: (frame_cycles(program), program.predicted_cycles))


class _Builder:
    """Makes programs of a graph, whole or in bands."""

    def __init__(self, graph: Graph, config: Config, plain: dict[str, str], streaming: bool) -> None:
        self.graph, self.config, self.plain, self.streaming = graph, config, plain, streaming
        self.intake = image_intake(graph, config)
        self.tasks: list[Task] = []
        shapes: dict[str, tuple[int, int]] = {}
        for node in graph.layers:
            task = (lower_image(node, self.intake, config) if node.source == IMAGE
                    else checked(node.name, lambda node=node: lower(node, shapes[node.source], node.source, config)))
            check_numbers(task, config)
            shapes[node.name] = (task.out_rows, task.out_columns)
            self.tasks.append(task)
        self._words: list[LayerWords] = []

    def build(self, tiling: Tiling) -> Program:
        """The program; `TooLarge` if tensors or values do not fit."""
        plan = self._plan(tiling)
        emitter = Emitter(self.config, plan.placement, plan.layouts[IMAGE])
        cycles = emit_layers(tiling, plan, emitter)
        stages = [image_stage(cycles.image)]
        for layer, task in enumerate(self.tasks):
            parts = sum(part.layer == layer for part in plan.placement.parts)
            notes = [f"{parts} parts"] if parts > 1 else []
            if len(tiling.bands) > 1 and layer < tiling.tiled:
                rows = sum(band.tasks[layer].out_rows for band in tiling.bands)
                again = f" +{rows / task.out_rows - 1:.0%}" if rows > task.out_rows else ""
                notes.append(f"{len(tiling.bands)} bands{again}")
            stages.append(layer_stage(task, self.plain[task.node.name], self.config, cycles.layers[layer], notes))
        return _finish(self, tiling, plan, emitter, [
            *stages, *([image_stage(cycles.ahead, ahead=True)] if cycles.ahead else [])])

    def _plan(self, tiling: Tiling) -> Plan:
        config, tasks = self.config, tiling.largest
        layouts, image_until = _place_tensors(tiling, tasks, self.intake, config)
        last, added = tasks[tiling.tiled - 1], max(band.added for band in tiling.bands)
        ahead = added * last.out_columns // config.pixel_lanes * config.chain_channels
        values = place_values(tasks, config, {last.node.name: ahead})
        self._words = self._words or [layer_words(task, config) for task in tasks]
        versions = [*zip(*(band.tasks for band in tiling.bands), strict=True), *((task,) for task in tiling.rest)]
        taps = [checked(tasks[0].node.name, lambda tasks=tasks: tap_words(tasks, layouts[tasks[0].source]))
                for tasks in versions]
        layers = [replace(words, images=words.images | {Space.TAPS: image})
                  for words, (image, _) in zip(self._words, taps, strict=True)]
        stay = tiling.tiled if len(tiling.bands) > 1 else 0
        placement = place(layers, config, streaming=self.streaming, stay=stay)
        return Plan(layouts, image_until, values, placement, [places for _, places in taps])


def _used(layouts: dict[str, Layout]) -> int:
    """Activation words per bank that the tensors reach."""
    return max(layout.base + layout.words for layout in layouts.values())


def _place_tensors(
    tiling: Tiling, tasks: list[Task], intake: Intake, config: Config
) -> tuple[dict[str, Layout], int]:
    """Layouts of all tensors, and until after which layer the image shares its words with none of them.

    With the image's words to itself, the next image is packed while layers run: that of the next frame if it has them
    to the end, that of the next band if it has them as long as there are bands. `TooLarge` if there is no room.
    """
    reader = 1 + next(step for step, task in enumerate(tasks) if task.source == IMAGE)
    for until in sorted({len(tasks), tiling.tiled, reader}, reverse=True):
        layouts = _layouts(tiling, tasks, intake, config, until)
        if (used := _used(layouts)) <= config.activation_depth:
            return layouts, until
    worst = max(layouts, key=lambda name: layouts[name].words)
    raise TooLarge(
        f"layer {worst} makes {layouts[worst].words} words per bank; with it activations need {used}, "
        f"{used - config.activation_depth} more than the activation memory's depth of {config.activation_depth}")


def _layouts(tiling: Tiling, tasks: list[Task], intake: Intake, config: Config, until: int) -> dict[str, Layout]:
    """Layouts of all tensors, each shaped for its readers and placed in the activation memory."""
    image = next(task for task in tasks if task.source == IMAGE)
    words = image.activation_passes(config)
    tensors = {IMAGE: (tiling.windows, intake.columns, intake.channels, words * config.N)}
    births, deaths = {IMAGE: 0}, {IMAGE: 0}
    for step, task in enumerate(tasks, 1):
        name, whole = task.node.name, step == tiling.tiled
        if task.code is not None:
            rows = tiling.rows if whole else task.out_rows
            tensors[name] = (rows, task.out_columns, task.weights.shape[1], task.out_planes)
        births[name] = 0 if whole and len(tiling.bands) > 1 else step  # every band writes its part
        deaths[name] = step
        deaths[task.source] = step
    deaths[IMAGE] = max(deaths[IMAGE], until)
    layouts: dict[str, Layout] = {}
    for name, (rows, columns, channels, planes) in tensors.items():
        plans = {plan(config, rows, columns, channels, planes, t.stride, t.out_rows, t.out_columns)
                 for t in tasks if t.source == name}
        if len(plans) != 1:
            raise CompileError(f"tensor {name} must be read with one stride and output width, not {len(plans)}")
        layouts[name] = plans.pop()
    return allocate(layouts, births, deaths)


def _finish(builder: _Builder, tiling: Tiling, plan: Plan, emitter: Emitter, stages: list[Stage]) -> Program:
    """Close the program: instructions into their memory, result order, capacity of what is left."""
    config, intake, last = builder.config, builder.intake, builder.tasks[-1]
    emitter.instructions.append(End())
    stages.append(Stage("end", "", "", 0, 0, timing.END))
    if len(emitter.instructions) > config.program_depth:
        raise CompileError(
            f"graph {builder.graph.name} needs {len(emitter.instructions)} instructions, "
            f"{len(emitter.instructions) - config.program_depth} more than the program memory's {config.program_depth}"
        )
    if emitter.result_words > config.result_depth:
        raise CompileError(
            f"layer {last.node.name} emits {emitter.result_words} integers, "
            f"{emitter.result_words - config.result_depth} more than the result memory's {config.result_depth}"
        )
    size = config.memories[Space.PROGRAM].bytes_per_word
    words = b"".join(encode(i).to_bytes(size, "little") for i in emitter.instructions)
    memories = plan.placement.memories | {Space.PROGRAM: np.frombuffer(words, np.uint8).reshape(1, -1, size)}
    classes = last.weights.shape[1]
    bias = np.zeros(classes, np.int64) if last.bias is None else last.bias
    return Program(
        config=config, instructions=tuple(emitter.instructions), memories=memories,
        stream=np.frombuffer(emitter.stream, np.uint8),
        rows=intake.pack.rows, columns=intake.pack.columns, channels=intake.pack.channels, margin=intake.margin,
        bands=tuple((band.first, band.pack.rows) for band in tiling.bands),
        result_words=emitter.result_words, result_index=np.arange(classes), bias=bias,
        stages=tuple(stages), activation_words=_used(plan.layouts),
    )
