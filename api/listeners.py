"""``/v1/listeners``: events for who asks for them, where no receiver can be reached.

What an answer told stays until the next question says that it was heard, so nothing is lost with a line that breaks; it
is told again then, with the same ``webhook-id``.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, func, select, update

from api import examples, idempotency
from api.auth import Authenticated, caller
from api.documentation import answer, answers, example
from api.errors import Problem, not_found
from api.idempotency import Once
from api.listening import GONE_SECONDS, Exchange
from cleanplate import db, ids, signing, webhooks
from cleanplate.models import Listener, ListenerEvent

PAGE: Final = 100
MOST: Final = 10
LEASE: Final = timedelta(minutes=2)
ALIVE: Final = Listener.expires_at > func.now()

router = APIRouter(
    prefix="/v1/listeners", tags=["webhooks"], dependencies=[Depends(caller)], responses=answers(401, 422, 500, 503)
)


class Hearing(BaseModel):
    """What was heard, and how long to wait for more."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, pattern=r"^[0-9]{1,9}$", description="`next_cursor` of the last answer.")
    wait: float = Field(0, ge=0, le=60, description="Seconds to wait when there is nothing yet.")


def _too_many() -> Problem:
    detail = f"Your team has {MOST} listeners, and more cannot be; one that does not ask is gone after two minutes."
    return Problem(409, "too_many_listeners", detail)


@router.post(
    "",
    status_code=201,
    responses=example(201, "The listener.", examples.LISTENER)
    | answers(400, 403)
    | idempotency.ANSWERS
    | answer(_too_many()),
)
def create_listener(who: Authenticated, once: Once) -> webhooks.Listener:
    """Begin to listen: from now on it hears of every event of yours, when it asks for them.

    That is for development and for places that cannot be reached from here. A service registers an endpoint instead.
    """
    with db.transaction() as tx:
        if (tx.scalar(select(func.count()).where(Listener.tenant_id == who.tenant_id, ALIVE)) or 0) >= MOST:
            raise _too_many()
        row = Listener(id=ids.new(ids.Kind.LISTENER), tenant_id=who.tenant_id, expires_at=func.now() + LEASE)
        tx.add(row)
        tx.flush()
        secret = signing.of_listeners(who.tenant_id)
        return once.keep(tx, webhooks.Listener(id=row.id, secret=secret, expires_at=row.expires_at), secret=True)


@router.get("/{listener_id}/events", responses=example(200, "Some events.", examples.HEARD) | answers(400, 404))
async def hear_events(
    who: Authenticated, listener_id: str, request: Request, exchange: Exchange, wanted: Annotated[Hearing, Query()]
) -> webhooks.Heard:
    """Return what happened since, in the order in which it was written, signed as it would be sent.

    What an answer tells is told again until a question with its `next_cursor` says that it was heard.
    """
    read = partial(_read, who.tenant_id, listener_id, int(wanted.cursor or 0))
    until = time.monotonic() + wanted.wait
    with exchange.listening(listener_id) as bell:
        heard = await exchange.read(read)
        while not heard.data and (left := until - time.monotonic()) > 0 and await exchange.goes_on(request):
            if await bell.ring(min(left, GONE_SECONDS)):
                heard = await exchange.read(read)
    return heard


@router.delete("/{listener_id}", status_code=204, responses=answers(403, 404))
def delete_listener(who: Authenticated, listener_id: str) -> None:
    """Stop listening."""
    mine = delete(Listener).where(Listener.id == listener_id, Listener.tenant_id == who.tenant_id)
    with db.transaction() as tx:
        if tx.scalar(mine.returning(Listener.id)) is None:
            raise not_found("listener")


def _read(tenant_id: str, listener_id: str, heard: int) -> webhooks.Heard:
    """Delete what was heard, and return what comes next. Raises :class:`Problem` 404."""
    mine = (Listener.id == listener_id, Listener.tenant_id == tenant_id, ALIVE)
    its = ListenerEvent.listener_id == listener_id
    with db.transaction() as tx:
        renewed = update(Listener).where(*mine).values(expires_at=func.now() + LEASE)
        if tx.scalar(renewed.returning(Listener.id)) is None:
            raise not_found("listener")
        tx.execute(delete(ListenerEvent).where(its, ListenerEvent.given <= heard))
        rows = tx.scalars(select(ListenerEvent).where(its).order_by(ListenerEvent.id).limit(PAGE)).all()
        for row in rows:
            row.given = heard + 1
    now, secret = datetime.now(UTC), signing.of_listeners(tenant_id)
    data = [
        webhooks.HeardEvent(
            id=row.event_id,
            type=row.event_type,
            headers=signing.headers(row.event_id, now, row.body, [secret]),
            body=row.body,
        )
        for row in rows
    ]
    return webhooks.Heard(data=data, next_cursor=str(heard + 1 if rows else heard))
