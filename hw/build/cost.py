"""What a configuration takes of a part, without synthesis: block RAM counted, LUTs and registers from samples.

LUTs and registers of every group of blocks are sums of features of the configuration, such as the bits that all
units of the array multiply at once. Their weights are fitted to `synthesis.json`, what Yosys made of sample
configurations (`hw.build.calibrate`). `python -m hw.build.cost` prints estimate against synthesis.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hw.arch import wire
from hw.arch.config import Config, Memory, Space

from .errors import BuildError
from .report import Usage

RESULTS = Path(__file__).parent / "synthesis.json"
LUTS_PER_FUNCTION = {"xc7": 0.82}  # at most: 0.75 of `medium`, 0.76 of `large`, 0.81 of `small` (`hw.build.lut6`)
Features = Callable[[Config], tuple[float, ...]]


def _units(c: Config) -> tuple[float, ...]:
    units = c.row_lanes * c.column_lanes
    return units * c.word, units * c.accumulator_bits


def _combines(c: Config) -> tuple[float, ...]:
    return (c.column_lanes * c.chains * (c.accumulator_bits * c.coefficient_bits + 8 * c.sum_bits),)


def _rings(c: Config) -> tuple[float, ...]:
    return c.column_lanes * c.chains * c.sum_bits, c.pixel_lanes * c.channel_lanes * c.sum_bits


def _columns(c: Config) -> tuple[float, ...]:
    return (c.column_lanes,)


def _travelling(c: Config) -> tuple[float, ...]:
    return c.column_lanes, c.column_lanes * c.row_lanes * c.word


def _comparisons(c: Config) -> tuple[float, ...]:
    return (c.pixel_lanes * c.chains * c.sum_bits,)


def _sums(c: Config) -> tuple[float, ...]:
    return (c.pixel_lanes * c.channel_lanes * c.sum_bits,)


def _values(c: Config) -> tuple[float, ...]:
    return (c.pixel_lanes * c.chains if c.value_depth else 0,)


def _rest(c: Config) -> tuple[float, ...]:
    return 1, c.word, c.column_lanes * c.word * (1 + math.log2(c.pixel_lanes))


# The blocks whose names begin so, "" all that are left, to the features of their LUTs and of their registers.
GROUPS: dict[str, tuple[Features, Features]] = {
    "array.dot": (_units, _units),
    "array.combine": (_combines, _rings),
    "array": (_columns, _travelling),
    "threshold": (_comparisons, _sums),
    "values": (_values, _values),
    "": (_rest, _rest),
}
Weights = tuple[np.ndarray, np.ndarray]  # of the features of a group's LUTs and registers
# Rows and bits of a block RAM of 18 kbit, and the most bits that one write enable covers.
BLOCK = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
BLOCK_KBITS, ENABLE_BITS = 18, 9
ROUNDS = 30  # of fitting: the factors settle to a thousandth in less
# Memories of at most so many words become LUTs; their LUTs per bit and 64 words.
LUT_WORDS = {"xc7": 64, "ecp5": 16, "gowin": 16}


@cache
def samples() -> tuple[dict[str, Any], ...]:
    """The records of `hw.build.calibrate`."""
    return tuple(json.loads(RESULTS.read_text()))


def shared(usage: Usage, family: str) -> Usage:
    """An estimate, whose LUTs are functions, in LUTs of the part: on 7-series two of few inputs share one."""
    return replace(usage, luts=round(usage.luts * LUTS_PER_FUNCTION.get(family, 1)))


def estimate(config: Config, family: str) -> Usage:
    """Resources of the whole accelerator on a part of a family; `BuildError` if it has no samples."""
    return predict(config, weights(), family)


def predict(config: Config, model: Mapping[str, Mapping[str, Weights]], family: str) -> Usage:
    """Resources by fitted weights of every family and group."""
    if family not in model:
        raise BuildError(f"family must be one with samples of hw.build.calibrate, not {family!r}")
    luts, ffs = (
        round(sum(float(np.dot(features[kind](config), model[family][group][kind]))
                  for group, features in GROUPS.items()))
        for kind in (0, 1)
    )
    return Usage(luts, ffs, bram_kbits(config, family), multipliers(config, family))


@cache
def weights() -> dict[str, dict[str, Weights]]:
    """Weights of the features from all samples, by family and group."""
    return fit(samples())


def fit(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Weights]]:
    """The weights that least miss some samples, relative to the size of each.

    How a group grows with the configuration is the same on all families; how much a unit takes, LUT6 or LUT4, is each
    family's own. So a few samples of one family tell its sizes, and those of all families the growth.
    """
    configs = [Config(**record["config"]) for record in records]
    sizes = np.array([record["usage"][0] for record in records], float)
    families = [record["family"] for record in records]
    fitted: dict[str, dict[str, Weights]] = {family: {} for family in families}
    for group, features in GROUPS.items():
        used = np.array([_used(record["blocks"], group) for record in records], float)
        both = []
        for kind, feature in enumerate(features):
            rows = np.array([feature(config) for config in configs]) / sizes[:, None]
            both.append(_shared(rows, used[:, kind] / sizes, families))
        for family in fitted:
            fitted[family][group] = both[0][family], both[1][family]
    return fitted


def _shared(features: np.ndarray, wanted: np.ndarray, families: Sequence[str]) -> dict[str, np.ndarray]:
    """Weights by family that differ by one factor per family, factors and weights fitted in turn."""
    factors = dict.fromkeys(families, 1.0)
    for _ in range(ROUNDS):
        scales = np.array([factors[family] for family in families])
        weights = _least_squares(features * scales[:, None], wanted)
        guesses = features @ weights
        for family in factors:
            mine = [index for index, name in enumerate(families) if name == family]
            square = float(guesses[mine] @ guesses[mine])
            factors[family] = float(guesses[mine] @ wanted[mine]) / square if square else 1.0
    return {family: factor * weights for family, factor in factors.items()}


def _used(blocks: Mapping[str, Sequence[int]], group: str) -> tuple[int, int]:
    """LUTs and registers of the blocks of a group."""
    mine = [usage for name, usage in blocks.items() if next(each for each in GROUPS if name.startswith(each)) == group]
    return sum(usage[0] for usage in mine), sum(usage[1] for usage in mine)


def _least_squares(features: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Weights of at least zero: what comes out below is left out, the most negative first."""
    kept = list(range(features.shape[1]))
    while True:
        found = np.linalg.lstsq(features[:, kept], wanted, rcond=None)[0]
        if not len(kept) or found.min() >= 0:
            break
        del kept[int(found.argmin())]
    result = np.zeros(features.shape[1])
    result[kept] = found
    return result


