"""Which deliveries are due to whom, and the beginning of their tries."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from cleanplate import db
from cleanplate.models import Delivery, Endpoint
from tests import rows
from worker import deliveries
from worker.lanes import OF_ENDPOINT, Waiting

pytestmark = pytest.mark.usefixtures("database")


def endpoint(tenant: str = rows.TENANT, **columns: Any) -> str:
    with db.transaction() as tx:
        return rows.deaf_endpoint(tx, tenant_id=rows.tenant(tx, tenant), **columns)


def deliver(endpoint_id: str, *names: str, seconds: float = -1.0, state: str = "pending") -> None:
    """Write deliveries to an endpoint that are due in so many seconds."""
    its = {"endpoint_id": endpoint_id, "tenant_id": rows.TENANT, "event_id": "evt_1", "event_type": "job.failed"}
    due_at = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    with db.transaction() as tx:
        tx.execute(insert(Delivery), [{**its, "id": name, "body": "{}", "state": state} for name in names])
        tx.execute(update(Delivery).where(Delivery.id.in_(names)).values(due_at=due_at))


def due() -> set[Waiting]:
    with db.transaction() as tx:
        return set(deliveries.due(tx))


def begin(**most: int) -> list[str]:
    with db.transaction() as tx:
        return [letter.delivery_id for letter in deliveries.begin(tx, Counter(most))]


def test_each_endpoint_with_something_due_is_told_with_as_much_as_it_has_seats_for() -> None:
    few, many, failing = endpoint(), endpoint("ten_2"), endpoint(failing_since=func.now())
    deliver(few, "a", "b")
    deliver(many, *(f"m{number}" for number in range(OF_ENDPOINT + 5)))
    deliver(failing, "f")
    deliver(endpoint(), "later", seconds=60)
    deliver(endpoint(), "delivered", state="delivered")
    deliver(endpoint(), "failed", state="failed")
    assert due() == {
        Waiting(few, rows.TENANT, failing=False, due=2),
        Waiting(many, "ten_2", failing=False, due=OF_ENDPOINT),
        Waiting(failing, rows.TENANT, failing=True, due=1),
    }


def test_when_nothing_is_pending_nobody_waits() -> None:
    assert due() == set()
    assert begin() == []


def test_what_has_been_due_for_the_longest_begins_first_and_is_due_again_after_the_lease() -> None:
    receiver, other = endpoint(), endpoint()
    for name, seconds in (("second", -30), ("first", -60), ("third", -1), ("later", 60)):
        deliver(receiver, name, seconds=seconds)
    deliver(other, "others")
    assert sorted(begin(**{receiver: 2})) == ["first", "second"]
    assert sorted(begin(**{receiver: 9, other: 1, "whe_nobody": 3})) == ["others", "third"]
    assert due() == set()
    with db.transaction() as tx:
        tx.execute(update(Delivery).values(due_at=Delivery.due_at - deliveries.LEASE))
    assert {one.due for one in due()} == {1, 3}


def test_what_is_due_to_an_endpoint_that_is_turned_off_ends_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "PAGE", 2)
    off, on = endpoint(enabled=False), endpoint()
    deliver(off, "x", "y", "z")
    deliver(on, "w")
    left = []
    for _ in range(3):
        assert [one.endpoint_id for one in due()] == [on]
        with db.transaction() as tx:
            left.append(len(tx.scalars(select(Delivery.id).where(Delivery.state == "pending")).all()))
    assert left == [2, 1, 1]
    with db.transaction() as tx:
        ended = tx.execute(select(Delivery.last_error, Delivery.tries).join(Endpoint).where(Endpoint.id == off)).all()
    assert set(ended) == {("the endpoint is turned off", 0)}
