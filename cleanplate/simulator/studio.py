"""Where results are made: a bounded pool of threads, the task that ends first goes first, all bytes in files."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cleanplate.simulator import pictures
from cleanplate.simulator.clock import Clock
from cleanplate.simulator.erase import erase
from cleanplate.simulator.options import Options
from cleanplate.simulator.orders import Order
from cleanplate.simulator.patience import Patience
from cleanplate.simulator.tasks import ERROR, READY, Task

Result = TypeVar("Result")

TINY = 64_000  # bytes
CAREFUL_SECONDS, QUICK_SECONDS = 0.6, 0.2  # what a megapixel takes on a small machine that is busy

log = logging.getLogger(__name__)


class Studio:
    """Makes and keeps results in ``folder``. Checks of submits have threads of their own, so that none waits."""

    def __init__(self, folder: Path, clock: Clock, lasting: bool, workers: int = 2) -> None:
        self.folder = folder
        self._clock = clock
        self._lasting = lasting
        self._workers = workers
        self._patience = Patience()
        self._small: dict[str, bytes] = {}
        self._checks = ThreadPoolExecutor(2, "check")
        self._brushes = ThreadPoolExecutor(workers, "erase")
        self._queue: asyncio.PriorityQueue[tuple[float, int, Task, Options]] = asyncio.PriorityQueue()

    async def check(self, options: Options, size: int, step: Callable[..., Result], *args: object) -> Result:
        """Run a short step on ``size`` bytes off the loop, or at once where a change of thread would cost more."""
        if options.erase == "fast" and size <= TINY:
            return step(*args)
        return await asyncio.get_running_loop().run_in_executor(self._checks, step, *args)

    async def take(self, task: Task, order: Order, options: Options) -> None:
        """Keep an accepted task's pictures and see that its result is made."""
        if task.outcome != READY or math.isinf(task.ends_at):
            return
        inputs = order.inputs
        if options.erase == "fast":
            await self.check(options, len(inputs.image), self._finish, task, inputs.image, inputs.mask, options)
            task.produced_at = self._clock.now()
            return
        await self.check(options, len(inputs.image), self._store, task, inputs.image, inputs.mask)
        self.resume(task, options)

    def resume(self, task: Task, options: Options) -> None:
        """Queue a task whose pictures are in the folder; one whose pictures are lost ends in Error."""
        if self._input(task, "image").exists():
            self._queue.put_nowait((task.ends_at, task.ordinal, task, options))
        elif (self.folder / task.result_name).exists():
            task.produced_at = task.ends_at
        elif task.outcome == READY and math.isfinite(task.ends_at):
            task.outcome = ERROR

    async def run(self) -> None:
        """Make results until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def read(self, task: Task, options: Options) -> bytes | None:
        """Return the result's bytes; None where there are none."""
        path = self.folder / task.result_name
        try:
            return self._small.get(task.id) or await self.check(options, path.stat().st_size, path.read_bytes)
        except FileNotFoundError:
            return None

    def forget(self, task: Task) -> None:
        if self._small.pop(task.id, None) is None:
            for path in (self._input(task, "image"), self._input(task, "mask"), self.folder / task.result_name):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        for pool in (self._checks, self._brushes):
            pool.shutdown(cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            _, _, task, options = await self._queue.get()
            try:
                careful = self._patience.left > 0 and task.ends_at - self._clock.now() > self._seconds_for_care()
                seconds = await loop.run_in_executor(self._brushes, self._make, task, options, careful)
                self._patience.spend(seconds if careful else 0)
            except Exception:
                log.exception("task %s ends in Error", task.id)
                task.outcome = ERROR
            else:
                task.produced_at = self._clock.now()

    def _seconds_for_care(self) -> float:
        """Return how much time a careful task takes, and those that wait behind it if they are made quickly."""
        return CAREFUL_SECONDS + QUICK_SECONDS * self._queue.qsize() / self._workers

    def _input(self, task: Task, kind: str) -> Path:
        return self.folder / f"{task.id}.{kind}"

    def _store(self, task: Task, image: bytes, mask: bytes) -> None:
        self._input(task, "mask").write_bytes(mask)
        self._input(task, "image").write_bytes(image)

    def _make(self, task: Task, options: Options, careful: bool) -> float:
        """Make a result from what is in the folder; return the seconds of CPU that it took."""
        start = time.thread_time()
        image, mask = self._input(task, "image"), self._input(task, "mask")
        if image.exists():  # or the task was forgotten meanwhile
            self._finish(task, image.read_bytes(), mask.read_bytes(), options, careful)
            image.unlink()
            mask.unlink()
        return time.thread_time() - start

    def _finish(self, task: Task, image: bytes, mask: bytes, options: Options, careful: bool = False) -> None:
        made = produce(image, mask, task, options, careful)
        if options.erase == "fast" and len(made) <= TINY and not self._lasting:
            self._small[task.id] = made  # opening a file costs more than all the rest of such a task
        else:
            (self.folder / task.result_name).write_bytes(made)


def produce(image: bytes, mask: bytes, task: Task, options: Options, careful: bool) -> bytes:
    """Return the result's bytes."""
    if options.erase == "fast" and pictures.format_of(image) == task.output_format:
        return image
    picture = pictures.decode(image, "RGB")
    if options.erase == "inpaint":
        picture = erase(picture, pictures.decode(mask, "L"), task.dilate_pixels, task.seed, careful)
    if options.max_megapixels:
        picture = pictures.shrink(picture, options.max_megapixels * 1e6)
    return pictures.encode(picture, task.output_format)
