"""Look inside a component without changing it: its registers and memories by name, and copies with a bug."""

import ast
import importlib.machinery
import importlib.util
import inspect
import linecache
from collections.abc import Callable, Iterator
from types import ModuleType
from unittest import mock

from amaranth.hdl import Elaboratable, Fragment, Signal
from amaranth.lib import memory

_made: list[memory.Memory] = []
_initialise = memory.Memory.__init__


def _watched(self, *args, **kwargs) -> None:
    """A memory with one more port, to look at any of its words."""
    _initialise(self, *args, **kwargs)
    self.ghost = self.read_port(domain="comb")
    _made.append(self)


class Opened(Elaboratable):
    """A component, elaborated, with what is inside.

    Members
    -------
    component : the component; its ports are the contract's handles
    memories : its memories in the order of elaboration; `ghost` of each is a free combinational read port
    """

    def __init__(self, component):
        _made.clear()
        with mock.patch.object(memory.Memory, "__init__", _watched):
            self._fragment = Fragment.get(component, None)
        self.component, self.memories = component, tuple(_made)
        self._signals: dict[str, Signal] = {}
        self._collect(self._fragment, "")

    def _collect(self, fragment: Fragment, prefix: str) -> None:
        driven = [signal for statements in fragment.statements.values() for statement in statements
                  for signal in statement._lhs_signals() if isinstance(signal, Signal)]
        for signal in driven:
            self._signals.setdefault(prefix + signal.name, signal)
        for name, signal in _unpacked(driven):
            self._signals.setdefault(prefix + name, signal)
        for part, name, _ in fragment.subfragments:
            self._collect(part, f"{prefix}{name}.")

    def __getitem__(self, name: str) -> Signal:
        """The signal that the component drives under this name, sub-blocks separated by dots."""
        if name not in self._signals:
            raise KeyError(f"{name} is not among {', '.join(sorted(self._signals))}")
        return self._signals[name]

    def state(self, name: str, fsm: str = "fsm_state"):
        """Whether the state machine is in the state called `name`."""
        signal = self[fsm]
        codes = {signal.decoder(code).split("/")[0]: code for code in self._codes(signal)}
        return signal == codes[name]

    def legal(self, fsm: str = "fsm_state"):
        """Whether the state machine is in one of its states."""
        return self[fsm] <= self._codes(self[fsm])[-1]

    def _codes(self, signal: Signal) -> range:
        count = 0
        while True:
            try:
                signal.decoder(count)
            except KeyError:
                return range(count)
            count += 1

    def elaborate(self, platform) -> Fragment:
        return self._fragment


def _unpacked(signals: list[Signal]) -> Iterator[tuple[str, Signal]]:
    """The signals of assignments to several names: Amaranth sees at most one of these names."""
    lines: dict[tuple[str, int], dict[int, Signal]] = {}
    for signal in signals:
        lines.setdefault(signal.src_loc, {})[signal.duid] = signal
    for place, made in lines.items():
        try:
            (statement,) = ast.parse(linecache.getline(*place).strip()).body
        except (SyntaxError, ValueError):
            continue
        names = [node.id for node in ast.walk(statement)
                 if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        if len(names) == len(made) > 1:
            yield from zip(names, (signal for _, signal in sorted(made.items())), strict=True)


class _Edited(importlib.machinery.SourceFileLoader):
    """Loads a module with one place of its source replaced."""

    def __init__(self, module: ModuleType, old: str, new: str):
        super().__init__(module.__name__, inspect.getfile(module))
        self._old, self._new = old, new

    def get_code(self, fullname):
        text = self.get_source(fullname)
        if text.count(self._old) != 1:
            raise ValueError(f"{fullname} must contain {self._old!r} once, not {text.count(self._old)} times")
        return self.source_to_code(text.replace(self._old, self._new), self.path)


def mutant(component: type, old: str, new: str) -> Callable:
    """The class of the same name from a copy of its module, in which `old`, found once, reads `new`."""
    loader = _Edited(inspect.getmodule(component), old, new)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return getattr(module, component.__name__)
