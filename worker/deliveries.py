"""The rows of deliveries: which are due, beginning a try of some, and what a try came to."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Delete,
    Integer,
    Row,
    Select,
    Text,
    Update,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    null,
    select,
    true,
    tuple_,
    update,
)

from cleanplate import endpoints, ids, outbox
from cleanplate.db import Transaction
from cleanplate.models import Delivery, DeliveryAttempt, Endpoint
from cleanplate.outcomes import Delivered, NotifyOutcome, Undelivered
from cleanplate.records import page
from worker.lanes import OF_ENDPOINT, Waiting
from worker.notify import SCHEDULE, Letter, pause

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=30)
"""When a try whose notifier died is made again at the latest: well past the time that it may take."""
FAILING_LONGEST: Final = timedelta(days=5)
GONE: Final = "the receiver answered 410 Gone"
DEAD: Final = f"nothing but failures for {FAILING_LONGEST.days} days"
PAGE: Final = 500
PENDING: Final = Delivery.state == literal_column("'pending'")
DUE: Final = (PENDING, Delivery.due_at <= func.now())
ASKED: Final = Delivery.tries_before == Delivery.tries
"""Of a delivery that is being tried: it was asked for once more meanwhile, so it goes out again in any case."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A try that has ended."""

    letter: Letter
    outcome: NotifyOutcome
    seconds: float


# -- whose turn it is --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def waiting() -> Select[Any]:
    """Return the query for the endpoints that have deliveries due, as :class:`Waiting` with ``enabled`` in front.

    It goes from endpoint to endpoint along an index of what is pending: what was delivered, and how much is due to an
    endpoint, costs nothing. ``due`` is counted as far as an endpoint has seats.
    """
    line = select(func.min(Delivery.endpoint_id).label("id")).where(PENDING).cte("line", recursive=True)
    following = select(func.min(Delivery.endpoint_id)).where(PENDING, Delivery.endpoint_id > line.c.id)
    line = line.union_all(select(following.scalar_subquery()).where(line.c.id.is_not(None)))
    its: Select[Any] = select(literal_column("1")).where(*DUE, Delivery.endpoint_id == line.c.id)
    few = its.order_by(Delivery.due_at).limit(literal_column(str(OF_ENDPOINT))).correlate(line).subquery()
    due = select(func.count().label("due")).select_from(few).lateral("counted")
    failing = Endpoint.failing_since.is_not(None).label("failing")
    columns = select(Endpoint.enabled, Endpoint.id, Endpoint.tenant_id, failing)
    endpoint = columns.where(Endpoint.id == line.c.id).limit(literal_column("1")).lateral("endpoint")
    return select(*endpoint.c, due.c.due).select_from(line).join(due, due.c.due > 0).join(endpoint, true())


def due(tx: Transaction) -> list[Waiting]:
    """Return the endpoints that have deliveries due; those due to one that is turned off end here, a page at a time."""
    rows = tx.execute(waiting()).all()
    if off := [row.id for row in rows if not row.enabled]:
        free = select(Delivery.id).where(*DUE, Delivery.endpoint_id.in_(off)).limit(PAGE)
        ended = update(Delivery).where(Delivery.id.in_(page(free.with_for_update(skip_locked=True))))
        tx.execute(ended.values(state="failed", last_error=outbox.TURNED_OFF, last_status=None))
    return [Waiting(*row[1:]) for row in rows if row.enabled]


# -- a try -------------------------------------------------------------------------------------------------------------


def begin(tx: Transaction, allotted: Counter[str]) -> list[Letter]:
    """Begin so many tries for each endpoint, of what has been due to it for the longest.

    A try is counted, and stands in the books, before it is made: whoever dies in between leaves a delivery that is due
    again when :data:`LEASE` is over.
    """
    if not allotted:
        return []
    given = {"endpoint_ids": list(allotted), "most": list(allotted.values())}
    begun = tx.execute(_begin(), given).all()
    receivers = {row.id: row for row in tx.scalars(select(Endpoint).where(Endpoint.id.in_(allotted)))}
    return [_letter(row, receivers[row.endpoint_id]) for row in begun]


def _letter(row: Row[Any], endpoint: Endpoint) -> Letter:
    secrets = endpoints.sealed_secrets(endpoint)
    return Letter(tenant_id=endpoint.tenant_id, url=endpoint.url, secrets=secrets, **row._asdict())


@lru_cache(maxsize=1)
def _begin() -> Select[Any]:
    receivers, most = bindparam("endpoint_ids", type_=ARRAY(Text)), bindparam("most", type_=ARRAY(Integer))
    seats = func.unnest(receivers, most).table_valued("endpoint_id", "most").render_derived(name="seats")
    its = select(Delivery.id).where(*DUE, Delivery.endpoint_id == seats.c.endpoint_id).order_by(Delivery.due_at)
    first = its.limit(seats.c.most).with_for_update(skip_locked=True).lateral("first")
    found = select(first.c.id).select_from(seats.join(first, true())).cte("found")
    begun = (
        update(Delivery)
        .where(Delivery.id == found.c.id)
        .values(tries=Delivery.tries + 1, due_at=func.now() + LEASE)
        .returning(
            Delivery.id.label("delivery_id"),
            Delivery.event_id,
            Delivery.endpoint_id,
            Delivery.body,
            Delivery.tries.label("number"),
            (Delivery.tries - Delivery.tries_before).label("nth"),
        )
        .cte("begun")
    )
    booked = (
        insert(DeliveryAttempt)
        .from_select(["delivery_id", "number"], select(begun.c.delivery_id, begun.c.number))
        .returning(DeliveryAttempt.delivery_id, DeliveryAttempt.started_at.label("began_at"))
        .cte("booked")
    )
    return select(*begun.c, booked.c.began_at).join(booked, booked.c.delivery_id == begun.c.delivery_id)


