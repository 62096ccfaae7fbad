"""Checks of a graph's parts: each raises `GraphError`, a sentence with the thing, what is allowed, what is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import AbacusError

MAX_SUM = (1 << 47) - 1  # largest |O|: the widest sum a configuration can have is 48 bits


class GraphError(AbacusError):
    """A graph that has no meaning; the message is one sentence naming the layer, what is allowed and what was given."""


def keys(what: str, value: Any, kinds: Mapping[str, type], options: Mapping[str, type] | None = None) -> None:
    """`value` must be a dict of exactly the keys of `kinds`, and any of `options`, each of its type."""
    if not isinstance(value, dict) or set(value) - set(options or ()) != set(kinds):
        given = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise GraphError(f"{what} must have exactly the keys {', '.join(sorted(kinds))}, not {given}")
    for key, kind in (*kinds.items(), *((key, kind) for key, kind in (options or {}).items() if key in value)):
        if type(value[key]) is not kind:
            raise GraphError(f"{what} {key} must be of type {kind.__name__}, not {value[key]!r}")


def integer(what: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GraphError(f"{what} must be an integer in {low}..{high}, not {value!r}")


def array(what: str, value: Any, dtype: type) -> np.ndarray | None:
    """A read-only copy of `value`, which must be an array of exactly `dtype`; None stays None for optional arrays."""
    if value is None and what.rsplit(".", 1)[1] in ("thresholds", "code", "bias"):
        return None
    if not isinstance(value, np.ndarray) or value.dtype != dtype:
        given = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise GraphError(f"{what} must be an array of {np.dtype(dtype)}, not {given}")
    copy = np.array(value, order="C")
    copy.setflags(write=False)
    return copy


def shape(what: str, value: np.ndarray, wanted: tuple[int | None, ...], letters: str) -> None:
    """`value` must have the `wanted` shape, None standing for any positive size."""
    good = value.ndim == len(wanted) and all(
        have >= 1 and want in (None, have) for have, want in zip(value.shape, wanted, strict=True))
    if not good:
        sizes = ", ".join("any" if size is None else str(size) for size in wanted)
        raise GraphError(f"{what} must have shape {letters} = [{sizes}], not {list(value.shape)}")


def bits(what: str, value: np.ndarray) -> None:
    if value.max() > 1:
        raise GraphError(f"{what} must be 0 or 1, not {int(value.max())}")


def within(what: str, value: np.ndarray) -> None:
    """Values beyond 48 bits can neither be computed nor compared."""
    worst = max(int(value.max()), -int(value.min()))
    if worst > MAX_SUM:
        raise GraphError(f"{what} must be within +-{MAX_SUM}, not {worst}")


def unpack(what: str, packed: Any, shape: list[Any]) -> np.ndarray:
    """Bits of `np.packbits` back in `shape`; the size must match to the byte and spare bits be zero."""
    if len(shape) != 5:
        raise GraphError(f"{what} shape must be m, co, ci, kh, kw, not {shape!r}")
    for size in shape:
        integer(f"{what} shape", size, 1, 1 << 20)
    count = math.prod(shape)
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise GraphError(f"{what} must be {-(-count // 8)} bytes for shape {shape}")
    flat = np.unpackbits(packed)
    if flat[count:].any():
        raise GraphError(f"{what} must end in zero bits after its {count} weights")
    return flat[:count].reshape(shape)
