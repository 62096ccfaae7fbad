"""Model files (`.abacus`): a network, a golden sample of what it computes and, optionally, its compiled program.

The container (`sw.container`) checks bytes, lengths and checksums; this file checks that the content makes sense.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np

from hw.arch import isa
from hw.arch.config import Config, Space
from hw.arch.packed import Packed
from sw import container
from sw.compiler import Program, Stage
from sw.errors import AbacusError, ArtifactError
from sw.graph import Graph

SUFFIX = ".abacus"
T = TypeVar("T")
_COUNTS = ("rows", "columns", "channels", "margin", "result_words", "activation_words")


@dataclass(frozen=True, eq=False)
class Model:
    """What a model file holds.

    Parameters
    ----------
    graph : Graph
    golden_images : uint8 [B, rows, columns, channels], B >= 0
    golden_logits : int64 [B, classes], the exact integers for these images
    program : Program or None, `graph` compiled for `program.config`

    Raises `ArtifactError` when the parts do not fit each other.
    """

    graph: Graph
    golden_images: np.ndarray
    golden_logits: np.ndarray
    program: Program | None = None

    def __post_init__(self) -> None:
        image = self.graph.image
        shape = (len(self.golden_images), image.rows, image.columns, image.channels)
        _check_array("golden images", self.golden_images, "uint8", shape)
        _check_array("golden logits", self.golden_logits, "int64", (shape[0], len(self.graph.classes)))
        if self.program is not None:
            program, margin = self.program, 2 * self.program.margin
            seen = (program.rows - margin, program.columns - margin, program.channels)
            if seen != shape[1:] or len(program.bias) != len(self.graph.classes):
                raise ArtifactError(
                    f"program must take images of shape {shape[1:]} to {len(self.graph.classes)} classes, "
                    f"not {seen} to {len(program.bias)}"
                )


def save(path: str | Path, model: Model) -> None:
    """Write a model file; `path` holds the old content or the new one at any time, never a part."""
    path = Path(path)
    header, arrays = model.graph.to_sections()
    sections = {f"graph/{name}": array for name, array in arrays.items()}
    sections["golden/images"], sections["golden/logits"] = model.golden_images, model.golden_logits
    content: dict[str, Any] = {"graph": header, "program": None}
    if model.program is not None:
        content["program"], arrays = _program_sections(model.program)
        sections |= {f"program/{name}": array for name, array in arrays.items()}
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(container.dump(content, sections))
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ArtifactError(f"model file {path} cannot be written: {error.strerror or error}") from None


def load(path: str | Path) -> Model:
    """Read a model file. `ArtifactError`, one sentence naming the file, for whatever is wrong with it."""
    content, arrays = container.read(path)
    try:
        return _model(content, arrays)
    except ArtifactError as error:
        raise ArtifactError(f"model file {path}: {error}") from None


def parse(data: bytes) -> Model:
    """The content of a model file as a model; `ArtifactError` for whatever is wrong with it."""
    return _model(*container.parse(data))


def save_graph(
    path: str | Path, graph: Graph, golden_images: np.ndarray, golden_logits: np.ndarray | None = None
) -> None:
    """Write `graph` with a golden sample; without logits they are computed by the integer reference (needs torch)."""
    if golden_logits is None:
        from sw.abcnet.reference import reference

        golden_logits = np.asarray(reference(graph, golden_images).logits)
    save(path, Model(graph, np.asarray(golden_images), golden_logits.astype(np.int64)))


def _model(content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Model:
    if set(content) != {"graph", "program"}:
        raise ArtifactError(f"its content must be graph and program, not {', '.join(sorted(content))[:200]}")
    groups: dict[str, dict[str, np.ndarray]] = {"graph": {}, "golden": {}, "program": {}}
    for name, array in arrays.items():
        group, slash, rest = name.partition("/")
        if group not in groups or not slash:
            raise ArtifactError(f"section {name!r} belongs to none of {', '.join(groups)}")
        groups[group][rest] = array
    if set(groups["golden"]) != {"images", "logits"}:
        raise ArtifactError(f"golden sample must be images and logits, not {sorted(groups['golden'])}")
    graph = _guarded("graph", lambda: Graph.from_sections(content["graph"], groups["graph"]))
    program = None
    if content["program"] is not None:
        program = _guarded("program", lambda: _program(content["program"], groups["program"]))
    elif groups["program"]:
        raise ArtifactError("program sections are there, but no program")
    return Model(graph, groups["golden"]["images"], groups["golden"]["logits"], program)


def _guarded(what: str, build: Callable[[], T]) -> T:
    """Build from untrusted values: whatever a wrong type or missing key raises becomes one sentence."""
    try:
        return build()
    except ArtifactError:
        raise
    except (AbacusError, ValueError) as error:
        raise ArtifactError(f"its {what} is not valid: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ArtifactError(f"its {what} is not valid: {type(error).__name__}: {error}") from None


def _program_sections(program: Program) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    header: dict[str, Any] = {name: getattr(program, name) for name in _COUNTS}
    header["config"] = program.config.to_json()
    header["digest"] = program.config.digest.hex()
    header["bands"] = program.bands
    header["stages"] = [dataclasses.asdict(stage) for stage in program.stages]
    arrays = {space.name.lower(): words for space, words in program.memories.items()}
    return header, arrays | {"result_index": program.result_index, "bias": program.bias, "stream": program.stream}


def _program(header: Any, arrays: dict[str, np.ndarray]) -> Program:
    expected = {*_COUNTS, "bands", "config", "digest", "stages"}
    if not isinstance(header, dict) or set(header) != expected:
        raise ArtifactError(f"program header must have the keys {', '.join(sorted(expected))}")
    for name in _COUNTS:
        if type(header[name]) is not int or not 0 <= header[name] < 1 << 20:
            raise ArtifactError(f"program {name} must be an integer in 0..{(1 << 20) - 1}, not {header[name]!r:.60}")
    if not isinstance(header["stages"], list) or not header["stages"]:
        raise ArtifactError("program stages must be a list of one or more")
    config = Config.from_json(header["config"])
    if config.digest.hex() != header["digest"]:
        raise ArtifactError(f"program is for configuration {header['digest']!r:.40}, but holds {config.digest.hex()}")
    if not header["result_words"] <= config.result_depth:
        raise ArtifactError(f"program must have at most {config.result_depth} results, not {header['result_words']}")
    arrays = dict(arrays)
    for name in ("result_index", "bias", "stream"):
        if name not in arrays:
            raise ArtifactError(f"program has no section {name}: compile the model again")
    index, bias, stream = (arrays.pop(name) for name in ("result_index", "bias", "stream"))
    _check_array("program bias", bias, "int64", (len(bias),))
    _check_array("program result_index", index, "int64", (len(bias),))
    if len(index) and not 0 <= index.min() <= index.max() < header["result_words"]:
        raise ArtifactError(f"program result_index must be in 0..{header['result_words'] - 1}")
    _check_array("program stream", stream, "uint8", (len(stream),))
    memories = {Space[name.upper()]: _memory(name, words, config) for name, words in arrays.items()}
    words = memories[Space.PROGRAM][0]
    instructions = tuple(isa.decode(int.from_bytes(w.tobytes(), "little")) for w in words)
    loaded = sum(load.stream_bytes(config) for load in instructions if isinstance(load, isa.Load))
    if len(stream) != loaded:
        raise ArtifactError(f"program stream must be the {loaded} bytes that its instructions load, not {len(stream)}")
    return Program(
        config=config, instructions=instructions, memories=memories, stream=stream, result_index=index, bias=bias,
        bands=_bands(header, instructions), stages=tuple(_stage(s) for s in header["stages"]),
        **{name: header[name] for name in _COUNTS},
    )


def _bands(header: dict[str, Any], instructions: tuple[Packed, ...]) -> tuple[tuple[int, int], ...]:
    """First row and rows of every part of the image, in the order in which instructions pack them."""
    bands = tuple((first, rows) for first, rows in header["bands"])
    if not bands or any(type(n) is not int or n < 0 for band in bands for n in band) or any(
            first + rows > header["rows"] for first, rows in bands):
        raise ArtifactError(f"program bands must lie in the {header['rows']} rows of the image, not {bands!r:.60}")
    packed = [pack.rows for pack in instructions if isinstance(pack, isa.Pack)]
    if packed[: len(bands)] != [rows for _, rows in bands] or packed[len(bands) :] not in ([], packed[:1]):
        raise ArtifactError(f"program bands must be the {packed} rows that its instructions pack, not {bands!r:.60}")
    return bands


def _memory(name: str, words: np.ndarray, config: Config) -> np.ndarray:
    memory = config.memories[Space[name.upper()]]
    if len(words.shape) != 3 or words.shape[1] > memory.depth:
        raise ArtifactError(f"program memory {name} must be 3-dimensional and hold at most {memory.depth} words")
    _check_array(f"program memory {name}", words, "uint8", (memory.banks, words.shape[1], memory.bytes_per_word))
    if memory.bits % 8 and words.size and words[..., -1].max() >> memory.bits % 8:
        raise ArtifactError(f"program memory {name} must hold words of {memory.bits} bits, but one is larger")
    return words


def _stage(fields: Any) -> Stage:
    for name, kind in get_type_hints(Stage).items():
        value = fields[name]
        if type(value) is not kind or isinstance(value, int) and not 0 <= value < 1 << 62:
            raise ArtifactError(f"program stage {name} must be a sane {kind.__name__}, not {value!r:.60}")
    return Stage(**fields)


def _check_array(what: str, array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> None:
    if array.dtype.name != dtype or array.shape != shape:
        raise ArtifactError(f"{what} must be {dtype} of shape {shape}, not {array.dtype.name} of shape {array.shape}")
