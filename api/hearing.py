"""Callbacks are taken in together: one transaction for all that came while the one before was under way."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cleanplate import callbacks, db

PAUSE_SECONDS: Final = 0.02
"""A call that comes so soon after others were taken in goes with the next."""


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    digest: str
    task_id: str
    known: asyncio.Future[bool]


class Hearing:
    """The calls that one application hears. To be used on one event loop.

    PostgreSQL lets transactions that notify commit one after the other, each with a flush to the disk: with a
    transaction for each call, those about hundreds of slots would be heard when polls have long seen the results.
    """

    def __init__(self) -> None:
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None

    async def heard(self, digest: str, task_id: str) -> bool:
        """Take in a proven call, as :func:`cleanplate.callbacks.heard` does; return False when nobody asked for it.

        It is committed by then. Raises one of :data:`cleanplate.db.AWAY` when it is not: it may come again.
        """
        call = _Call(digest, task_id, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._take_in())
        return await call.known

    async def _take_in(self) -> None:
        while self._waiting:
            calls, self._waiting = self._waiting, []
            try:
                taken = await asyncio.to_thread(_heard, calls)
            except Exception as error:  # noqa: BLE001 -- each request answers it
                for call in _open(calls):
                    call.known.set_exception(error)
            else:
                self._waiting += (call for call in calls if not taken.get(call.digest, True))
                for call in _open(calls):
                    if taken.get(call.digest, True):
                        call.known.set_result(call.digest in taken)
            await asyncio.sleep(PAUSE_SECONDS)


def _open(calls: Sequence[_Call]) -> list[_Call]:
    """Return those whose request still waits: one that is broken off has cancelled its future."""
    return [call for call in calls if not call.known.done()]


def _heard(calls: Sequence[_Call]) -> dict[str, bool]:
    first_of_each = {call.digest: call.task_id for call in reversed(calls)}
    with db.transaction() as tx:
        return callbacks.heard(tx, first_of_each)
