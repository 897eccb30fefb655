"""The one place through which a conveyor writes: wishes that come together are one transaction."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from cleanplate.jobs import Change

log = logging.getLogger(__name__)

Apply = Callable[[list[Change]], Awaitable[set[str]]]


class Writer:
    """Collects changes while the transaction before them runs, so load makes transactions larger, not more."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self._wishes: asyncio.Queue[tuple[Change, asyncio.Future[bool]]] = asyncio.Queue()

    async def write(self, change: Change) -> bool:
        """Make the change and return whether it was granted; False means that the job is no longer ours."""
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._wishes.put_nowait((change, granted))
        return await granted

    async def lane(self) -> None:
        """Write until cancelled."""
        while True:
            batch = [await self._wishes.get()]
            while not self._wishes.empty():
                batch.append(self._wishes.get_nowait())
            granted = await self._apply([change for change, _ in batch])
            for change, future in batch:
                if not future.done():
                    future.set_result(change.job_id in granted)
