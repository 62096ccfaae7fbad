"""Where residual values live: first fit, a layer that adds and keeps in the place of what it adds."""

from __future__ import annotations

from hw.arch.config import Config
from hw.arch.isa import Values
from sw.compiler.lower import Task
from sw.compiler.program import CompileError, TooLarge


def value_words(task: Task, config: Config) -> int:
    """Words of every bank that a layer's values take."""
    row_groups = -(-task.weights.shape[1] // config.channel_lanes)
    return row_groups * -(-task.out_rows * task.out_columns // config.pixel_lanes) * config.chain_channels


def place_values(tasks: list[Task], config: Config, ahead: dict[str, int]) -> dict[str, Values]:
    """`Values` of every layer that adds or keeps; `TooLarge` when they do not fit the value memory.

    Those of a layer in `ahead` may begin up to that many words further on.
    """
    last_use: dict[str, int] = {}
    for step, task in enumerate(tasks):
        last_use[task.node.name] = step
        if task.node.add:
            last_use[task.node.add] = step
    placed: dict[str, Values] = {}
    alive: dict[str, tuple[int, int]] = {}  # first word and end of the values that are still needed
    for step, task in enumerate(tasks):
        node, words = task.node, value_words(task, config)
        if not node.residual:
            continue
        if node.add and node.keep and last_use[node.add] > step:
            raise CompileError(
                f"layer {node.name} keeps its values in the place of those of {node.add}, so {node.add} cannot be "
                f"added once more by {tasks[last_use[node.add]].node.name}")
        base = placed[node.add].base if node.add else _first_fit(words, list(alive.values()))
        if not config.value_depth:
            raise CompileError(
                f"layer {node.name} adds or keeps values, but the configuration has no value memory (value_depth 0)")
        words += ahead.get(node.name, 0)
        if base + words > config.value_depth:
            raise TooLarge(
                f"layer {node.name} keeps {words} words of values per bank after {base} used ones, "
                f"{base + words - config.value_depth} more than the value memory's depth of {config.value_depth}")
        placed[node.name] = Values(base, int(bool(node.add)), int(node.keep), node.shift, int(node.rectify))
        if node.keep:
            alive[node.name] = base, base + words
        alive = {name: span for name, span in alive.items() if last_use[name] > step}
    return placed


def _first_fit(words: int, spans: list[tuple[int, int]]) -> int:
    """Lowest address of `words` words beside the spans."""
    base = 0
    for first, end in sorted(spans):
        if base + words <= first:
            break
        base = max(base, end)
    return base
