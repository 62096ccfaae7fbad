"""Declared timing: latencies and cycle counts as functions of the configuration.

The blocks of `hw` are built from these numbers, benches measure them, and the compiler adds the cycle counts up: the
prediction equals the RTL's cycle counter. Nothing depends on data; the only open wait is for the intake, and
the RTL counts it apart.
"""

from __future__ import annotations

from .config import IMAGE_PLANES, Config
from .isa import Conv, Load, Pack, Source, Values, Walk

FETCH = 4  # read, check and decode one instruction
END = FETCH
FEED = 8  # an issued word to column 0's operands
COUNT = 6  # a unit's operands to its value: count in four cycles, accumulate, load
DRAIN = 1 + COUNT  # a column's operands to the first drain slot: they go to its units from registers of its own
COMBINE = 7  # drain slot to finished sum: subtract, multiply, planes, lanes, passes, maximum
COMPARE = 3  # last finished sum to the first threshold compared
LEVEL = 3  # last threshold compared to levels
STORE = 4  # levels to the write port of the activation memory, whose word nobody reads before the next `Conv`
PACK = FETCH + 1  # the instruction, when the intake is free or its image not taken
LOAD = FETCH + 1  # the instruction, when the intake is free
AWAIT = FETCH + 1  # the instruction, when the intake is free
LOADED = 28  # a `Load` without its bytes
PACKED = 4  # a window's last byte read to its last word stored, but for the words before that


def lane_skew(config: Config) -> int:
    """Cycles from pixel lane 0 to the last one."""
    return (config.pixel_lanes - 1) * config.N


def least_period(config: Config) -> int:
    """Least cycles between the ends of two pixel groups: lanes are filled, sums are taken over."""
    return max(config.pixel_lanes, config.chain)


def write_steps(config: Config, conv: Conv, values: Values) -> int:
    """Cycles the writer takes per pixel."""
    if conv.emits(values):
        return config.channel_lanes
    return conv.target_groups if conv.levels else 0


def write_wait(config: Config, steps: int) -> int:
    """Cycles the writer waits with the first pixel of a group so as not to overtake the later lanes."""
    return (config.pixel_lanes - 1) * max(0, config.N - steps)


def emit_period(config: Config) -> int:
    """Least cycles between the ends of two pixel groups that emit: the sums are taken before the next are complete."""
    lanes, channels = config.pixel_lanes, config.channel_lanes
    return max(least_period(config), COMPARE + LEVEL - 1 + write_wait(config, channels) + lanes * channels)


def write_period(config: Config, steps: int) -> int:
    """Least cycles between the ends of two pixel groups whose planes are written."""
    return max(write_wait(config, steps) + steps + 1, config.pixel_lanes * steps)


def compare_period(config: Config, conv: Conv, values: Values) -> int:
    """Least cycles between the ends of two pixel groups that are compared."""
    return config.chain_channels * conv.compared(values) + 2 * conv.residual(values)


def group_period(config: Config, conv: Conv, values: Values) -> int:
    """Least cycles between the ends of two pixel groups of a layer."""
    if conv.emits(values):
        return emit_period(config)
    write = write_period(config, write_steps(config, conv, values))
    return max(least_period(config), compare_period(config, conv, values), write)


def issue_cycles(config: Config, conv: Conv, walk: Walk, source: Source, values: Values) -> int:
    """Cycles in which the issuer is at work on a layer."""
    passes = walk.positions * conv.weight_passes * (1 if conv.fused else conv.activation_passes)
    words = walk.taps * source.channel_words * (conv.activation_passes if conv.fused else 1)
    groups = conv.row_groups * -(-walk.pixels // config.pixel_lanes)
    spaced, period = max(words, config.chain), group_period(config, conv, values)
    return max(words + (passes - 1) * spaced, least_period(config)) + (groups - 1) * max(passes * spaced, period)


def finish_cycles(config: Config, conv: Conv, walk: Walk, values: Values) -> int:
    """Cycles from the last finished sum of a layer until everything is written."""
    compare = COMPARE + LEVEL - 1 + conv.residual(values) + config.chain_channels * conv.compared(values)
    steps = write_steps(config, conv, values)
    if not steps:
        return compare + lane_skew(config) + STORE
    pixels = (walk.pixels - 1) % config.pixel_lanes + 1
    return compare + write_wait(config, steps) + pixels * steps + STORE


def conv_cycles(config: Config, conv: Conv, walk: Walk, source: Source, values: Values) -> int:
    """Cycles of `Conv` from its fetch to the next fetch."""
    prepare = 2 + config.pixel_lanes + 2
    drain = 1 + FEED + DRAIN + config.chain - 1 + config.N - 1 + COMBINE
    issue, finish = issue_cycles(config, conv, walk, source, values), finish_cycles(config, conv, walk, values)
    return FETCH + prepare + issue + drain + finish


def plane_groups(config: Config) -> int:
    """Plane groups of the image: its planes, padded to a multiple of N."""
    return -(-IMAGE_PLANES // config.N)


def pack_words(config: Config, pack: Pack) -> int:
    """Words per packed window and plane lane."""
    return plane_groups(config) >> pack.split


def pack_cycles(config: Config, pack: Pack) -> int:
    """Cycles that the intake is busy with `pack`, when no byte is late and no other block writes activations.

    Every byte of a window's column is read in a cycle, for every row of the window; windows complete `pack_words`
    cycles apart or more.
    """
    groups, column = pack_words(config, pack), pack.channels * pack.window_rows
    used_rows = max(0, (pack.rows - pack.window_rows) // pack.row_stride + 1)
    windows = max(0, (pack.columns - pack.window_columns) // pack.column_stride + 1)
    prepare = 1 + pack.channels + pack.window_columns * column
    if not used_rows:
        return prepare + pack.rows + 1
    row = pack.columns * column + max(0, windows - 1) * max(0, groups - pack.column_stride * column)
    rest = (pack.columns - pack.window_columns - (windows - 1) * pack.column_stride) * column  # behind a row's windows
    first = pack.row_stride - 1 + pack.window_columns * column  # from a row's end to the next window
    between = pack.row_stride - 1 + (max(0, groups - rest - first) if windows else 0)
    below = pack.rows - (used_rows - 1) * pack.row_stride - 1  # rows that begin no window
    last = max(1, below, PACKED + groups - rest if windows else 0)
    return prepare + used_rows * row + (used_rows - 1) * between + last + 1


def load_cycles(config: Config, load: Load) -> int:
    """Cycles that the intake is busy with `load`, when no byte is late and no other block writes activations."""
    return LOADED + load.stream_bytes(config)


def halt(config: Config) -> int:
    """Cycles after a fault until everything in flight is gone."""
    return FEED + DRAIN + COMBINE + COMPARE + STORE + config.chain + config.column_lanes + 8
