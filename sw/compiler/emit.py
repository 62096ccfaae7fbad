"""Instructions of a frame, in their order, with the cycles and the stream that go with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hw.arch import timing
from hw.arch.config import IMAGE_PLANES, Config, Space
from hw.arch.isa import NO_VALUES, Await, Code, Conv, Source, Values, Walk
from hw.arch.packed import Packed
from sw.compiler.layout import Layout
from sw.compiler.lower import Task, checked
from sw.compiler.program import Stage
from sw.compiler.streaming import Part, Placement
from sw.compiler.tiling import Band, Tiling
from sw.graph import IMAGE


@dataclass(frozen=True)
class Plan:
    """Where everything is, and until after which layer the image's words belong to it alone."""

    layouts: dict[str, Layout]
    image_until: int
    values: dict[str, Values]
    placement: Placement
    taps: list[list[int]]  # of every layer and band, the first of those it uses


class Emitter:
    """Collects instructions and the stream of a frame, part by part."""

    def __init__(self, config: Config, placement: Placement, image: Layout) -> None:
        self.config = config
        self.instructions: list[Packed] = []
        self.stream = b""
        self.result_words = 0
        self._placement, self._image = placement, image
        self._setup: dict[tuple[type[Packed], int], Packed] = {(Values, 0): NO_VALUES}
        self._loads = self._loaded = 0  # chunks for which there is a `Load`, and an `Await`

    @property
    def loaded(self) -> bool:
        """Whether all that a frame loads is there."""
        return self._loaded == len(self._placement.chunks)

    def pack(self, band: Band) -> int:
        """Have a band's part of the image packed; cycles."""
        return self._set(self._image.target()) + self._add(band.pack, timing.PACK)

    def take(self, final: bool) -> int:
        """Take what was packed, and begin to load if it is the `final` part of the image; cycles."""
        return self._add(Await(), timing.AWAIT) + (self._load() if final else 0)

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

    def layer(
        self, task: Task, part: Part, source: Layout, out: Layout | None, values: Values, *, taps: int, begin: int,
        added: int,
    ) -> int:
        """Compute a part of a layer; cycles.

        Its taps are `taps` words into those of the layer, its rows begin with row `begin` of the tensor `out`, and its
        values `added` rows behind the first ones.
        """
        config, place = self.config, part.addresses
        m, co, _, _ = task.weights.shape
        row_groups = -(-co // config.channel_lanes)
        final = part.first + part.groups == row_groups
        read = Source(
            source.base, source.pixel_words, source.channel_words, source.tail_bits, task.rows, task.columns,
            task.stride, task.node.pad)
        walk = Walk(
            task.out_rows * task.out_columns, task.out_columns, source.row_skip(task.out_columns),
            place[Space.TAPS] + taps, len(task.taps[0]), len(task.taps), task.repeat)
        setup: list[Packed] = [read, walk]
        if out is not None and task.code is not None:
            target = out.target()
            base = target.base + part.first // config.slices + out.before(begin)
            setup += [replace(target, base=base), *_code_table(task.code)]
        if values != NO_VALUES:
            words = -(-walk.pixels // config.pixel_lanes) * config.chain_channels  # of a row group
            before = added * task.out_columns // config.pixel_lanes * config.chain_channels
            values = replace(values, base=values.base + part.first * words + before)
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


@dataclass(eq=False)
class Cycles:
    """What a frame takes: for its image, for that of the next frame, for each layer."""

    layers: list[int]
    image: int = 0
    ahead: int = 0


def emit_layers(tiling: Tiling, plan: Plan, emitter: Emitter) -> Cycles:
    """All but the end of a frame: band by band the tiled layers, then the others."""
    count = tiling.tiled + len(tiling.rest)
    early, on = plan.image_until >= tiling.tiled, plan.image_until == count
    cycles = Cycles([0] * count)
    cycles.image = checked(IMAGE, lambda: emitter.pack(tiling.bands[0]))
    for number, band in enumerate(tiling.bands):
        final, read = band is tiling.bands[-1], False
        cycles.image += emitter.take(final)
        due = number + 1 if not final else 0 if on else None  # the band that is packed next
        for layer, task in enumerate([*band.tasks, *(tiling.rest if final else ())]):
            for part in (part for part in plan.placement.parts if part.layer == layer):
                cycles.layers[layer] += emitter.await_part(part)
                if due is not None and early and read and (emitter.loaded or not final):
                    _pack(tiling.bands, due, emitter, cycles)  # nothing else has to come before it
                    due = None
                cycles.layers[layer] += _layer(tiling, plan, emitter, number, layer, part, task)
            read |= task.source == IMAGE
        if due is not None:
            _pack(tiling.bands, due, emitter, cycles)
    return cycles


def _pack(bands: tuple[Band, ...], due: int, emitter: Emitter, cycles: Cycles) -> None:
    """Have a band packed, or the first one of the next frame."""
    if due:
        cycles.image += emitter.pack(bands[due])
    else:
        cycles.ahead += emitter.pack(bands[due])


def _layer(tiling: Tiling, plan: Plan, emitter: Emitter, number: int, layer: int, part: Part, task: Task) -> int:
    """A part of a layer, in band `number` if it is tiled; cycles."""
    name, band = task.node.name, tiling.bands[number]
    last = layer == tiling.tiled - 1
    return checked(name, lambda: emitter.layer(
        task, part, plan.layouts[task.source], plan.layouts.get(name), plan.values.get(name, NO_VALUES),
        taps=plan.taps[layer][number if layer < tiling.tiled else 0], begin=band.begin if last else 0,
        added=band.added if last else 0))


def image_stage(cycles: int, ahead: bool = False) -> Stage:
    """What taking the image costs, or having the next one packed."""
    return Stage(IMAGE, "next image, ahead" if ahead else "pack", f"{IMAGE_PLANES}", 0, 0, cycles)


def layer_stage(task: Task, plain: str, config: Config, cycles: int, notes: list[str]) -> Stage:
    """What a layer takes; `plain` are its planes before recoding."""
    m = len(task.weights)
    planes = f"{m}x{task.planes}"
    return Stage(
        name=task.node.name, kernel=", ".join([task.kernel, *notes]),
        planes=planes if planes == plain else f"{planes} for {plain}",
        passes=-(-m // config.M) * (1 if task.fused else -(-task.planes // config.N)), macs=task.macs, cycles=cycles)


def _code_table(code: np.ndarray) -> list[Code]:
    """Both halves of the code table; unused levels hold zero."""
    table = np.zeros((16, 8), np.uint8)
    table[: code.shape[0], : code.shape[1]] = code
    rows = np.packbits(table, axis=1, bitorder="little")[:, 0]
    return [Code(half, int.from_bytes(rows[8 * half : 8 * half + 8].tobytes(), "little")) for half in (0, 1)]
