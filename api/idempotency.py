"""``Idempotency-Key``: a call that creates something happens once, however often it is sent.

The answer is kept in the very transaction that creates, so there is never the one without the other; of two requests
that run at once under one key only the first to commit has done anything. The lease of a running request merely spares
the others their work: it is freed when the request fails, and ends by itself when the process dies. Errors are not
kept: a call that was refused has left nothing behind, and may be mended and sent under the same key. One that makes
a batch in several transactions notes the batch in the first; sent again after it broke off, it goes on with that batch.
One that begins while its body arrives is known by as much of the body as had come, until it is known by all of it.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from api.auth import Authenticated
from api.documentation import answer
from api.errors import Problem
from api.fingerprint import begins_alike, fingerprint, is_partial, so_far
from cleanplate import db, vault
from cleanplate.idempotency import KEPT, IdempotencyKey
from cleanplate.resources import Accepted, Batch, Job

M = TypeVar("M", bound=BaseModel)

LEASE: Final = timedelta(seconds=60)
RETRY_SECONDS: Final = "1"
_KEY = re.compile(r"[ -~]{1,255}", re.ASCII)
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Your name for this call, 1 to 255 printable ASCII characters: sent again within 24 h it is "
        "answered as before, with `Idempotency-Replayed: true`, and happens once.",
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    ),
]


class Replayed(Exception):  # noqa: N818 -- no error: it leads past the call, to the answer that was kept
    """The call has happened; ``response`` is what it was answered."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


async def replay(_request: Request, happened: Exception) -> Response:
    """Answer as before."""
    assert isinstance(happened, Replayed)  # noqa: S101 -- it is registered for nothing else
    return happened.response


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and the key that its client gave it, if any."""

    tenant_id: str
    key: str | None
    fingerprint: str
    status: int
    response: Response
    begun: str | None = None
    """The id of the batch that an earlier attempt of this call, or this one while its body arrived, has created."""

    def begin(self, tx: db.Transaction, batch_id: str) -> None:
        """Note with the work of ``tx`` which batch it begins. Raises :class:`Problem` 409 as ``keep`` does."""
        if self.key is None:
            return
        first = IdempotencyKey.status.is_(None) & IdempotencyKey.begun.is_(None)
        values = {"fingerprint": self.fingerprint, "leased_until": func.now() + LEASE, "begun": batch_id}
        row = insert(IdempotencyKey).values(tenant_id=self.tenant_id, key=self.key, **values)
        row = row.on_conflict_do_update(index_elements=["tenant_id", "key"], set_={"begun": batch_id}, where=first)
        if tx.scalar(row.returning(IdempotencyKey.key)) is None:
            raise running()

    def keep(self, tx: db.Transaction, answer: M, *, secret: bool = False) -> M:
        """Write with the work of ``tx`` what the call will be answered; return it.

        An answer that shows a ``secret`` is encrypted, and nobody on its way may store it. The headers that belong to
        the answer are set before. Raises :class:`Problem` 409 if the same call has happened
        meanwhile: ``tx`` must not commit then.
        """
        if secret:
            self.response.headers["Cache-Control"] = "no-store"
        if self.key is None:
            return answer
        body = answer.model_dump_json()
        kept = {
            "fingerprint": self.fingerprint,
            "leased_until": func.now(),
            "status": self.status,
            "headers": dict(self.response.headers),
            "body": vault.seal(body) if secret else body,
            "sealed": secret,
            "subject_id": _subject(answer),
        }
        row = insert(IdempotencyKey).values(tenant_id=self.tenant_id, key=self.key, **kept)
        unanswered = IdempotencyKey.status.is_(None)
        row = row.on_conflict_do_update(index_elements=["tenant_id", "key"], set_=kept, where=unanswered)
        if tx.scalar(row.returning(IdempotencyKey.key)) is None:
            raise running()
        return answer


class Hold:
    """The key of a call of which part is done while its body arrives."""

    def __init__(self, request: Request, tenant_id: str, key: str | None) -> None:
        self._request = request
        self._call = Call(tenant_id, key, "", 0, Response())
        self._lease: datetime | None = None
        self._refused = key is not None and not _KEY.fullmatch(key)
        self.begun: str | None = None

    def extend(self) -> bool:
        """Hold the key for what comes next, and tell whether it may be done now.

        It may not before the body is known to begin as that of the attempt that it goes on with, and never when
        :func:`once` will refuse or replay the call. Raises :class:`Problem` 409 if another attempt has taken over.
        """
        if self._call.key is None or self._refused:
            return not self._refused
        call = replace(self._call, fingerprint=so_far(self._request))
        if self._lease is not None:
            self._lease = _prolong(call, self._lease)
            return True
        try:
            self._lease, self.begun = _lease(call, self._request)
        except _TooLittle:
            return False
        except (Problem, Replayed):
            self._refused = True
        return not self._refused

    def begin(self, tx: db.Transaction, batch_id: str) -> None:
        """Note with the work of ``tx`` which batch the call begins."""
        replace(self._call, fingerprint=so_far(self._request) if self._call.key else "").begin(tx, batch_id)

    def take_over(self, call: Call) -> datetime | None:
        """Return until when the key is that of the ``call``, whose body has come, if it was held."""
        return self._lease and _prolong(call, self._lease)

    def is_held(self, tx: db.Transaction) -> bool:
        """Tell whether no other attempt has taken over, nor will before the end of ``tx``."""
        if self._lease is None:
            return self._call.key is None
        mine = (IdempotencyKey.leased_until == self._lease) & IdempotencyKey.status.is_(None)
        return tx.scalar(select(IdempotencyKey.key).where(_of(self._call), mine).with_for_update()) is not None

    def free(self, tx: db.Transaction) -> None:
        """Let the call be sent again when ``tx`` has committed."""
        if self._lease is not None:
            _free(tx, self._call, self._lease)


def once(request: Request, response: Response, who: Authenticated, key: Key = None) -> Iterator[Call]:
    """Hold the call's key while it runs. Declared after the body, of which it tells the calls apart.

    Raises :class:`Problem` 400 for a key that is none, 409 while the same call runs, 422 for another one and 410 if
    what it created was deleted, and :class:`Replayed` when the call has happened.
    """
    status = request.scope["route"].status_code or 200
    held: Hold | None = getattr(request.state, "hold", None)
    begun = held.begun if held else None
    if key is None:
        yield Call(who.tenant_id, None, "", status, response, begun)
        return
    if not _KEY.fullmatch(key):
        raise Problem(400, "invalid_idempotency_key", "An Idempotency-Key is 1 to 255 printable ASCII characters.")
    call = Call(who.tenant_id, key, fingerprint(request), status, response)
    lease = held.take_over(call) if held else None
    if lease is None:
        lease, begun = _lease(call, request)
    call = replace(call, begun=begun)
    try:
        yield call
    finally:
        with suppress(*db.AWAY), db.transaction() as tx:
            _free(tx, call, lease)


def running() -> Problem:
    detail = "The same call is running; ask again for its answer."
    return Problem(409, "idempotency_in_progress", detail, headers={"Retry-After": RETRY_SECONDS})


Once = Annotated[Call, Depends(once, scope="function")]


def deleted() -> Problem:
    detail = "This call has happened; what it created, or some of it, has been deleted since, and so has its answer."
    return Problem(410, "deleted", detail)


ANSWERS: Final = answer(running())
ANSWERS_OF_WORK: Final = ANSWERS | answer(deleted())


def _subject(answer: BaseModel) -> str | None:
    """Return the id of the batch or job that an answer tells of, whose deletion takes the answer along."""
    match answer:
        case Accepted(batch=batch):
            return batch.id
        case Batch() | Job():
            return answer.id
    return None


def mismatch() -> Problem:
    detail = "This Idempotency-Key was given to another call: to another address, or with another body."
    return Problem(422, "idempotency_mismatch", detail)


def _of(call: Call) -> Any:
    return (IdempotencyKey.tenant_id == call.tenant_id) & (IdempotencyKey.key == call.key)


class _TooLittle(Exception):  # noqa: N818 -- no error: more will come
    """Too little of the body has come to know it for that of an earlier attempt."""


def _lease(call: Call, request: Request) -> tuple[datetime, str | None]:
    """Return until when the key is the call's, and the batch that it has begun. Raises ``_TooLittle``."""
    lease, found = _try_lease(call, call.fingerprint)
    if lease is None and found is not None and found.status is None and is_partial(found.fingerprint):
        alike = begins_alike(request, found.fingerprint)
        if alike is None and is_partial(call.fingerprint):
            raise _TooLittle
        if not alike:
            raise mismatch()
        lease, found = _try_lease(call, found.fingerprint)
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


