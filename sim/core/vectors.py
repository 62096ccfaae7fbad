"""Benches as data: what goes into a block in every cycle and what must come out of it, for any player."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sim.helpers import cycles, start


@dataclass
class Vector:
    """One cycle of a block.

    Parameters
    ----------
    inputs : port to value, from before the clock's edge on; ports without one are zero
    outputs : port to value and mask, what it shows behind the edge in the bits of the mask
    """

    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, tuple[int, int]] = field(default_factory=dict)


def ports(vectors: Sequence[Vector]) -> list[list[str]]:
    """Names of all inputs and outputs that occur."""
    return [list(dict.fromkeys(name for vector in vectors for name in getattr(vector, kind)))
            for kind in ("inputs", "outputs")]


async def play(dut, vectors: Sequence[Vector]) -> None:
    """Reset the block, then drive it and look at it cycle by cycle."""
    inputs, _ = ports(vectors)
    await start(dut, **dict.fromkeys(inputs, 0))
    for number, vector in enumerate(vectors):
        for name in inputs:
            getattr(dut, name).value = vector.inputs.get(name, 0)
        await cycles(dut, 1)
        compare(dut, number, vector.outputs)


def compare(dut, number: int, outputs: Mapping[str, tuple[int, int]]) -> None:
    """Assert what the ports show."""
    for name, (value, mask) in outputs.items():
        found = int(getattr(dut, name).value) & mask
        assert found == value, f"cycle {number}: {name} must show {value:x}, not {found:x} (bits {mask:x})"
