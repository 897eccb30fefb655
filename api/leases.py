"""The rows of the keys by which clients name their calls: which attempt has a key, and how far its call has come."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from fastapi import Request, Response
from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from api.errors import Problem
from api.fingerprint import begins_alike, is_partial
from cleanplate import db, vault
from cleanplate.idempotency import KEPT, IdempotencyKey

LEASE: Final = timedelta(seconds=60)
RETRY_SECONDS: Final = "1"


class Named(Protocol):
    """A call, its key, and what tells it from others."""

    @property
    def tenant_id(self) -> str: ...

    @property
    def key(self) -> str | None: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(slots=True)
class Lease:
    """What an attempt has of its call: the key, ``until`` then, or None if there is none; and how far the call is.

    ``begun`` is the id of the batch to which this attempt or an earlier one has brought items. Of the items of its
    JSON so many are ``done``, ``before`` of them by earlier attempts: they are jobs, or were refused.
    """

    until: datetime | None = None
    begun: str | None = None
    done: int = 0
    before: int = 0

    def note(self, tx: db.Transaction, call: Named, batch_id: str, done: int) -> None:
        """Write with the work of ``tx`` how far the call is then. Raises :class:`Problem` 409 if it is farther already.

        So of two attempts that have overtaken each other only one brings an item.
        """
        if call.key is not None:
            as_known = IdempotencyKey.begun.is_not_distinct_from(self.begun) & (IdempotencyKey.done == self.done)
            farther = {"begun": batch_id, "done": done}
            fresh = {"fingerprint": call.fingerprint, "leased_until": func.now() + LEASE}
            row = insert(IdempotencyKey).values(tenant_id=call.tenant_id, key=call.key, **fresh, **farther)
            row = row.on_conflict_do_update(
                index_elements=["tenant_id", "key"], set_=farther, where=IdempotencyKey.status.is_(None) & as_known
            )
            if tx.scalar(row.returning(IdempotencyKey.key)) is None:
                raise running()
        tx.after_commit(partial(self._is, batch_id, done))

    def _is(self, batch_id: str, done: int) -> None:
        self.begun, self.done = batch_id, done


class Replayed(Exception):  # noqa: N818 -- no error: it leads past the call, to the answer that was kept
    """The call has happened; ``response`` is what it was answered."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class TooLittle(Exception):  # noqa: N818 -- no error: more will come
    """Too little of the body has come to know it for that of an earlier attempt."""


def running() -> Problem:
    """Return that another attempt of the call is under way."""
    detail = "The same call is running; ask again for its answer."
    return Problem(409, "idempotency_in_progress", detail, headers={"Retry-After": RETRY_SECONDS})


def deleted() -> Problem:
    """Return that the call has happened and its answer is gone."""
    detail = "This call has happened; what it created, or some of it, has been deleted since, and so has its answer."
    return Problem(410, "deleted", detail)


def mismatch() -> Problem:
    """Return that the key is that of another call."""
    detail = "This Idempotency-Key was given to another call: to another address, or with another body."
    return Problem(422, "idempotency_mismatch", detail)


def of(call: Named) -> ColumnElement[bool]:
    """Return the condition that finds the row of the call's key."""
    return (IdempotencyKey.tenant_id == call.tenant_id) & (IdempotencyKey.key == call.key)


def take(call: Named, request: Request) -> Lease:
    """Take the key, if there is one, for an attempt of the call.

    Raises ``TooLittle``, :class:`Problem` 409, 410 or 422, and :class:`Replayed` when the call has happened.
    """
    if call.key is None:
        return Lease()
    lease, found = _try(call, call.fingerprint)
    if lease is None and found is not None and found.status is None and is_partial(found.fingerprint):
        alike = begins_alike(request, found.fingerprint)
        if alike is None and is_partial(call.fingerprint):
            raise TooLittle
        if not alike:
            raise mismatch()
        lease, found = _try(call, found.fingerprint)
    if lease is not None:
        return lease
    if found is not None and not is_partial(found.fingerprint) and found.fingerprint != call.fingerprint:
        raise running() if is_partial(call.fingerprint) else mismatch()
    if found is None or found.status is None:
        raise running()
    if found.body is None:
        raise deleted()
    body = vault.open_sealed(found.body) if found.sealed else found.body
    headers = {**found.headers, "Idempotency-Replayed": "true"}
    raise Replayed(Response(body, found.status, headers, media_type="application/json"))


def _try(call: Named, known_as: str) -> tuple[Lease | None, IdempotencyKey | None]:
    """Lease the key if it is free, and nothing was begun under it but what was ``known_as``; or return its row."""
    over = IdempotencyKey.created_at < func.now() - KEPT
    same = IdempotencyKey.begun.is_(None) | (IdempotencyKey.fingerprint == known_as)
    free = IdempotencyKey.status.is_(None) & (IdempotencyKey.leased_until < func.now()) & same
    fresh = {
        "fingerprint": call.fingerprint,
        "created_at": func.now(),
        "leased_until": func.now() + LEASE,
        "status": None,
        "body": None,
        "subject_id": None,
    }
    begun = {
        "begun": case((over, None), else_=IdempotencyKey.begun),
        "done": case((over, 0), else_=IdempotencyKey.done),
    }
    row = insert(IdempotencyKey).values(tenant_id=call.tenant_id, key=call.key, **fresh)
    row = row.on_conflict_do_update(index_elements=["tenant_id", "key"], set_=fresh | begun, where=free | over)
    with db.transaction() as tx:
        its = (IdempotencyKey.leased_until, IdempotencyKey.begun, IdempotencyKey.done)
        if (had := tx.execute(row.returning(*its)).first()) is not None:
            return Lease(had.leased_until, had.begun, had.done, had.done), None
        return None, tx.scalars(select(IdempotencyKey).where(of(call))).first()


def prolong(call: Named, lease: Lease) -> None:
    """Keep the key for longer, under the call's fingerprint. Raises :class:`Problem` 409 if another attempt has it."""
    if lease.until is None:
        return
    values = {"fingerprint": call.fingerprint, "leased_until": func.now() + LEASE}
    longer = update(IdempotencyKey).where(of(call), is_of(lease)).values(values)
    with db.transaction() as tx:
        until = tx.scalar(longer.returning(IdempotencyKey.leased_until))
    if until is None:
        raise running()
    lease.until = until


def is_of(lease: Lease) -> ColumnElement[bool]:
    """Return the condition that the key has not been taken over since, and the call has not been answered."""
    return (IdempotencyKey.leased_until == lease.until) & IdempotencyKey.status.is_(None)


def free(tx: db.Transaction, call: Named, lease: Lease) -> None:
    """Let the call be sent again when ``tx`` has committed; of one that has left nothing behind nothing is kept."""
    if lease.until is None:
        return
    tx.execute(delete(IdempotencyKey).where(of(call), is_of(lease), IdempotencyKey.begun.is_(None)))
    tx.execute(update(IdempotencyKey).where(of(call), is_of(lease)).values(leased_until=func.now()))
