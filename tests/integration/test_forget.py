"""What nobody asks for any more is forgotten."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select

from cleanplate import db, ids
from cleanplate.models import Delivery, DeliveryAttempt, Listener, ListenerEvent, Worker
from tests import rows
from worker import deliveries
from worker.forget import forget_more

pytestmark = pytest.mark.usefixtures("database")

DAY = 24 * 3600


@pytest.mark.parametrize(
    ("made_days_ago", "ended_days_ago", "state", "kept"),
    [
        (31, 31, "delivered", False),
        (31, 31, "failed", False),
        (29, 29, "delivered", True),
        (31, 1, "delivered", True),  # it was sent again yesterday
        (31, 31, "pending", True),
    ],
)
def test_a_delivery_and_its_attempts_are_forgotten_30_days_after_its_last_try(
    made_days_ago: float, ended_days_ago: float, state: str, kept: bool
) -> None:
    made = int((time.time() - made_days_ago * DAY) * 1000)
    with db.transaction() as tx:
        endpoint = rows.deaf_endpoint(tx)
        id_ = f"dlv_{made:012x}7{'0' * 19}"
        told = {"tenant_id": rows.TENANT, "endpoint_id": endpoint, "event_id": "evt_1", "event_type": "job.failed"}
        tx.add(
            Delivery(
                id=id_, body="{}", state=state, due_at=func.now() - timedelta(days=ended_days_ago), tries=1, **told
            )
        )
        tx.flush()
        tx.add(DeliveryAttempt(delivery_id=id_, number=1))
    forget_more()
    with db.transaction() as tx:
        assert len(tx.scalars(select(Delivery.id)).all()) == len(tx.scalars(select(DeliveryAttempt)).all()) == kept


def test_old_deliveries_are_forgotten_a_page_at_a_time() -> None:
    old = {"event_id": "evt_1", "event_type": "job.failed", "body": "{}", "state": "delivered"}
    with db.transaction() as tx:
        old |= {"endpoint_id": rows.deaf_endpoint(tx), "tenant_id": rows.TENANT}
        old["due_at"] = datetime.now(UTC) - timedelta(days=40)
        ids = [f"dlv_{number:012x}7{'0' * 19}" for number in range(deliveries.PAGE + 1)]
        tx.execute(insert(Delivery), [{"id": id_, **old} for id_ in ids])
    assert forget_more()
    with db.transaction() as tx:
        assert tx.scalars(select(Delivery.id)).all() == ids[-1:]
    assert not forget_more()


def test_a_lease_is_forgotten_long_after_it_ended() -> None:
    with db.transaction() as tx:
        for name, left in (("alive", 5), ("dead", -60), ("long dead", -3600)):
            rows.worker(tx, name, lease_seconds=left)
    forget_more()
    with db.transaction() as tx:
        assert set(tx.scalars(select(Worker.id))) == {"alive", "dead"}


def test_what_a_listener_has_not_heard_for_a_day_is_forgotten_and_the_rest_is_kept() -> None:
    with db.transaction() as tx:
        rows.tenant(tx)
        tx.add(Listener(id="lsn_1", tenant_id=rows.TENANT, expires_at=func.now() + timedelta(minutes=2)))
        tx.flush()
        for hours in (48, 25, 23, 0):
            made = ids.least(ids.Kind.EVENT, datetime.now(UTC) - timedelta(hours=hours)) + f"7{hours:019}"
            told = {"event_id": made, "event_type": "webhook.test", "body": str(hours)}
            tx.add(ListenerEvent(listener_id="lsn_1", **told))
    assert not forget_more()
    with db.transaction() as tx:
        assert set(tx.scalars(select(ListenerEvent.body))) == {"23", "0"}
