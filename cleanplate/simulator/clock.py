"""The time as the simulator tells it, which tests may move."""

import asyncio
import contextlib
import time
from collections.abc import Callable


class Clock:
    """Seconds since the epoch that run on by themselves and can be moved forward."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic, epoch: float | None = None) -> None:
        self._ticks = ticks
        self._offset = (time.time() if epoch is None else epoch) - ticks()
        self._moved = asyncio.Event()

    def now(self) -> float:
        return self._ticks() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the time on; whoever waits for a moment now past goes on at once. Raises ValueError for a step back."""
        if seconds < 0:
            raise ValueError("the clock runs forward only")
        self._offset += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    async def until(self, moment: float) -> None:
        """Wait until the clock shows ``moment``."""
        while (left := moment - self.now()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), left)

    async def sleep(self, seconds: float) -> None:
        await self.until(self.now() + seconds)
