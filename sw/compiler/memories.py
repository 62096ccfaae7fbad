"""Memory images: weights, coefficients and thresholds in the order the array reads them.

Row lane r of row group g computes output channel g*channel_lanes + r div M with weight plane i*M + r mod M in
weight pass i. `layer_words` and `tap_words` make the images of a layer, the other functions one array per bank.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hw.arch.config import TAP_BITS, Config, Space
from sw.compiler.layout import Layout
from sw.compiler.lower import Task
from sw.compiler.streaming import LayerWords


def to_bytes(words: np.ndarray, width: int) -> np.ndarray:
    """Signed or unsigned integers [...] as little-endian bytes [..., ceil(width/8)], unused high bits zero."""
    masked = words.astype(np.int64) & ((1 << width) - 1)
    return masked[..., None].astype("<u8").view(np.uint8)[..., : -(-width // 8)]


def weight_words(weights: np.ndarray, config: Config) -> np.ndarray:
    """Weight bits {0,1} [m, co, taps, ci] -> uint8 [row_lanes, words, word/8].

    Word order is (row group, weight pass, tap, channel word). Missing channels, planes and lanes hold ones: an
    activation bit that is zero then never matches, and counts nothing.
    """
    m, co, taps, ci = weights.shape
    groups, passes, channel_words = -(-co // config.channel_lanes), -(-m // config.M), -(-ci // config.word)
    full = np.ones((passes * config.M, groups * config.channel_lanes, taps, channel_words * config.word), np.uint8)
    full[:m, :co, :, :ci] = weights
    lanes = full.reshape(passes, config.M, groups, config.channel_lanes, taps * channel_words, config.word)
    lanes = lanes.transpose(3, 1, 2, 0, 4, 5).reshape(config.row_lanes, -1, config.word)
    return np.packbits(lanes, axis=-1, bitorder="little")


def coefficient_words(coefficients: np.ndarray, groups: int, config: Config) -> np.ndarray:
    """Coefficients int64 [co or 1, m, n] -> uint8 [chains, words, bytes], words of N coefficients.

    Word order is (row group, weight pass, activation pass, chain slot); `groups` row groups, or one that all share.
    Missing channels and planes hold zero.
    """
    channels, m, n = coefficients.shape
    if channels == 1:
        coefficients = np.repeat(coefficients, groups * config.channel_lanes, axis=0)
    weight_passes, passes = -(-m // config.M), -(-n // config.N)
    full = np.zeros((groups * config.channel_lanes, weight_passes * config.M, passes * config.N), np.int64)
    full[: len(coefficients), :m, :n] = coefficients
    slots = full.reshape(groups, config.chains, config.chain_channels, weight_passes, config.M, passes, config.N)
    slots = slots.transpose(1, 0, 3, 5, 2, 4, 6).reshape(config.chains, -1, config.N)
    mask = (1 << config.coefficient_bits) - 1
    size = -(-config.N * config.coefficient_bits // 8)
    words = [
        sum((int(c) & mask) << (lane * config.coefficient_bits) for lane, c in enumerate(word)).to_bytes(size, "little")
        for word in slots.reshape(-1, config.N)
    ]
    return np.frombuffer(b"".join(words), np.uint8).reshape(config.chains, -1, size)


def threshold_words(thresholds: np.ndarray, config: Config) -> np.ndarray:
    """Thresholds int64 [co, t] -> uint8 [chains, words, bytes] in the order (row group, channel of the chain, t)."""
    co, count = thresholds.shape
    groups = -(-co // config.channel_lanes)
    full = np.full((groups * config.channel_lanes, count), (1 << (config.sum_bits - 1)) - 1, np.int64)
    full[:co] = thresholds
    banks = full.reshape(groups, config.chains, config.chain_channels * count).transpose(1, 0, 2)
    return to_bytes(banks.reshape(config.chains, -1), config.sum_bits)


def layer_words(task: Task, config: Config) -> LayerWords:
    """What the memories hold for a layer, but for its taps."""
    row_groups = -(-task.weights.shape[1] // config.channel_lanes)
    shared = len(task.coefficients) == 1
    coefficients = task.coefficients[:, :, -config.N :] if task.fused else task.coefficients
    top = (1 << (config.sum_bits - 1)) - 1  # thresholds beyond any sum act as the extreme ones
    compared = [np.clip(task.thresholds, -top - 1, top)] if task.thresholds is not None else []
    if task.node.residual and task.bias is not None:
        compared.insert(0, task.bias[:, None])
    none = np.zeros((len(task.weights[0]), 0), np.int64)
    images = {
        Space.WEIGHTS: weight_words(task.placed_weights(config), config),
        Space.COEFFICIENTS: coefficient_words(coefficients, 1 if shared else row_groups, config),
        Space.THRESHOLDS: threshold_words(np.concatenate([none, *compared], axis=1), config),
    }
    unit = config.slices if task.code is not None else 1
    return LayerWords(task.node.name, row_groups, unit, images, frozenset(
        {Space.WEIGHTS, Space.THRESHOLDS} | (set() if shared else {Space.COEFFICIENTS})))


def tap_words(tasks: Iterable[Task], source: Layout) -> tuple[np.ndarray, list[int]]:
    """Tap descriptors uint8 [1, words, bytes] of a layer that reads a tensor of that layout, in each of its bands, and
    the first word of each band's; equal ones are there once."""
    words: list[int] = []
    firsts: dict[tuple[int, ...], int] = {}
    places: list[int] = []
    for task in tasks:
        taps = tuple(source.tap(dy, dx, n in task.anchors).pack()
                     for position in task.taps for n, (dy, dx) in enumerate(position))
        places.append(firsts.setdefault(taps, len(words)))
        if places[-1] == len(words):
            words += taps
    return to_bytes(np.array([words]), TAP_BITS), places