def bram_kbits(config: Config, family: str) -> int:
    """Block RAM of all memories, those of the link and the intake included."""
    memories = [(memory, config.channel_lanes if space == Space.ACTIVATIONS else memory.bits)
                for space, memory in config.memories.items()]
    link = (1 << wire.RECEIVE_BUFFER.bit_length(), wire.IMAGE_FIFO, 2048, config.image_depth)
    memories += [(Memory(1, depth, 8), 8) for depth in link]
    return BLOCK_KBITS * sum(
        memory.banks * _blocks(memory.depth, memory.bits, enable) for memory, enable in memories
        if memory.depth > LUT_WORDS[family])


def _blocks(depth: int, bits: int, enable: int) -> int:
    """Block RAMs of one bank, written in parts of `enable` bits."""
    counts = []
    for rows, width in BLOCK:
        if enable == bits:
            columns = -(-bits // width)
        elif enable >= width:
            columns = bits // enable * -(-enable // width)
        else:  # several parts side by side, each with enables of its own
            columns = -(-(bits // enable) // (width // ENABLE_BITS // -(-enable // ENABLE_BITS) or 1))
        counts.append(columns * -(-depth // rows))
    return min(counts)


def multipliers(config: Config, family: str) -> int:
    """Hard multipliers: one per combine unit, where the open flow configures them right."""
    return config.column_lanes * config.chains if family == "ecp5" else 0


def main() -> int:
    """Print every sample's estimate against its synthesis, and what it would be without that sample."""
    print("| family | sample | LUT | estimate | error | left out | FF | estimate | error | kbit | estimate |\n"
          "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for record in samples():
        config, family = Config(**record["config"]), record["family"]
        luts, ffs, kbits, _ = record["usage"]
        guess, model = estimate(config, family), fit([other for other in samples() if other is not record])
        blind = f"{predict(config, model, family).luts / luts - 1:+.1%}" if family in model else "-"
        print(f"| {family} | {record['sample']} | {luts:,} | {guess.luts:,} | {guess.luts / luts - 1:+.1%} | {blind} | "
              f"{ffs:,} | {guess.ffs:,} | {guess.ffs / ffs - 1:+.1%} | {kbits:,} | {guess.bram_kbits:,} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
