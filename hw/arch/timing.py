"""Declared timing: latencies and cycle counts as functions of the configuration.

The blocks of `hw` are built from these numbers, benches measure them, and the compiler adds the cycle counts up: the
prediction equals the RTL's cycle counter. Nothing depends on data; the only open wait is `Pack` for image bytes that
have not arrived.
"""

from __future__ import annotations

from .config import IMAGE_PLANES, Config
from .isa import Conv, Pack, Source, Walk

FETCH = 3  # read, check and decode one instruction
END = FETCH
FEED = 7  # an issued word to column 0's operands
DRAIN = 5  # operands to the first drain slot: count in three cycles, accumulate, load
COMBINE = 7  # drain slot to finished sum: subtract, multiply, planes, lanes, passes, maximum
COMPARE = 3  # last finished sum to the first threshold compared, and last one compared to levels
STORE = 3  # levels to the write port of the activation memory, whose word nobody reads before the next `Conv`


def lane_skew(config: Config) -> int:
    """Cycles from pixel lane 0 to the last one."""
    return (config.pixel_lanes - 1) * config.N


def least_period(config: Config) -> int:
    """Least cycles between the ends of two pixel groups: lanes are filled, sums are taken over."""
    return max(config.pixel_lanes, config.chain) + 1


def emit_period(config: Config) -> int:
    """Least cycles between the ends of two pixel groups that emit integers."""
    lanes, channels = config.pixel_lanes, config.channel_lanes
    return max(least_period(config), 1 + max(lane_skew(config) + channels, lanes * channels))


def group_period(config: Config, conv: Conv) -> int:
    """Least cycles between the ends of two pixel groups of a layer."""
    if conv.levels == 0:
        return emit_period(config)
    write = max(lane_skew(config) + conv.target_groups, config.pixel_lanes * conv.target_groups)
    return max(least_period(config), config.chain_channels * conv.levels, write)


def issue_cycles(config: Config, conv: Conv, walk: Walk, source: Source) -> int:
    """Cycles in which the issuer is at work on a layer."""
    passes = walk.positions * conv.weight_passes * (1 if conv.fused else conv.activation_passes)
    words = walk.taps * source.channel_words * (conv.activation_passes if conv.fused else 1)
    groups = conv.row_groups * -(-walk.pixels // config.pixel_lanes)
    spaced, period = max(words, config.chain), group_period(config, conv)
    return max(words + (passes - 1) * spaced, period) + (groups - 1) * max(passes * spaced, period)


def conv_cycles(config: Config, conv: Conv, walk: Walk, source: Source) -> int:
    """Cycles of `Conv` from its fetch to the next fetch."""
    prepare = 2 + config.pixel_lanes + 1
    drain = 1 + FEED + DRAIN + config.chain - 1 + config.N - 1 + COMBINE
    steps = config.channel_lanes if conv.levels == 0 else conv.target_groups
    finish = COMPARE + config.chain_channels * conv.levels + lane_skew(config) + config.pixel_lanes * steps + STORE
    return FETCH + prepare + issue_cycles(config, conv, walk, source) + drain + finish


def pack_cycles(config: Config, pack: Pack) -> int:
    """Cycles of `Pack` from its fetch to the next fetch, when no byte is late."""
    used_rows = max(0, (pack.rows - pack.window_rows) // pack.stride + 1)
    windows = used_rows * max(0, (pack.columns - pack.window_columns) // pack.stride + 1)
    pixels = pack.rows * pack.columns * (pack.channels + 1)
    pushes = used_rows * pack.columns * (pack.window_rows * pack.channels + 1)
    return FETCH + 2 + pixels + pushes + windows * -(-IMAGE_PLANES // config.N)


def halt(config: Config) -> int:
    """Cycles after a fault until everything in flight is gone."""
    return FEED + DRAIN + COMBINE + COMPARE + STORE + config.chain + config.column_lanes + 8
