"""Who waits for something to end is woken when it has: one poller a process, shared by all who wait.

A listener costs a coroutine and its socket; however many there are, the database is asked twice a round, and what
they then read they read on a few threads of their own, so that they can exhaust neither the pool of connections nor
the threads that serve everybody else. Why polling and not NOTIFY: docs/decisions/0013.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from sqlalchemy import func, select

from cleanplate import db
from cleanplate.models import Batch, Job, Listener, ListenerEvent

log = logging.getLogger(__name__)

T = TypeVar("T")
Version = Any

POLL_SECONDS: Final = 0.25
READERS: Final = 4
GONE_SECONDS: Final = 1.0
"""How long a call that waits may outlive its client."""


class Bell:
    """Rings when what it is about has changed: once for the first look, then for every change that a look finds."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._looked = False
        self.version: Version = None

    def look(self, version: Version) -> None:
        if version != self.version or not self._looked:
            self._looked, self.version = True, version
            self.wake()

    def wake(self) -> None:
        """Ring whatever has changed."""
        self._rung.set()

    async def ring(self, seconds: float) -> bool:
        """Wait for it, for so long at most; return whether it rang."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Switchboard:
    """The poller of one application, and the bells of those who wait. To be used on one event loop."""

    def __init__(self) -> None:
        self._bells: dict[str, set[Bell]] = {}
        self._task: asyncio.Task[None] | None = None
        self.draining = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="listeners")

    @property
    def listeners(self) -> int:
        """How many are waiting."""
        return sum(map(len, self._bells.values()))

    @property
    def idle(self) -> bool:
        """Whether nobody waits and the poller, which looks after them, has ended."""
        return not self._bells and (self._task is None or self._task.done())

    def drain(self) -> None:
        """Let all who wait have their answers now, and nobody wait any more: the server is to stop."""
        self.draining = True
        for bells in self._bells.values():
            for bell in bells:
                bell.wake()

    async def goes_on(self, request: Request) -> bool:
        """Return whether who asked is still there and may wait."""
        return not self.draining and not await request.is_disconnected()

    @contextmanager
    def listening(self, id_: str) -> Iterator[Bell]:
        """Give out a bell that rings when ``id_`` changes.

        Of a batch or a job that is an end more, its own end, its deletion; of a listener, an event or its deletion.
        """
        bell = Bell()
        if self.draining:
            bell.wake()
        self._bells.setdefault(id_, set()).add(bell)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            yield bell
        finally:
            self._bells[id_].discard(bell)
            if not self._bells[id_]:
                del self._bells[id_]

    async def until_ended(self, request: Request, job_id: str, seconds: float) -> bool:
        """Wait until the job has ended; return False if that takes longer, or if who asked has gone."""
        until = time.monotonic() + seconds
        with self.listening(job_id) as bell:
            while (left := until - time.monotonic()) > 0 and await self.goes_on(request):
                await bell.ring(min(left, GONE_SECONDS))
                if bell.version is not None and bell.version.finished_at is not None:
                    return True
        return False

    async def read(self, work: Callable[[], T]) -> T:
        """Run ``work``, which asks the database, on one of the few threads for that."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def _poll(self) -> None:
        while self._bells:
            ids = list(self._bells)
            try:
                versions = await self.read(partial(_versions, ids))
            except db.AWAY as error:
                log.warning("the database is away (%s): listeners wait", db.words(error))
            except Exception:
                log.exception("looking for what listeners wait for failed unexpectedly")
            else:
                for id_ in ids:
                    for bell in self._bells.get(id_, ()):
                        bell.look(versions.get(id_))
            await asyncio.sleep(POLL_SECONDS)


def _switchboard(request: Request) -> Switchboard:
    found: Switchboard = request.app.state.switchboard
    return found


Exchange = Annotated[Switchboard, Depends(_switchboard)]


def _versions(ids: list[str]) -> dict[str, Version]:
    """Return, for each of the batches, jobs and listeners that there is, what differs when something has come."""
    batches = [id_ for id_ in ids if id_.startswith("bat_")]
    jobs = [id_ for id_ in ids if id_.startswith("job_")]
    listeners = [id_ for id_ in ids if id_.startswith("lsn_")]
    newest = select(Listener.id, func.max(ListenerEvent.id)).outerjoin(ListenerEvent).group_by(Listener.id)
    ended = (Batch.succeeded, Batch.failed, Batch.cancelled, Batch.total, Batch.finished_at, Batch.deleted_at)
    with db.transaction() as tx:
        found: list[Any] = list(tx.execute(select(Batch.id, *ended).where(Batch.id.in_(batches)))) if batches else []
        found += tx.execute(select(Job.id, Job.finished_at, Job.deleted_at).where(Job.id.in_(jobs))) if jobs else []
        found += tx.execute(newest.where(Listener.id.in_(listeners))) if listeners else []
    return {row.id: row for row in found}