def _try_lease(call: Call, known_as: str) -> tuple[tuple[datetime, str | None] | None, IdempotencyKey | None]:
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
        "begun": None,
        "subject_id": None,
    }
    row = insert(IdempotencyKey).values(tenant_id=call.tenant_id, key=call.key, **fresh)
    again = {**fresh, "begun": case((over, None), else_=IdempotencyKey.begun)}
    row = row.on_conflict_do_update(index_elements=["tenant_id", "key"], set_=again, where=free | over)
    with db.transaction() as tx:
        lease = tx.execute(row.returning(IdempotencyKey.leased_until, IdempotencyKey.begun)).first()
        if lease is not None:
            return (lease.leased_until, lease.begun), None
        return None, tx.scalars(select(IdempotencyKey).where(_of(call))).first()


def _prolong(call: Call, lease: datetime) -> datetime:
    """Return until when the key stays the call's. Raises :class:`Problem` 409 if another attempt has it meanwhile."""
    mine = (IdempotencyKey.leased_until == lease) & IdempotencyKey.status.is_(None)
    values = {"fingerprint": call.fingerprint, "leased_until": func.now() + LEASE}
    longer = update(IdempotencyKey).where(_of(call), mine).values(values)
    with db.transaction() as tx:
        until: datetime | None = tx.scalar(longer.returning(IdempotencyKey.leased_until))
    if until is None:
        raise running()
    return until


def _free(tx: db.Transaction, call: Call, lease: datetime) -> None:
    mine = IdempotencyKey.status.is_(None) & (IdempotencyKey.leased_until == lease)
    tx.execute(delete(IdempotencyKey).where(_of(call), mine, IdempotencyKey.begun.is_(None)))
    tx.execute(update(IdempotencyKey).where(_of(call), mine).values(leased_until=func.now()))
