"""A conveyor's own session in PostgreSQL: it shows that the conveyor lives, and on it callbacks are heard.

It holds a lock by which others know it. PostgreSQL frees that lock in the moment in which the process dies, on whatever
machine, long before the lease ends. An ended session alone proves nothing, for connections are cut and servers restart:
it makes a short silence enough (:func:`end_leases`).
"""

import asyncio
import logging
import time
from datetime import timedelta
from typing import Final, NoReturn

from sqlalchemy import func, literal, update

from cleanplate import callbacks, db
from cleanplate.models import Worker
from worker.calls import Calls

log = logging.getLogger(__name__)

AWAY_SECONDS: Final = 0.25
LOCK: Final = "cleanplate.worker."


class Session:
    """The session of ``worker``, on which callbacks ring ``calls``: hints, so a lost one costs time and no more."""

    def __init__(self, worker: str, calls: Calls) -> None:
        self._worker = worker
        self._calls = calls
        self._began: float | None = None

    @property
    def age(self) -> float:
        """How many seconds it has lasted; 0 while there is none."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    async def lane(self) -> NoReturn:
        """Have a session until cancelled."""
        while True:
            try:
                await self._last()
            except db.SESSION_AWAY as error:
                log.warning("the conveyor's session has ended (%s): beginning another", type(error).__name__)
            self._began = None
            await asyncio.sleep(AWAY_SECONDS)

    async def _last(self) -> None:
        async with await db.connect_async() as connection:
            await connection.execute("SELECT pg_advisory_lock_shared(hashtext(%s))", [LOCK + self._worker])
            self._began = time.monotonic()
            await connection.execute(f"LISTEN {callbacks.CHANNEL}")
            async for notification in connection.notifies():
                self._calls.ring(notification.payload)


def end_leases(tx: db.Transaction, worker: str, left_seconds: float) -> None:
    """End the leases of workers whose session has ended, and that have not been renewed since so little was left.

    Those of ``worker``, who asks and so is alive, is none of them.
    """
    silent = Worker.expires_at.between(func.now(), func.now() + timedelta(seconds=left_seconds))
    ended = func.pg_try_advisory_xact_lock(func.hashtext(literal(LOCK).concat(Worker.id)))
    tx.execute(update(Worker).where(Worker.id != worker, silent, ended).values(expires_at=func.now()))
