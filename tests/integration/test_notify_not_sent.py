"""What is not sent, and the endpoints that nothing is sent to any more."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select, update

from cleanplate import db, outbox
from cleanplate.models import Delivery
from tests import rows, tries, web
from tests.threads import at_once
from tests.tries import attempts, delivery, endpoint_of, make_due, row, told

pytestmark = pytest.mark.usefixtures("database", "loopback_receivers")


def test_a_receiver_that_is_gone_is_turned_off_and_what_else_it_was_to_hear_fails_unsent(receiver: web.Site) -> None:
    receiver.answer = web.says(410)
    delivery_id = delivery(receiver.url)
    endpoint = endpoint_of(delivery_id).id
    with db.transaction() as tx:
        neighbour = rows.deaf_endpoint(tx)
        outbox.publish(tx, rows.TENANT, "job.failed", {}, {endpoint})
        (later,) = tx.scalars(select(Delivery.id).where(Delivery.id != delivery_id, Delivery.endpoint_id == endpoint))
        tx.execute(update(Delivery).where(Delivery.id == later).values(due_at=func.now() + timedelta(hours=1)))
        tx.execute(delete(Delivery).where(Delivery.endpoint_id == neighbour))
    tries.make()
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("failed", 410)
    assert (row(later).state, row(later).tries) == ("pending", 0)
    make_due(later)
    tries.make()
    assert (row(later).state, row(later).last_error) == ("failed", "the endpoint is turned off")
    assert not endpoint_of(delivery_id).enabled
    assert endpoint_of(delivery_id).disabled_reason == "the receiver answered 410 Gone"
    assert len(receiver.requests) == 1
    assert told(neighbour) == ["webhook_endpoint.disabled"]


@pytest.mark.parametrize(("days", "off"), [(4.9, False), (5.1, True)])
def test_after_five_days_of_nothing_but_failures_it_is_turned_off_and_the_others_hear_of_it(
    receiver: web.Site, days: float, off: bool
) -> None:
    receiver.answer = web.says(500)
    delivery_id = delivery(receiver.url, failing_since=func.now() - timedelta(days=days))
    with db.transaction() as tx:
        neighbour = rows.deaf_endpoint(tx)
    tries.make()
    assert endpoint_of(delivery_id).enabled is not off
    assert endpoint_of(delivery_id).disabled_reason == ("nothing but failures for 5 days" if off else None)
    assert told(neighbour) == (["webhook_endpoint.disabled"] if off else [])


def test_failures_count_from_the_first_of_them_and_one_success_ends_them(receiver: web.Site) -> None:
    receiver.answer = web.in_turn(web.says(500), web.says(500), web.says(200))
    delivery_id = delivery(receiver.url)
    tries.make()
    since = endpoint_of(delivery_id).failing_since
    assert since == attempts(delivery_id)[0].started_at
    make_due(delivery_id)
    tries.make()
    assert endpoint_of(delivery_id).failing_since == since
    make_due(delivery_id)
    tries.make()
    assert endpoint_of(delivery_id).failing_since is None


def test_nothing_is_sent_to_an_address_that_is_not_public(receiver: web.Site, configure: Callable[..., None]) -> None:
    delivery_id = delivery(receiver.url)
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="10.0.0.0/8")
    tries.make()
    assert receiver.requests == []
    assert row(delivery_id).state == "pending"
    assert (row(delivery_id).last_error or "").startswith("refused to connect")


def test_what_two_look_at_is_tried_once_and_what_is_not_due_is_not(receiver: web.Site) -> None:
    early = delivery(receiver.url)
    twice = delivery(f"{receiver.url}/twice")
    with db.transaction() as tx:
        later = func.now() + timedelta(minutes=1)
        tx.execute(update(Delivery).where(Delivery.id != twice).values(due_at=later))
    at_once([tries.make] * 4)
    tries.make()
    assert [request.target for request in receiver.requests] == ["/twice"]
    assert (row(early).state, row(early).tries) == ("pending", 0)
    assert row(twice).state == "delivered"
