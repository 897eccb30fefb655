"""Callbacks as a conveyor hears of them: each wakes whoever waits for that job."""

import asyncio
from weakref import WeakValueDictionary


class Calls:
    """A bell for each job that somebody waits for; it may ring before they begin to wait."""

    def __init__(self) -> None:
        self._bells: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def bell(self, job_id: str) -> asyncio.Event:
        """Return the bell of a job; it is rung for as long as somebody keeps it."""
        return self._bells.setdefault(job_id, asyncio.Event())

    def ring(self, job_id: str) -> None:
        """Wake whoever keeps the bell of this job."""
        bell = self._bells.get(job_id)
        if bell is not None:
            bell.set()

    def ring_all(self) -> None:
        """Wake everybody."""
        for bell in list(self._bells.values()):
            bell.set()
