"""The integer graph: what training exports and what the compiler reads. numpy only.

`sw.node` says what a layer computes. The image is eight planes, most significant first (plane j holds bit 7 - j), each
bit b standing for 2b - 1; so sum_j 2^(7-j) plane_j = 2x - 255, and the constant is folded into thresholds and bias by
whoever builds the graph. A fully connected layer is a `Conv` whose kernel covers its whole input map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hw.arch.config import IMAGE_PLANES
from hw.arch.isa import Padding

from . import checks as check
from .checks import MAX_SUM, GraphError
from .node import ARRAYS, IMAGE, NAME, OPTIONS, SCALARS, Conv, Image, Shape

__all__ = ["IMAGE", "MAX_SUM", "Conv", "Graph", "GraphError", "Image", "Shape"]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network. The last layer, and only that, emits integers: one per class; float logit = integer * scale.

    Raises `GraphError` when layers do not fit together.
    """

    name: str
    image: Image
    layers: tuple[Conv, ...]
    classes: tuple[str, ...]
    scale: float = 1.0
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise GraphError(f"graph name must be 1 to 64 letters, digits or '_.-', not {self.name!r}")
        if not isinstance(self.image, Image):
            raise GraphError(f"graph image must be an Image, not {type(self.image).__name__}")
        if not self.layers or not all(isinstance(layer, Conv) for layer in self.layers):
            raise GraphError("graph layers must be one or more Conv")
        if not isinstance(self.scale, float) or not math.isfinite(self.scale) or self.scale <= 0:
            raise GraphError(f"graph scale must be a positive finite float, not {self.scale!r}")
        for what, texts in (("classes", self.classes), ("metadata", (*self.metadata, *self.metadata.values()))):
            if not all(isinstance(text, str) for text in texts):
                raise GraphError(f"graph {what} must be text")
        for layer in self.layers[:-1]:
            if layer.thresholds is None and not layer.keep:
                raise GraphError(f"{layer.name} must have thresholds or keep: only the last layer emits integers")
        last, shape = self.layers[-1], self.shapes()[-1]
        if last.thresholds is not None or last.residual or (shape.rows, shape.columns) != (1, 1):
            raise GraphError(f"{last.name} must emit integers on a 1 x 1 map without residual, as the last layer")
        if shape.channels != len(self.classes):
            raise GraphError(f"{last.name} must have one channel per class ({len(self.classes)}), not {shape.channels}")

    def shapes(self) -> tuple[Shape, ...]:
        """Output shape of every layer, in order."""
        known = {IMAGE: Shape(*self.image.shape[:2], *self.image.shape, IMAGE_PLANES)}
        kept: dict[str, Shape] = {}
        for layer in self.layers:
            if layer.name in known:
                raise GraphError(f"layer names must differ, but {layer.name!r} appears twice")
            if layer.source not in known:
                raise GraphError(f"{layer.name}.source must be 'image' or an earlier layer, not {layer.source!r}")
            if layer.add and layer.add not in kept:
                raise GraphError(f"{layer.name}.add must be an earlier layer with keep, not {layer.add!r}")
            source = known[layer.source]
            for what, have, want in (("channels", layer.source_channels, source.channels),
                                     ("planes", layer.source_planes, source.planes)):
                if have != want:
                    raise GraphError(f"{layer.name} must take {want} {what}, as {layer.source} has, not {have}")
            known[layer.name] = shape = layer.output(source.rows, source.columns)
            if layer.add and shape[2:5] != kept[layer.add][2:5]:
                raise GraphError(
                    f"{layer.name}.add must have the output {shape[2:5]} of its layer, not {kept[layer.add][2:5]}")
            if layer.keep:
                kept[layer.name] = shape
        return tuple(known.values())[1:]

    def to_sections(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """(JSON-able header, arrays by name). Weights are packed eight to a byte, first bit most significant."""
        arrays, layers = {}, []
        for layer in self.layers:
            entry: dict[str, Any] = {"name": layer.name, "source": layer.source, "pad": layer.pad.name}
            entry |= {key: getattr(layer, key) for key in SCALARS} | {"shape": list(layer.weights.shape)}
            entry |= {key: getattr(layer, key) for key, default in OPTIONS.items() if getattr(layer, key) != default}
            entry["arrays"] = [key for key in ARRAYS if getattr(layer, key) is not None]
            layers.append(entry)
            for key in entry["arrays"]:
                value = getattr(layer, key)
                arrays[f"{layer.name}/{key}"] = np.packbits(value) if key == "weights" else value
        header = {"name": self.name, "image": list(self.image.shape), "layers": layers, "classes": list(self.classes),
                  "scale": self.scale, "metadata": dict(self.metadata)}
        return header, arrays

    @classmethod
    def from_sections(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Graph:
        """Inverse of `to_sections`; anything missing, surplus or of the wrong type raises `GraphError`."""
        kinds = {"name": str, "image": list, "layers": list, "classes": list, "scale": float, "metadata": dict}
        check.keys("graph header", header, kinds)
        rest = dict(arrays)
        layers = tuple(_layer(entry, rest) for entry in header["layers"])
        if rest:
            raise GraphError(f"graph arrays must belong to a layer, but {sorted(rest)[0]!r} does not")
        if len(header["image"]) != 3:
            raise GraphError(f"graph image must be rows, columns and channels, not {header['image']!r}")
        image, classes = Image(*header["image"]), tuple(header["classes"])
        return cls(header["name"], image, layers, classes, header["scale"], header["metadata"])


def _layer(entry: Any, arrays: dict[str, np.ndarray]) -> Conv:
    """One layer from its header entry; its arrays are taken out of `arrays`."""
    kinds = {"name": str, "source": str, "pad": str, "shape": list, "arrays": list} | dict.fromkeys(SCALARS, int)
    check.keys("layer header", entry, kinds, {key: type(default) for key, default in OPTIONS.items()})
    name = entry["name"]
    if entry["pad"] not in Padding.__members__:
        raise GraphError(f"{name}.pad must be one of {', '.join(Padding.__members__)}, not {entry['pad']!r}")
    if not {"weights", "coefficients"} <= set(map(str, entry["arrays"])) <= set(ARRAYS):
        known = ", ".join(ARRAYS)
        raise GraphError(f"{name}.arrays must be weights, coefficients and some of {known}, not {entry['arrays']!r}")
    found: dict[str, Any] = {}
    for key in dict.fromkeys(entry["arrays"]):
        if f"{name}/{key}" not in arrays:
            raise GraphError(f"graph array {name}/{key} must be present")
        found[key] = arrays.pop(f"{name}/{key}")
    found["weights"] = check.unpack(f"{name}.weights", found["weights"], entry["shape"])
    scalars = {key: entry[key] for key in (*SCALARS, *OPTIONS) if key in entry}
    return Conv(name=name, source=entry["source"], pad=Padding[entry["pad"]], **scalars, **found)
