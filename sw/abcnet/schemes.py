"""Schemes: which quantisers a network has. Plain data with a name, so that checkpoints and studies can write it down.

    scheme("abc", M=3, N=3)                  the paper's 3 x 3
    scheme("abc", M=5, N=5, symmetric=True)  the same with coefficients that the accelerator recodes to 3 x 3
    scheme("abc-real", M=3)                  full-precision activations (8-bit planes in hardware)
    scheme("dorefa")                         1-bit weights, 4-bit activations
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from . import activations as act
from . import weights as wt
from .quantize import MAX_PLANES, QuantizeError, default_u, default_v


@dataclass(frozen=True)
class Scheme:
    """Quantisers of a whole network; every layer gets its own instances. `QuantizeError` for impossible settings.

    u: shifts of the weight planes (`abc` only, M = len(u)). v: initial shifts of the activation planes (`abc` only,
    N = len(v)). channelwise, trained, symmetric: `weights.AbcWeights`. weight_bits, activation_bits: `dorefa` only; of
    the others they follow from the scheme.
    """

    name: str
    u: tuple[float, ...] = ()
    v: tuple[float, ...] = ()
    channelwise: bool = False
    trained: bool = False
    symmetric: bool = False
    weight_bits: int = 1
    activation_bits: int = 1

    def __post_init__(self) -> None:
        if self.name not in SCHEMES:
            raise QuantizeError(f"scheme must be one of {', '.join(SCHEMES)}, not {self.name!r}")
        for shift in (*self.u, *self.v):
            if isinstance(shift, bool) or not isinstance(shift, (int, float)) or not math.isfinite(shift):
                raise QuantizeError(f"shifts u and v must be finite numbers, not {shift!r}")
        for what in ("channelwise", "trained", "symmetric"):
            if not isinstance(getattr(self, what), bool):
                raise QuantizeError(f"{what} must be true or false, not {getattr(self, what)!r}")
        for what, given, high in (("weight bits", self.weight_bits, MAX_PLANES),
                                  ("activation bits", self.activation_bits, MAX_PLANES)):
            if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= high:
                raise QuantizeError(f"{what} must be an integer in 1..{high}, not {given!r}")
        self.weights()
        self.activations()

    def weights(self) -> wt.WeightQuantizer:
        """A new quantiser for the weights of one layer."""
        return _WEIGHTS[self.name](self)

    def activations(self) -> act.ActivationQuantizer:
        """A new quantiser for the activations of one layer."""
        return _ACTIVATIONS[self.name](self)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Scheme:
        """Inverse of `to_json`; `QuantizeError` for anything else."""
        try:
            plain: dict[str, Any] = dict(values) | {key: tuple(values[key]) for key in ("u", "v") if key in values}
            return cls(**plain)
        except (TypeError, ValueError) as error:
            raise QuantizeError(f"scheme must be the data of a Scheme: {error}") from None

    def __str__(self) -> str:
        """Short label for tables."""
        planes = {"abc": f" {len(self.u)}x{len(self.v)}", "abc-real": f" {len(self.u)}xFP"}.get(self.name, "")
        marks = [what for what in ("channelwise", "trained", "symmetric") if getattr(self, what)]
        bits = f" W{self.weight_bits}A{self.activation_bits}" if self.name == "dorefa" else ""
        return " ".join([self.name + planes + bits, *marks])


_WEIGHTS: dict[str, Callable[[Scheme], wt.WeightQuantizer]] = {
    "abc": lambda s: wt.AbcWeights(s.u, channelwise=s.channelwise, trained=s.trained, symmetric=s.symmetric),
    "bwn": lambda s: wt.ScaledSignWeights(),
    "bnn": lambda s: wt.SignWeights(),
    "xnor": lambda s: wt.ScaledSignWeights(),
    "dorefa": lambda s: wt.DorefaWeights(s.weight_bits),
    "real": lambda s: wt.RealWeights(),
}
_ACTIVATIONS: dict[str, Callable[[Scheme], act.ActivationQuantizer]] = {
    "abc": lambda s: act.AbcActivations(s.v, symmetric=s.symmetric),
    "bwn": lambda s: act.RealActivations(rounded=True),
    "bnn": lambda s: act.SignActivations(),
    "xnor": lambda s: act.SignActivations(),
    "dorefa": lambda s: act.DorefaActivations(s.activation_bits),
    "real": lambda s: act.RealActivations(),
}
_WEIGHTS["abc-real"] = _WEIGHTS["abc"]
_ACTIVATIONS["abc-real"] = _ACTIVATIONS["bwn"]

# Names and what they are; options that each takes.
SCHEMES = {
    "abc": "ABC-Net, M weight and N activation planes",
    "abc-real": "ABC-Net with full-precision activations",
    "bwn": "BWN: binary weights with a scale per channel, full-precision activations",
    "bnn": "BNN: signs of weights and activations",
    "xnor": "XNOR-Net: binary weights with a scale per channel, signs of activations",
    "dorefa": "DoReFa-Net, 1-bit weights and 4-bit activations unless told otherwise",
    "real": "full precision: the baseline; 8-bit weights and activations in hardware",
}
_OPTIONS = {
    "abc": {"M", "N", "u", "v", "channelwise", "trained", "symmetric"},
    "abc-real": {"M", "u", "channelwise", "trained", "symmetric"},
    "dorefa": {"weight_bits", "activation_bits"},
}


def scheme(name: str, **options: Any) -> Scheme:
    """The scheme `name`. Options: M and N (or u and v in full), channelwise, trained, symmetric for `abc`;
    weight_bits and activation_bits for `dorefa`. An option that is None counts as not given.
    """
    if name not in SCHEMES:
        raise QuantizeError(f"scheme must be one of {', '.join(SCHEMES)}, not {name!r}")
    given = {key: value for key, value in options.items() if value is not None and value is not False}
    for key in given:
        if key not in _OPTIONS.get(name, set()):
            known = ", ".join(sorted(_OPTIONS.get(name, set()))) or "none"
            raise QuantizeError(f"option of scheme {name} must be one of {known}, not {key!r}")
    M, N = given.pop("M", 3), given.pop("N", 3)
    if name in ("abc", "abc-real"):
        given.setdefault("u", default_u(M))
    if name == "abc":
        given.setdefault("v", default_v(N))
    if name == "dorefa":
        given = {"weight_bits": 1, "activation_bits": 4} | given
    return Scheme(name, **given)
