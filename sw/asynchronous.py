"""The driver for asyncio: every call of `Accelerator` as a coroutine.

The calls run one after the other in a thread of their own, in which the link blocks; the event loop never does.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from sw.compiler import Program
from sw.driver import Accelerator, Progress, Stats
from sw.errors import AbacusError

T = TypeVar("T")


class Cancelled(AbacusError):
    """The task that asked was cancelled."""


class AsyncAccelerator:
    """An `Accelerator` for use with `async with`; any number of tasks may call it.

    Parameters
    ----------
    accelerator : Accelerator, not entered yet

    A cancelled `load` or `infer` ends after the image or frame in hand; the driver is then as after any failure.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="accelerator")

    async def __aenter__(self) -> Self:
        try:
            await self._call(self._accelerator.__enter__)
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._call(self._accelerator.close)
        self._thread.shutdown()

    async def load(self, program: Program, progress: Progress | None = None) -> bool:
        """`Accelerator.load`; `progress` is called in another thread."""
        return await self._stoppable(functools.partial(self._accelerator.load, program), progress)

    async def infer(self, images: Any, progress: Progress | None = None) -> np.ndarray:
        """`Accelerator.infer`; `progress` is called in another thread."""
        return await self._stoppable(functools.partial(self._accelerator.infer, images), progress)

    async def ping(self, payload: bytes = b"") -> float:
        """`Accelerator.ping`."""
        return await self._call(functools.partial(self._accelerator.ping, payload))

    async def stats(self) -> Stats:
        """`Accelerator.stats`."""
        return await self._call(self._accelerator.stats)

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _stoppable(self, call: Callable[[Progress], T], progress: Progress | None) -> T:
        stopped = False

        def show(done: int, total: int) -> None:
            if stopped:
                raise Cancelled("the call was cancelled")
            if progress:
                progress(done, total)

        try:
            return await self._call(functools.partial(call, show))
        except asyncio.CancelledError:
            stopped = True
            raise
