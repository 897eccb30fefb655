"""Callbacks as a conveyor hears of them: notifications of PostgreSQL, each of which wakes whoever waits for one job.

A notification is a hint: one that is lost, because the connection was, costs time and nothing else.
"""

import asyncio
import logging
from typing import Final, NoReturn
from weakref import WeakValueDictionary

import psycopg

from cleanplate import callbacks, db

log = logging.getLogger(__name__)

AWAY: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
AWAY_SECONDS: Final = 1.0


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

    async def lane(self) -> NoReturn:
        """Ring for each callback, until cancelled."""
        while True:
            try:
                await self._listen()
            except AWAY as error:
                log.warning("callbacks are not heard (%s): polls go on, listening again soon", type(error).__name__)
            await asyncio.sleep(AWAY_SECONDS)

    async def _listen(self) -> None:
        async with await db.connect_async() as connection:
            await connection.execute(f"LISTEN {callbacks.CHANNEL}")
            async for notification in connection.notifies():
                self.ring(notification.payload)
