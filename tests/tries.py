"""Deliveries of webhooks, the tries of them that are due, made here and now, and what the rows tell afterwards."""

from typing import Any

from sqlalchemy import func, select, update

from cleanplate import db, outbox
from cleanplate.models import Delivery, DeliveryAttempt, Endpoint
from tests import rows
from worker import deliveries, notify
from worker.deliveries import Tried
from worker.lanes import Lanes

SECONDS = 0.25
"""How long each is said to have taken."""


def make() -> None:
    """Make them, as far as they are made at once."""
    with db.transaction() as tx:
        letters = deliveries.begin(tx, Lanes().allot(deliveries.due(tx), 0.0))
    tried = [Tried(letter, notify.deliver(letter), SECONDS) for letter in letters]
    with db.transaction() as tx:
        deliveries.settle(tx, tried)


def delivery(url: str, **columns: Any) -> str:
    """A delivery that is due, to an endpoint of its own."""
    with db.transaction() as tx:
        endpoint = rows.endpoint(tx, url, **columns)
        outbox.publish(tx, rows.TENANT, "webhook.test", {"text": "Grüße, 'you' & \\u0041"}, {endpoint})
        return tx.scalars(select(Delivery.id).where(Delivery.endpoint_id == endpoint)).one()


def attempts(delivery_id: str) -> list[DeliveryAttempt]:
    """What the books say of a delivery."""
    its = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id)
    with db.transaction() as tx:
        return list(tx.scalars(its.order_by(DeliveryAttempt.number)))


def row(delivery_id: str) -> Delivery:
    """The delivery as it is now."""
    with db.transaction() as tx:
        return tx.get_one(Delivery, delivery_id)


def endpoint_of(delivery_id: str) -> Endpoint:
    """Where it goes, as it is now."""
    with db.transaction() as tx:
        return tx.get_one(Endpoint, tx.get_one(Delivery, delivery_id).endpoint_id)


def make_due(delivery_id: str) -> None:
    """Let it be tried at once."""
    with db.transaction() as tx:
        tx.execute(update(Delivery).where(Delivery.id == delivery_id).values(due_at=func.now()))


def told(endpoint_id: str) -> list[str]:
    """The types of all that this endpoint was, or is, to hear."""
    with db.transaction() as tx:
        return list(tx.scalars(select(Delivery.event_type).where(Delivery.endpoint_id == endpoint_id)))
