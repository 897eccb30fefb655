"""What a request brings for a batch is taken in while the rest of it still arrives.

That is an advance on what the call does when its body has come: it goes on with the batch as one that is sent again
does, and judges once more whatever was not taken. So nothing is refused here, and what is left undone is done then.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from api import admission, intake, receivers
from api.admission import Admitted, Item
from api.auth import Authenticated
from api.errors import Problem
from api.finding import Finder, finder
from api.forms import Form
from api.idempotency import Hold, Key
from api.itemwise import Reading
from cleanplate import db
from cleanplate.outbound import ForbiddenUrl
from cleanplate.resources import BatchOptions

LOOK_SECONDS: Final = 0.25
"""A request that comes whole within this is taken in at once, in as few transactions as it takes."""
LOOK_PAGES: Final = 4
"""Pages after which it is seen whether the client is still there, and the key is held for longer."""

DryRun = Annotated[bool, Query(description="Check everything; store, create and pay nothing.")]


class Arrival(ABC):
    """One request that brings items. ``admitted`` tells which of them are in the batch before it has come whole."""

    _is_new = False

    def __init__(self, tenant_id: str, hold: Hold) -> None:
        self.admitted = Admitted([])
        self._tenant_id, self._hold = tenant_id, hold
        self._batch_id: str | None = None
        self._finder: Finder | None = None
        self._found: list[Item] = []
        self._over = False

    @abstractmethod
    def _know(self, ahead: Mapping[str, str | bytes]) -> BatchOptions | None:
        """Return the options of the batch by what stands before its items, or None if nothing may be taken yet."""

    async def receive(
        self, come: Form | Reading[Any], body: Awaitable[None], flush: Callable[[], Awaitable[None]]
    ) -> None:
        """Wait for the ``body`` and meanwhile take what is whole, a look at a time; ``flush`` makes it readable."""
        arriving = asyncio.ensure_future(body)
        try:
            while not (await asyncio.wait({arriving}, timeout=LOOK_SECONDS))[0]:
                await flush()
                while not arriving.done() and await run_in_threadpool(self._look, come):
                    await flush()
            await arriving
            if self._finder and self._batch_id:
                await run_in_threadpool(self._finder.check)
        except Exception as error:
            raise await run_in_threadpool(self._broken_off, error) from error
        finally:
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)

    def _look(self, come: Form | Reading[Any]) -> bool:
        """Take the items that have become whole, and tell whether there were any."""
        if self._over or come.ahead is None:
            return False
        if self._finder is None:
            options = self._know(come.ahead)
            if options is None:
                self._over = True
                return False
            self._finder = finder(come, options, self._tenant_id)
        self._found += self._finder.find()
        if not self._found or not self._hold.extend():
            return False
        self._batch_id = self._batch_id or self._hold.lease.begun
        most = LOOK_PAGES * admission.page_size(self._finder.place, self._found, self._finder.options)
        found, self._found = self._found[:most], self._found[most:]
        self._take(self._finder, found)
        return True

    def _take(self, finder: Finder, found: Sequence[Item]) -> None:
        options = finder.options
        if self._batch_id is not None:
            found, _ = admission.new(self._batch_id, found)
        with closing(admission.pages(finder.place, found, options, Admitted([]), self._hold.lease)) as pages:
            if self._batch_id is None:
                if not (taken := next(pages, [])):
                    return
                with db.transaction() as tx:
                    row, _ = admission.begin(tx, self._tenant_id, options)
                    admission.insert(tx, row, taken, options, self.admitted)
                    self._hold.note(tx, row.id, admission.done(taken, self._hold.lease))
                self._batch_id = row.id
            admission.add(self._tenant_id, self._batch_id, pages, options, self.admitted, self._hold)
        self._over = any(one.code not in intake.HARMLESS for one in self.admitted.rejected)

    def _broken_off(self, error: Exception) -> Exception:
        """Return what to raise for a request that did not come whole; what was taken stays, and the batch says so."""
        with suppress(*db.AWAY), db.transaction() as tx:
            made = self._batch_id if self._is_new else None
            if made is not None and self._hold.is_held(tx):  # or another attempt goes on with the batch, or has
                with suppress(Problem):
                    admission.note_incomplete(tx, made, self.admitted.count)
            self._hold.free(tx)  # with the note: who has read it may send the call again at once
        return error if self._batch_id is None else admission.interrupted(error, self._batch_id, self._hold.lease.done)


class NewBatch(Arrival):
    """A request that makes a batch: nothing is begun before its options are there."""

    _is_new = True

    def _know(self, ahead: Mapping[str, str | bytes]) -> BatchOptions | None:
        if set(ahead) != {"options"}:
            return None
        try:
            options = BatchOptions.model_validate_json(ahead["options"])
            if options.webhook_url is not None:
                receivers.check_url(options.webhook_url)
        except (ValidationError, ForbiddenUrl, Problem):
            return None
        return None if options.atomic else options


class NewItems(Arrival):
    """A request that brings items to a batch."""

    def __init__(self, tenant_id: str, hold: Hold, batch_id: str) -> None:
        super().__init__(tenant_id, hold)
        self._into = batch_id

    def _know(self, ahead: Mapping[str, str | bytes]) -> BatchOptions | None:
        if ahead:
            return None
        with suppress(Problem), db.transaction() as tx:
            row = admission.find(tx, self._tenant_id, self._into)
            options = BatchOptions(**row.options)
            if admission.closed(row) is None and not options.atomic:
                self._batch_id = row.id
                return options
        return None


def new_batch(request: Request, who: Authenticated, key: Key = None, *, dry_run: DryRun = False) -> NewBatch | None:
    """Return what is to be done while a new batch arrives."""
    return None if dry_run else NewBatch(who.tenant_id, _hold(request, who.tenant_id, key))


def new_items(request: Request, who: Authenticated, batch_id: str, key: Key = None) -> NewItems:
    """Return what is to be done while items arrive."""
    return NewItems(who.tenant_id, _hold(request, who.tenant_id, key), batch_id)


def _hold(request: Request, tenant_id: str, key: str | None) -> Hold:
    request.state.hold = hold = Hold(request, tenant_id, key)
    return hold


ArrivingBatch = Annotated[NewBatch | None, Depends(new_batch, scope="function")]
ArrivingItems = Annotated[NewItems, Depends(new_items, scope="function")]
