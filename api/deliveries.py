"""``/v1/deliveries`` and those of an endpoint: what became of each event, and sending it again."""

import json
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, func, literal_column, select, update

from api import examples, receivers
from api.auth import Authenticated, caller
from api.documentation import answer, answers, example
from api.errors import Problem, not_found
from api.listing import DeliveryFilters, filtered, page
from cleanplate import db, endpoints, ids, queue, webhooks
from cleanplate.db import Transaction
from cleanplate.deletion import FORGOTTEN
from cleanplate.models import Delivery, DeliveryAttempt, Endpoint
from cleanplate.moments import Moment
from cleanplate.resources import Page

PAGE: Final = 500
MOST: Final = 10_000
"""Deliveries that one call recovers; who asked is told when there are more."""
CLOCKS_DIFFER: Final = timedelta(hours=1)
"""Ids are made by the clocks of many machines, times by the database's alone: by how much they may differ."""
AGAIN: Final[dict[Any, Any]] = {
    "state": "pending",
    "due_at": func.now(),
    "tries_before": Delivery.tries,
    "delivered_at": None,
}

router = APIRouter(
    prefix="/v1", tags=["webhooks"], dependencies=[Depends(caller)], responses=answers(401, 422, 500, 503)
)


class Recovering(BaseModel):
    """From when on."""

    model_config = ConfigDict(extra="forbid")

    since: Moment = Field(description="What failed of the events since then goes out again.")


def _forgotten() -> Problem:
    return Problem(410, "delivery_forgotten", "What it told of was deleted, and its words with it.")


@router.get(
    "/webhook-endpoints/{endpoint_id}/deliveries",
    responses=example(200, "One page, newest first.", examples.DELIVERY_PAGE) | answers(400, 404),
)
def list_webhook_deliveries(
    who: Authenticated, endpoint_id: str, wanted: Annotated[DeliveryFilters, Query()]
) -> Page[webhooks.Delivery]:
    """List what was to be sent to a receiver in the last 30 days, newest first."""
    with db.transaction() as tx:
        endpoint = receivers.get(tx, who.tenant_id, endpoint_id)
        its = filtered(select(Delivery).where(Delivery.endpoint_id == endpoint.id), wanted)
        rows, cursor = page(tx, its, Delivery, wanted, newest_first=True)
    return Page(data=[resource(row) for row in rows], next_cursor=cursor)


@router.post(
    "/webhook-endpoints/{endpoint_id}/recover",
    responses=example(200, "How many go out again.", webhooks.Recovery(recovered=17, more=False))
    | answers(400, 403, 404),
)
def recover_webhook_endpoint(
    who: Authenticated, endpoint_id: str, wanted: Annotated[Recovering, Query()]
) -> webhooks.Recovery:
    """Turn a receiver on, if it is off, and send again all that failed since a time, each with its old `webhook-id`.

    At most 10,000 deliveries at a time: with `more` in the answer, call again.
    """
    with db.transaction() as tx:
        row = receivers.get(tx, who.tenant_id, endpoint_id, lock=True)
        if not row.enabled:
            tx.execute(update(Endpoint).where(Endpoint.id == row.id).values(endpoints.ON))
    recovered, found = 0, PAGE
    after = ids.least(ids.Kind.DELIVERY, wanted.since - CLOCKS_DIFFER)
    while found >= PAGE and recovered < MOST:
        with db.transaction() as tx:
            again = _recover(tx, endpoint_id, wanted, after)
        found = len(again)
        recovered += found
        after = max(again, default=after)
    return webhooks.Recovery(recovered=recovered, more=found >= PAGE)


def _recover(tx: Transaction, endpoint_id: str, wanted: Recovering, after: str) -> list[str]:
    its = failed(endpoint_id, wanted.since, after).with_for_update()
    return list(tx.scalars(update(Delivery).where(Delivery.id.in_(its)).values(AGAIN).returning(Delivery.id)))


def failed(endpoint_id: str, since: datetime, after: str) -> Select[str]:
    """Return the query for the next page of what failed of an endpoint's events since a time, oldest first."""
    return (
        select(Delivery.id)
        .where(Delivery.endpoint_id == endpoint_id, Delivery.state == literal_column("'failed'"), Delivery.id > after)
        .where(Delivery.created_at >= since, Delivery.body != FORGOTTEN)
        .order_by(Delivery.id)
        .limit(PAGE)
    )


@router.get(
    "/deliveries/{delivery_id}", responses=example(200, "The delivery.", examples.DELIVERY_DETAILS) | answers(404)
)
def get_delivery(who: Authenticated, delivery_id: str) -> webhooks.DeliveryDetails:
    """Return one delivery: what it says, and every try with the beginning of its answer."""
    with db.transaction() as tx:
        row = _get(tx, who.tenant_id, delivery_id)
        tried = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == row.id).order_by(DeliveryAttempt.number)
        attempts = [webhooks.DeliveryAttempt.model_validate(one, from_attributes=True) for one in tx.scalars(tried)]
    return webhooks.DeliveryDetails(**dict(resource(row)), body=json.loads(row.body), attempts=attempts)


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    status_code=202,
    responses=example(202, "The delivery.", examples.DELIVERY.model_copy(update={"status": "pending"}))
    | answers(403, 404)
    | answer(receivers.is_off())
    | answer(_forgotten()),
)
def redeliver(who: Authenticated, delivery_id: str) -> webhooks.Delivery:
    """Send an event again at once, whether it failed, was delivered or waits, with its old `webhook-id`.

    One that is being sent at this moment goes out again when that try has ended, however it ends. If that fails, too,
    it is tried again by the schedule from its beginning.
    """
    with db.transaction() as tx:
        row = _get(tx, who.tenant_id, delivery_id, lock=True)
        if not tx.get_one(Endpoint, row.endpoint_id).enabled:
            raise receivers.is_off()
        if row.body == FORGOTTEN:
            raise _forgotten()
        after_its_try = {"due_at": Delivery.due_at} if _is_being_tried(tx, row) else {}
        tx.execute(update(Delivery).where(Delivery.id == row.id).values(AGAIN | after_its_try))
        tx.refresh(row)
        tx.after_commit(lambda: queue.send("notify", row.id))
        return resource(row)


def _get(tx: Transaction, tenant_id: str, delivery_id: str, *, lock: bool = False) -> Delivery:
    found = select(Delivery).where(Delivery.id == delivery_id, Delivery.tenant_id == tenant_id)
    row = tx.scalars(found.with_for_update() if lock else found).first()
    if row is None:
        raise not_found("delivery")
    return row


def _is_being_tried(tx: Transaction, row: Delivery) -> bool:
    """Return whether a try of the delivery, whose row is locked, has begun and not ended, or its notifier has died."""
    newest = (DeliveryAttempt.delivery_id == row.id, DeliveryAttempt.number == row.tries)
    without_end = select(DeliveryAttempt.number).where(*newest, DeliveryAttempt.duration_ms.is_(None))
    return row.state == "pending" and tx.scalar(without_end) is not None


def resource(row: Delivery) -> webhooks.Delivery:
    """Return the resource of a delivery's row."""
    status: Any = row.state
    return webhooks.Delivery(
        id=row.id,
        endpoint_id=row.endpoint_id,
        event_id=row.event_id,
        event_type=row.event_type,
        subject_id=row.subject_id,
        status=status,
        tries=row.tries,
        next_try_at=row.due_at if row.state == "pending" else None,
        last_status=row.last_status,
        last_error=row.last_error,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
    )