def inherit(tx: Transaction, mine: Collection[Any]) -> None:
    """Make due at once what the dead were trying: all but the tries ``mine``, for nobody else lives."""
    its = Delivery.id.in_(begun_by_others(mine))
    tx.execute(update(Delivery).where(its, PENDING, Delivery.due_at > func.now()).values(due_at=func.now()))


def begun_by_others(mine: Collection[Any]) -> Select[Any]:
    """Return the query for what is being tried, or was when its notifier died, but for the tries ``mine``.

    It goes from what is pending to the tries: of those there are as many as of all deliveries together.
    """
    leased = (PENDING, Delivery.due_at > func.now(), Delivery.due_at <= func.now() + LEASE)
    soon = select(Delivery.id, Delivery.tries).where(*leased).cte("soon").prefix_with("MATERIALIZED")
    newest = (DeliveryAttempt.delivery_id == soon.c.id) & (DeliveryAttempt.number == soon.c.tries)
    others = tuple_(soon.c.id, soon.c.tries).not_in(mine)
    return select(soon.c.id).join(DeliveryAttempt, newest).where(DeliveryAttempt.duration_ms.is_(None), others)


def settle(tx: Transaction, tried: Sequence[Tried]) -> None:
    """Write what tries came to into the books, and what follows from it for the deliveries and their endpoints.

    A delivery that was tried again meanwhile, because we were so late, or that has ended, is left as it is.
    """
    if not tried:
        return
    connection = tx.connection()
    connection.execute(_book(), [_written(one) for one in tried])
    delivered = [one for one in tried if isinstance(one.outcome, Delivered)]
    if delivered:
        connection.execute(_arrive(), [{**_key(one), "last_status": one.outcome.status} for one in delivered])
        failing = (Endpoint.id.in_({one.letter.endpoint_id for one in delivered}), Endpoint.failing_since.is_not(None))
        tx.execute(update(Endpoint).where(*failing).values(failing_since=None))
    for one in tried:
        if isinstance(one.outcome, Undelivered):
            _settle_failure(tx, one.letter, one.outcome)


def _key(tried: Tried) -> dict[str, Any]:
    return {"its_id": tried.letter.delivery_id, "its_number": tried.letter.number}


def _written(tried: Tried) -> dict[str, Any]:
    outcome = tried.outcome
    error = outcome.detail if isinstance(outcome, Undelivered) else None
    said = {"status": outcome.status, "error": error, "answer": outcome.answer}
    return {**_key(tried), "duration_ms": round(tried.seconds * 1000), **said}


@lru_cache(maxsize=1)
def _book() -> Update:
    """Return the statement that writes the columns it is given into the books of many tries."""
    its = (DeliveryAttempt.delivery_id == bindparam("its_id"), DeliveryAttempt.number == bindparam("its_number"))
    return update(DeliveryAttempt).where(*its)


@lru_cache(maxsize=1)
def _arrive() -> Update:
    delivered = {"delivered_at": case((ASKED, null()), else_=func.now()), "last_error": None}
    return _still(bindparam("its_id"), bindparam("its_number")).values(
        **_then("delivered", Delivery.due_at), **delivered
    )


def _then(state: str, due_at: Any) -> dict[str, Any]:
    """Return what a delivery becomes after a try."""
    return {"state": case((ASKED, "pending"), else_=state), "due_at": case((ASKED, func.now()), else_=due_at)}


def _still(delivery_id: Any, number: Any) -> Update:
    """Return the update of the delivery, if this try is its newest and nothing has ended it."""
    return update(Delivery).where(Delivery.id == delivery_id, PENDING, Delivery.tries == number)


def _settle_failure(tx: Transaction, letter: Letter, outcome: Undelivered) -> None:
    log.warning("%s to %s: %s (try %s)", letter.delivery_id, letter.endpoint_id, outcome.detail, letter.number)
    over = outcome.gone or letter.nth > len(SCHEDULE)
    after = (
        _then("failed", Delivery.due_at)
        if over
        else _then("pending", func.now() + pause(letter.nth, outcome.retry_after))
    )
    said = {"last_status": outcome.status, "last_error": outcome.detail}
    tx.execute(_still(letter.delivery_id, letter.number).values(**after, **said))
    its = Endpoint.id == letter.endpoint_id
    tx.execute(update(Endpoint).where(its, Endpoint.failing_since.is_(None)).values(failing_since=letter.began_at))
    dead = Endpoint.failing_since < func.now() - FAILING_LONGEST
    if outcome.gone or tx.scalar(select(Endpoint.id).where(its, dead)):
        endpoints.disable(tx, letter.endpoint_id, GONE if outcome.gone else DEAD)


# -- the end -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def outlived() -> Delete:
    """Return the statement that deletes a page of deliveries, with their attempts, that ended long enough ago.

    Ids begin with the time at which they were made, so the oldest are found by their own index.
    """
    kept = func.now() - literal_column(f"interval '{outbox.KEPT.days} days'")
    milliseconds = cast(func.extract("epoch", kept) * 1000, BigInteger)
    made_before = func.concat(f"{ids.Kind.DELIVERY}_", func.lpad(func.to_hex(milliseconds), 12, "0"))
    old = (Delivery.id < made_before, Delivery.state != literal_column("'pending'"), Delivery.due_at < kept)
    oldest = select(Delivery.id).where(*old).order_by(Delivery.id).limit(literal_column(str(PAGE)))
    return delete(Delivery).where(Delivery.id.in_(oldest))
