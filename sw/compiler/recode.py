"""Recoding: the same integers from fewer binary planes.

The bases of an ABC-Net are nested: sign(W + u_i) is monotone in u_i, so m planes take only m + 1 patterns, a
thermometer code, and the same holds for N activations. If the coefficients are symmetric too, c_i = c_{m+1-i}, the
values of the patterns are +-V_1 ... +-V_h, and h = (m + 1) / 2 planes reach them exactly, with other integer
coefficients:

    plane 0 .. h-1 all +1 gives V_h;  flipping plane h - r as well gives V_{h-r};  minus signs mirror

    c'_{h-r} = (V_h - V_{h-r}) / 2,   c'_0 = V_h - sum of the others

so 3 planes become 2 and 5 become 3. Evenly spaced values V_k = (2k - 1) d need only binary weights: 7 planes become 3.
Every sum the array makes is the same integer as before; what does not fit the pattern is left alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sw.graph import Conv, Graph


def _order(patterns: np.ndarray) -> np.ndarray | None:
    """Order of the planes in which all bit patterns [m, ...] are nested, most often set first; None if they are not.

    The second axis are groups (channels) that may be nested upside down: all bits of a group flipped.
    """
    groups = patterns.reshape(len(patterns), patterns.shape[1], -1)
    counts = groups.sum(axis=2, dtype=np.int64)
    counts = counts - counts.mean(axis=0)
    widest = counts[:, np.abs(counts).max(axis=0).argmax()]
    order = np.argsort(-counts @ np.sign(widest @ counts), kind="stable")
    steps = np.diff(groups[order].astype(np.int8), axis=0)  # [m - 1, groups, n]
    return order if np.all(np.all(steps <= 0, axis=(0, 2)) | np.all(steps >= 0, axis=(0, 2))) else None


def _fewer(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Planes for the values [m + 1, k] of m nested planes: code uint8 [m + 1, fewer] and coefficients [fewer, k]."""
    m = len(values) - 1
    if not m % 2 or m < 3 or np.any(values != -values[::-1]):
        return None
    h = (m + 1) // 2
    upper = values[h:]  # V_1 ... V_h
    for code in (_binary(h), _staircase(h)):
        if code is None:
            continue
        signs = 2 * code.astype(np.int64) - 1
        coefficients = np.rint(np.linalg.lstsq(signs, upper.astype(float), rcond=None)[0]).astype(np.int64)
        if np.array_equal(signs @ coefficients, upper):
            return np.concatenate([1 - code[::-1], code]), coefficients
    return None


def _binary(h: int) -> np.ndarray | None:
    """Code of V_1 ... V_h for evenly spaced values, when h is a power of two: plane 0 is the sign, then binary."""
    if h & (h - 1) or h < 4:
        return None
    bits = h.bit_length() - 1
    return np.array([[1, *(k >> b & 1 for b in range(bits - 1, -1, -1))] for k in range(h)], np.uint8)


def _staircase(h: int) -> np.ndarray:
    """Code of V_1 ... V_h for any symmetric values."""
    code = np.ones((h, h), np.uint8)
    for k in range(h - 1):
        code[k, k + 1] = 0
    return code


def _recoded(patterns: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Fewer planes for bit patterns [m, groups, ...] with coefficients [m, k]: both recoded, or None."""
    order = _order(patterns)
    if order is None:
        return None
    ordered = coefficients[order]
    values = np.array([ordered[:n].sum(axis=0) - ordered[n:].sum(axis=0) for n in range(len(ordered) + 1)])
    fewer = _fewer(values)
    if fewer is None:
        return None
    code, recoded = fewer
    return np.moveaxis(code[patterns.sum(axis=0)], -1, 0), recoded


def _weights(layer: Conv) -> Conv:
    """The layer with fewer weight planes, if its bases allow."""
    c = layer.coefficients
    found = _recoded(layer.weights, np.moveaxis(c, -2, 0).reshape(layer.weight_planes, -1))
    if found is None:
        return layer
    weights, flat = found
    shape = (len(flat), *np.moveaxis(c, -2, 0).shape[1:])
    return replace(layer, weights=weights, coefficients=np.moveaxis(flat.reshape(shape), 0, -2))


def _activations(layers: dict[str, Conv], name: str) -> dict[str, Conv]:
    """The layers with fewer planes in the tensor `name`, if its code and all its readers allow."""
    source, readers = layers[name], [layer for layer in layers.values() if layer.source == name]
    if source.code is None or not readers:
        return layers
    planes = source.code.shape[1]
    flats = [np.moveaxis(reader.coefficients, -1, 0).reshape(planes, -1) for reader in readers]
    found = _recoded(source.code.T[:, None, :], np.concatenate(flats, axis=1))
    if found is None:
        return layers
    code, flat = found
    changed, start = {name: replace(source, code=np.ascontiguousarray(code[:, 0].T))}, 0
    for reader, old in zip(readers, flats, strict=True):
        part = flat[:, start : start + old.shape[1]]
        start += old.shape[1]
        shape = (len(part), *np.moveaxis(reader.coefficients, -1, 0).shape[1:])
        changed[reader.name] = replace(reader, coefficients=np.moveaxis(part.reshape(shape), 0, -1))
    return layers | changed


def recode(graph: Graph) -> Graph:
    """The graph with every tensor and layer in as few planes as their symmetry allows; the same integers everywhere."""
    layers = {layer.name: layer for layer in graph.layers}
    for name in layers:
        layers = _activations(layers, name)
    return replace(graph, layers=tuple(_weights(layer) for layer in layers.values()))
