"""Callbacks as a conveyor hears of them: each wakes whoever waits for that job."""

import asyncio
from weakref import WeakValueDictionary


class Bell:
    """A bell for one who waits; it may ring before they begin to.

    It is what an ``asyncio.Event`` under ``asyncio.timeout`` is, at a third of the CPU: every poll waits on one.
    """

    def __init__(self) -> None:
        self._rang = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake who waits, or who will next."""
        self._rang = True
        if self._waiting is not None:
            _wake(self._waiting)

    async def rung(self, seconds: float) -> bool:
        """Wait for so long at most, and return whether it has rung since the last time it was waited for."""
        if not self._rang:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            over = loop.call_later(seconds, _wake, self._waiting)
            try:
                await self._waiting
            finally:
                over.cancel()
                self._waiting = None
        rang, self._rang = self._rang, False
        return rang


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Calls:
    """A bell for each job that somebody waits for."""

    def __init__(self) -> None:
        self._bells: WeakValueDictionary[str, Bell] = WeakValueDictionary()

    def bell(self, job_id: str) -> Bell:
        """Return the bell of a job; it is rung for as long as somebody keeps it."""
        return self._bells.setdefault(job_id, Bell())

    def ring(self, job_id: str) -> None:
        """Wake whoever keeps the bell of this job."""
        bell = self._bells.get(job_id)
        if bell is not None:
            bell.ring()

    def ring_all(self) -> None:
        """Wake everybody."""
        for bell in list(self._bells.values()):
            bell.ring()
