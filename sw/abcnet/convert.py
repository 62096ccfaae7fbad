"""An ordinary torch.nn network becomes a quantised one, with the weights it has: the paper's initialisation.

The network is traced (torch.fx) and read as blocks conv [-> pool] [-> batch norm] [-> pool] [-> add] -> ReLU [-> pool],
pools after ReLU being the same as before it. `set_binary(network, False)` gives back the original's logits, but for the
border of a padded first layer where the image has a mean: there it is black here (see `architecture`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sw.errors import AbacusError

from .architecture import IMAGE, Architecture, BlockSpec, Network
from .schemes import Scheme

SUPPORTED = ("Conv2d, Linear, BatchNorm1d, BatchNorm2d, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), Flatten, "
             "Dropout, Identity and additions")


class ConvertError(AbacusError):
    """A network that cannot be converted; the message is one sentence naming the module and what is supported."""


def convert(model: nn.Module, using: Scheme, image: tuple[int, int, int], *, mean: tuple[float, ...] = (),
            std: float = 1.0, name: str = "converted", wide: bool = False) -> Network:
    """The network of `model` in the scheme `using`, with the weights and statistics that `model` has.

    image: rows, columns, channels of the uint8 pixels x, of which the model takes (x / 255 - mean) / std. wide: 8-bit
    weights in the first and last layer. Raises `ConvertError` for a module that is not SUPPORTED.
    """
    tracer = _Converter(model)
    blocks = tracer.run()
    specs = [block.spec for block in blocks]
    if wide:
        specs = [replace(spec, wide=index in (0, len(specs) - 1)) for index, spec in enumerate(specs)]
    network = Architecture(name, image, tuple(specs), using, mean, std, relu=True).build()
    with torch.no_grad():
        for block, spec in zip(blocks, specs, strict=True):
            _fill(network.blocks[spec.name], block)
    return network.eval()


@dataclass(eq=False)
class _Open:
    """A block that later modules may still extend, and where its numbers come from."""

    spec: BlockSpec
    linear: nn.Conv2d | nn.Linear
    norm: nn.modules.batchnorm._BatchNorm | None = None


@dataclass(frozen=True)
class _Ready:
    """An activated tensor: block, windows averaged over (0: the whole map), made flat."""

    block: _Open | None
    average: int = 1
    flat: bool = False


@dataclass
class _Converter:
    model: nn.Module
    blocks: list[_Open] = field(default_factory=list)
    values: dict[fx.Node, Any] = field(default_factory=dict)

    def run(self) -> list[_Open]:
        """Blocks in an order in which each comes after what it reads and adds."""
        try:
            graph = fx.symbolic_trace(self.model).graph
        except Exception as error:  # whatever the model's own code does with a proxy
            raise ConvertError(f"model must be traceable by torch.fx: {str(error).splitlines()[0]}") from None
        for node in graph.nodes:
            if node.op == "placeholder":
                if self.values:
                    raise ConvertError("model must have one input, the image")
                self.values[node] = _Ready(None)
            elif node.op == "output":
                self._finish(node)
            else:
                self.values[node] = self._step(node)
        return self.blocks

    def _step(self, node: fx.Node) -> Any:
        kind, options = self._normalised(node)
        inputs = [self.values[argument] for argument in node.args if isinstance(argument, fx.Node)]
        if kind == "size" and (node.target is not operator.getitem or inputs == [None]):
            return None  # a number that some view is told
        inputs = [value for value in inputs if value is not None]
        if kind is None or kind == "size" or len(inputs) != (2 if kind == "add" else 1):
            raise self._unsupported(node)
        return getattr(self, f"_{kind}")(node, *inputs, **options)

    def _normalised(self, node: fx.Node) -> tuple[str | None, dict[str, Any]]:
        """(kind, options) of a node, whichever way it is written."""
        if node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            return next(((kind, options(module)) for kinds, kind, options in _MODULES if isinstance(module, kinds)),
                        (None, {}))
        kind = _FUNCTIONS.get(node.target) or (_METHODS.get(str(node.target)) if node.op == "call_method" else None)
        names = {"max_pool": ("kernel_size", "stride", "padding"), "avg_pool": ("kernel_size", "stride", "padding"),
                 "adaptive": ("output_size",)}.get(kind or "", ())
        options = dict(zip(names, node.args[1:], strict=False)) | {k: v for k, v in node.kwargs.items() if k in names}
        return kind, options

    def _linear(self, node: fx.Node, source: Any, module: Any) -> _Open:
        if not isinstance(source, _Ready):
            raise ConvertError(f"module {node.target} must read an activation: a ReLU is missing before it")
        if any(block.linear is module for block in self.blocks):
            raise ConvertError(f"module {node.target} must be used once")
        dense = isinstance(module, nn.Linear)
        if dense and not source.flat and source.block is not None and not isinstance(source.block.linear, nn.Linear):
            raise ConvertError(f"module {node.target} must read a flat tensor: a Flatten is missing before it")
        spec = BlockSpec(
            module.out_features if dense else module.out_channels, 0 if dense else _one(node, module.kernel_size),
            stride=1 if dense else _one(node, module.stride), padding=0 if dense else _one(node, module.padding),
            average=source.average, name=_name(node),
            source=IMAGE if source.block is None else source.block.spec.name, norm="none", activate=False)
        if not dense and (module.groups != 1 or _one(node, module.dilation) != 1 or module.padding_mode != "zeros"):
            raise ConvertError(f"module {node.target} must have one group, no dilation and zero padding")
        block = _Open(spec, module)
        self.blocks.append(block)
        return block

    def _norm(self, node: fx.Node, block: Any, module: Any) -> _Open:
        if not isinstance(block, _Open) or block.norm is not None or block.spec.add or module.running_mean is None:
            raise ConvertError(f"module {node.target} must follow a convolution or linear layer, and have statistics")
        pooled = block.spec.pool > 1
        if pooled and module.weight is not None and bool((module.weight < 0).any()):
            raise ConvertError(f"module {node.target} follows a max-pool, so its scale must be 0 or more everywhere")
        block.norm = module
        return self._extend(block, norm="after" if pooled else "before")

    def _relu(self, node: fx.Node, value: Any) -> _Ready:
        if isinstance(value, _Open):
            self._single(node)
            self._extend(value, activate=True)
            return _Ready(value)
        if value.block is None:
            raise ConvertError(f"{node} must not be a ReLU of the image")
        return value

    def _max_pool(self, node: fx.Node, value: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
        block = value if isinstance(value, _Open) else value.block
        ready = isinstance(value, _Ready)
        if block is None or block.spec.pool > 1 or block.spec.add or (ready and (value.average, value.flat) != (1, 0)):
            raise ConvertError(f"max-pool {node.target} must follow a convolution, before or after its norm and ReLU")
        self._single(node)
        pool = _one(node, kernel_size)
        self._extend(block, pool=pool, pool_stride=_one(node, stride or pool), pool_padding=_one(node, padding))
        return value

    def _avg_pool(self, node: fx.Node, value: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> _Ready:
        size = _one(node, kernel_size)
        if not isinstance(value, _Ready) or value.block is None or value.flat or value.average != 1 \
                or _one(node, stride or size) != size or _one(node, padding):
            raise ConvertError(f"average pool {node.target} must follow a ReLU, its stride its window, without padding")
        return replace(value, average=size)

    def _adaptive(self, node: fx.Node, value: Any, output_size: Any) -> _Ready:
        if not isinstance(value, _Ready) or value.block is None or _one(node, output_size) != 1 or value.average != 1:
            raise ConvertError(f"average pool {node.target} must follow a ReLU and leave one pixel")
        return replace(value, average=0)

    def _flat(self, node: fx.Node, value: Any) -> Any:
        return replace(value, flat=True) if isinstance(value, _Ready) else value

    def _same(self, node: fx.Node, value: Any) -> Any:
        return value

    def _add(self, node: fx.Node, first: Any, second: Any) -> _Open:
        pair = [value for value in (first, second) if isinstance(value, _Open) and not value.spec.add]
        if not pair or any(isinstance(value, _Ready) and (value.block is None or value.average != 1 or value.flat)
                           for value in (first, second)):
            raise ConvertError(f"addition {node} must be of a convolution's output and a shortcut from a ReLU or a "
                               f"projection")
        main = pair[0]
        if len(pair) == 2 and main.spec.kernel == 1 and pair[1].spec.kernel != 1:
            main = pair[1]
        shortcut = second if main is first else first
        block = shortcut if isinstance(shortcut, _Open) else shortcut.block
        if isinstance(shortcut, _Open):
            if shortcut.spec.add:
                raise ConvertError(f"addition {node} must have a ReLU after the addition before it")
            self._extend(block, rectify=False)
        if self.blocks.index(block) > self.blocks.index(main):  # the projection goes first: what it reads is there
            self.blocks.remove(block)
            self.blocks.insert(self.blocks.index(main), block)
        self._single(node)
        return self._extend(main, add=block.spec.name)

    def _finish(self, node: fx.Node) -> None:
        last = self.values.get(node.args[0]) if isinstance(node.args[0], fx.Node) else None
        if not isinstance(last, _Open) or self.blocks[-1] is not last:
            raise ConvertError("model must end in a convolution or linear layer that makes the logits, without ReLU")

    def _extend(self, block: _Open, **changes: Any) -> _Open:
        block.spec = replace(block.spec, **changes)
        return block

    def _single(self, node: fx.Node) -> None:
        """The values that `node` takes and that are still open have no other reader."""
        for argument in node.all_input_nodes:
            value = self.values[argument]
            pooled = self._normalised(node)[0] == "max_pool"
            if (isinstance(value, _Open) or pooled) and len(argument.users) > 1:
                raise ConvertError(f"{argument} must be read by {node} alone, because what it makes is no activation")

    def _unsupported(self, node: fx.Node) -> ConvertError:
        what = (f"module {node.target} ({type(self.model.get_submodule(str(node.target))).__name__})"
                if node.op == "call_module" else f"operation {node} ({getattr(node.target, '__name__', node.target)})")
        return ConvertError(f"{what} cannot be converted: supported are {SUPPORTED}")


def _name(node: fx.Node) -> str:
    """A block's name: the module's, letters first and without dots."""
    name = str(node.target).replace(".", "_")
    return f"layer_{name}" if name[0].isdigit() else name


def _one(node: fx.Node, value: Any) -> int:
    """The one size that both axes have."""
    sizes = set(value) if isinstance(value, (tuple, list)) else {value}
    if len(sizes) != 1 or not isinstance(size := sizes.pop(), int):
        raise ConvertError(f"{node.target} must have one size, stride and padding for both axes, not {value}")
    return size


def _pool_options(module: Any) -> dict[str, Any]:
    if getattr(module, "ceil_mode", False) or getattr(module, "dilation", 1) not in (1, (1, 1)):
        raise ConvertError("max-pools must have neither dilation nor ceil_mode")
    return {"kernel_size": module.kernel_size, "stride": module.stride, "padding": module.padding}


_MODULES: tuple[tuple[Any, str, Callable[[Any], dict[str, Any]]], ...] = (
    ((nn.Conv2d, nn.Linear), "linear", lambda m: {"module": m}),
    ((nn.BatchNorm1d, nn.BatchNorm2d), "norm", lambda m: {"module": m}),
    (nn.ReLU, "relu", lambda m: {}),
    (nn.MaxPool2d, "max_pool", _pool_options),
    (nn.AvgPool2d, "avg_pool", _pool_options),
    (nn.AdaptiveAvgPool2d, "adaptive", lambda m: {"output_size": m.output_size}),
    (nn.Flatten, "flat", lambda m: {}),
    ((nn.Dropout, nn.Dropout2d, nn.Identity), "same", lambda m: {}),
)
_FUNCTIONS: dict[Any, str] = {
    F.relu: "relu", torch.relu: "relu", F.max_pool2d: "max_pool", torch.max_pool2d: "max_pool",
    F.avg_pool2d: "avg_pool", F.adaptive_avg_pool2d: "adaptive", torch.flatten: "flat", F.dropout: "same",
    operator.getitem: "size", getattr: "size", operator.add: "add", operator.iadd: "add", torch.add: "add",
}
_METHODS = {"relu": "relu", "flatten": "flat", "view": "flat", "reshape": "flat", "add": "add", "add_": "add",
            "contiguous": "same", "size": "size"}


def _fill(block: Any, given: _Open) -> None:
    """Copy weights and statistics; a bias before a batch normalisation moves its mean."""
    conv, norm = block.conv, block.norm
    if given.linear.weight.numel() != conv.weight.numel():
        inputs = given.linear.weight[0].numel()
        raise ConvertError(f"module {given.spec.name} takes {inputs} inputs, but an image of this size gives it "
                           f"{conv.weight[0].numel()}")
    conv.weight.copy_(given.linear.weight.reshape(conv.weight.shape))
    bias = torch.zeros(conv.out_channels) if given.linear.bias is None else given.linear.bias
    if norm is None:
        conv.bias.copy_(bias)
        return
    source: Any = given.norm
    norm.eps, norm.momentum = source.eps, source.momentum
    norm.running_mean.copy_(source.running_mean - bias)
    norm.running_var.copy_(source.running_var)
    for mine, theirs, default in ((norm.weight, source.weight, 1.0), (norm.bias, source.bias, 0.0)):
        mine.copy_(torch.full_like(mine, default) if theirs is None else theirs)


def absorb_statistics(weight: Tensor, theirs: tuple[tuple[float, ...], tuple[float, ...]],
                      ours: tuple[tuple[float, ...], float]) -> tuple[Tensor, Tensor]:
    """(weight, bias) of a first layer [co, ci, kh, kw] trained on (x - mean) / std per channel, for our mean and std.

    Both give the same sums but at the border, where zeros stand for another pixel.
    """
    (mean, std), (our_mean, our_std) = theirs, ours
    deviation = torch.tensor(std, dtype=weight.dtype).view(1, -1, 1, 1)
    shift = torch.tensor(our_mean, dtype=weight.dtype) - torch.tensor(mean, dtype=weight.dtype)
    return weight * our_std / deviation, (weight / deviation * shift.view(1, -1, 1, 1)).sum((1, 2, 3))
