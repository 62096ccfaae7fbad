"""Memory images: weights, coefficients and thresholds in the order the array reads them.

Row lane r of row group g computes output channel g*channel_lanes + r div M with weight plane i*M + r mod M in
weight pass i. All functions return one array per bank.
"""

from __future__ import annotations

import numpy as np

from hw.arch.config import Config


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
