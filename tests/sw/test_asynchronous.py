"""The driver under asyncio: the same results, a loop that never waits, and cancellation that ends the work."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from sw.abcnet.reference import reference
from sw.asynchronous import AsyncAccelerator
from sw.driver import Accelerator
from sw.errors import NoReply
from sw.link import EmulatedLink
from tests.sw.links import Answering, device, program_for
from tests.sw.samples import small_graph, some_images


def test_tasks_share_a_device() -> None:
    batches = [some_images(3, seed) for seed in range(4)]

    async def main() -> list[np.ndarray]:
        async with AsyncAccelerator(Accelerator(EmulatedLink(device()))) as accelerator:
            assert await accelerator.load(program_for())
            assert await accelerator.ping(b"x") >= 0
            logits = await asyncio.gather(*(accelerator.infer(batch) for batch in batches))
            assert (await accelerator.stats()).frames == 12
            return list(logits)

    for batch, logits in zip(batches, asyncio.run(main()), strict=True):
        np.testing.assert_array_equal(logits, reference(small_graph(), batch).logits)


def test_the_loop_goes_on_while_a_device_is_silent() -> None:
    async def main() -> int:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.01)
                beats += 1

        task = asyncio.create_task(beat())
        with pytest.raises(NoReply, match="does not answer"):
            async with AsyncAccelerator(Accelerator(Answering(lambda frame: b""), timeout=0.1, retries=2)):
                pass
        task.cancel()
        return beats

    assert asyncio.run(main()) >= 5


def test_a_cancelled_batch_ends_early_and_leaves_nothing_behind() -> None:
    images, seen = some_images(400), []

    async def main() -> np.ndarray:
        async with AsyncAccelerator(Accelerator(EmulatedLink(device()))) as accelerator:
            await accelerator.load(program_for())
            task = asyncio.create_task(accelerator.infer(images, lambda done, total: seen.append(done)))
            while not seen:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await accelerator.infer(images[:2])

    start = time.monotonic()
    np.testing.assert_array_equal(asyncio.run(main()), reference(small_graph(), images[:2]).logits)
    assert 0 < len(seen) < 400, time.monotonic() - start
