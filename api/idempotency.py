"""``Idempotency-Key``: a call that creates something happens once, however often it is sent.

The answer is kept in the very transaction that creates, so there is never the one without the other; of two requests
that run at once under one key only the first to commit has done anything. The lease of a running request merely spares
the others their work: it is freed when the request fails, and ends by itself when the process dies. Errors are not
kept: a call that was refused has left nothing behind, and may be mended and sent under the same key. One that brings
items in several transactions notes in each which batch it is, and how far it is; sent again after it broke off, it goes
on with that batch. One that begins while its body arrives is known by as much of the body as had come, until all has
come.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from api import leases
from api.auth import Authenticated
from api.documentation import answer
from api.errors import Problem
from api.fingerprint import fingerprint, so_far
from api.leases import Lease, Replayed, TooLittle, deleted, running
from cleanplate import db, vault
from cleanplate.idempotency import IdempotencyKey
from cleanplate.resources import Accepted, Batch, Job

M = TypeVar("M", bound=BaseModel)

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
    lease: Lease = field(default_factory=Lease)

    def note(self, tx: db.Transaction, batch_id: str, done: int) -> None:
        """Note with the work of ``tx`` to which batch it brings items, and how many of its JSON are done then.

        Raises :class:`Problem` 409 as ``keep`` does.
        """
        self.lease.note(tx, self, batch_id, done)

    def keep(self, tx: db.Transaction, answer: M, *, secret: bool = False) -> M:
        """Write with the work of ``tx`` what the call will be answered; return it.

        An answer that shows a ``secret`` is encrypted, and nobody on its way may store it. The headers that belong to
        the answer are set before. Raises :class:`Problem` 409 if the same call has happened meanwhile: ``tx`` must not
        commit then.
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
        self._refused = key is not None and not _KEY.fullmatch(key)
        self.lease = Lease()

    def extend(self) -> bool:
        """Hold the key for what comes next, and tell whether it may be done now.

        It may not before the body is known to begin as that of the attempt that it goes on with, and never when
        :func:`once` will refuse or replay the call. Raises :class:`Problem` 409 if another attempt has taken over.
        """
        if self._call.key is None or self._refused:
            return not self._refused
        call = self._so_far()
        if self.lease.until is not None:
            leases.prolong(call, self.lease)
            return True
        try:
            self.lease = leases.take(call, self._request)
        except TooLittle:
            return False
        except (Problem, Replayed):
            self._refused = True
        return not self._refused

    def note(self, tx: db.Transaction, batch_id: str, done: int) -> None:
        """Do as :meth:`Call.note` does."""
        self.lease.note(tx, self._so_far(), batch_id, done)

    def take_over(self, call: Call) -> Lease | None:
        """Hand over to the ``call``, whose body has come; return its lease, or None if it has to take the key."""
        leases.prolong(call, self.lease)
        return self.lease if call.key is None or self.lease.until is not None else None

    def is_held(self, tx: db.Transaction) -> bool:
        """Tell whether no other attempt has taken over, nor will before the end of ``tx``."""
        if self.lease.until is None:
            return self._call.key is None
        mine = select(IdempotencyKey.key).where(leases.of(self._call), leases.is_of(self.lease))
        return tx.scalar(mine.with_for_update()) is not None

    def free(self, tx: db.Transaction) -> None:
        """Let the call be sent again when ``tx`` has committed."""
        leases.free(tx, self._call, self.lease)

    def _so_far(self) -> Call:
        return replace(self._call, fingerprint=so_far(self._request) if self._call.key is not None else "")


def once(request: Request, response: Response, who: Authenticated, key: Key = None) -> Iterator[Call]:
    """Hold the call's key while it runs. Declared after the body, of which it tells the calls apart.

    Raises :class:`Problem` 400 for a key that is none, 409 while the same call runs, 422 for another one and 410 if
    what it created was deleted, and :class:`Replayed` when the call has happened.
    """
    status = request.scope["route"].status_code or 200
    held: Hold | None = getattr(request.state, "hold", None)
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(400, "invalid_idempotency_key", "An Idempotency-Key is 1 to 255 printable ASCII characters.")
    call = Call(who.tenant_id, key, "" if key is None else fingerprint(request), status, response)
    lease = (held.take_over(call) if held else None) or leases.take(call, request)
    try:
        yield replace(call, lease=lease)
    finally:
        with suppress(*db.AWAY), db.transaction() as tx:
            leases.free(tx, call, lease)


Once = Annotated[Call, Depends(once, scope="function")]
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
