"""Fixed-width words declared once as frozen dataclasses: the only encoder and decoder of bit fields in the project."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self


class FieldError(ValueError):
    """A field value outside its range, or a word that does not decode."""


def bits(width: int, doc: str, *, signed: bool = False, low: int | None = None, high: int | None = None) -> Any:
    """Declare a field of `width` bits; `low`/`high` narrow the range its encoding allows."""
    floor, ceiling = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    return dataclasses.field(metadata={
        "width": width, "signed": signed, "doc": doc,
        "low": floor if low is None else low, "high": ceiling if high is None else high,
    })


@dataclass(frozen=True)
class Packed:
    """A word of bit fields, first field in the least significant bits.

    Construction checks every field's range and raises `FieldError`; nothing is ever truncated.
    """

    WIDTH: ClassVar[int] = 0  # padded width of the encoded word; 0 means just the fields

    def __post_init__(self) -> None:
        for name, spec in fields_of(type(self)):
            value = getattr(self, name)
            if not isinstance(value, int) or not spec["low"] <= value <= spec["high"]:
                raise FieldError(
                    f"{type(self).__name__}.{name} ({spec['doc']}) must be in {spec['low']}..{spec['high']} "
                    f"({spec['width']} bits), not {value!r}"
                )

    def pack(self) -> int:
        """The word as an unsigned integer."""
        word = offset = 0
        for name, spec in fields_of(type(self)):
            word |= (int(getattr(self, name)) & ((1 << spec["width"]) - 1)) << offset
            offset += spec["width"]
        return word

    @classmethod
    def unpack(cls, word: int) -> Self:
        """Inverse of `pack`. Unused bits must be zero and every field in range, else `FieldError`."""
        values, rest = {}, word
        for name, spec in fields_of(cls):
            value, rest = rest & ((1 << spec["width"]) - 1), rest >> spec["width"]
            if spec["signed"] and value >> (spec["width"] - 1):
                value -= 1 << spec["width"]
            values[name] = value
        if rest:
            raise FieldError(f"{cls.__name__} word must be zero above its {used_bits(cls)} bits, not {word:#x}")
        return cls(**values)


def fields_of(cls: type[Packed]) -> list[tuple[str, dict[str, Any]]]:
    """(name, {width, signed, low, high, doc}) of every field, least significant first."""
    return [(f.name, dict(f.metadata)) for f in dataclasses.fields(cls)]


def used_bits(cls: type[Packed]) -> int:
    """Bits that the fields take."""
    return sum(spec["width"] for _, spec in fields_of(cls))
