"""The books of what was sent, and sending it again: one, or all that failed since a time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, select, update

from api import deliveries
from cleanplate import db, deletion, ids, outbox, webhooks
from cleanplate.models import Delivery, DeliveryAttempt, Endpoint
from tests import rows
from tests.api import problem

ENDPOINTS = "/v1/webhook-endpoints"
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def endpoint(client: httpx.Client) -> Iterator[str]:
    made: str = client.post(ENDPOINTS, json={"url": "https://example.com/hooks"}).json()["id"]
    yield made
    with db.transaction() as tx:
        tx.execute(delete(DeliveryAttempt))
        tx.execute(delete(Delivery))


def sent(endpoint: str, state: str = "delivered", **columns: Any) -> str:
    """A delivery of this endpoint, as if it had come to this state."""
    id_ = ids.new(ids.Kind.DELIVERY)
    with db.transaction() as tx:
        tenant = tx.get_one(Endpoint, endpoint).tenant_id
        facts = {"event_id": "evt_1", "event_type": "job.failed", "body": '{"type": "job.failed"}', "tries": 2}
        tx.add(
            Delivery(**{"id": id_, "tenant_id": tenant, "endpoint_id": endpoint, "state": state, **facts, **columns})
        )
    return id_


def row(id_: str) -> Delivery:
    with db.transaction() as tx:
        return tx.get_one(Delivery, id_)


def listed(client: httpx.Client, endpoint: str, **params: Any) -> list[str]:
    answer = client.get(f"{ENDPOINTS}/{endpoint}/deliveries", params=params)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def test_they_are_listed_newest_first_page_by_page_and_of_this_endpoint_alone(
    client: httpx.Client, endpoint: str
) -> None:
    other = client.post(ENDPOINTS, json={"url": "https://example.com/"}).json()["id"]
    sent(other)
    made = [sent(endpoint) for _ in range(5)][::-1]
    assert listed(client, endpoint) == made
    first = client.get(f"{ENDPOINTS}/{endpoint}/deliveries", params={"limit": 3}).json()
    assert [one["id"] for one in first["data"]] == made[:3]
    assert listed(client, endpoint, cursor=first["next_cursor"]) == made[3:]


def test_they_are_filtered_by_status_event_and_time(client: httpx.Client, endpoint: str) -> None:
    now = datetime.now(UTC)
    old = sent(endpoint, "failed", created_at=now - timedelta(days=1))
    failed = sent(endpoint, "failed", created_at=now)
    other = sent(endpoint, event_type="batch.completed", created_at=now)
    waiting = sent(endpoint, "pending", created_at=now)
    assert listed(client, endpoint, status="failed") == [failed, old]
    assert listed(client, endpoint, status="delivered") == [other]
    assert listed(client, endpoint, event_type="batch.completed") == [other]
    assert listed(client, endpoint, created_before=now.isoformat()) == [old]
    later = (now - timedelta(hours=1)).isoformat()
    assert listed(client, endpoint, status="failed", created_after=later) == [failed]
    assert listed(client, endpoint, status="pending", event_type="job.failed") == [waiting]
    for wrong, status in (({"status": "lost"}, 422), ({"event_type": "x"}, 422), ({"state": "failed"}, 400)):
        assert client.get(f"{ENDPOINTS}/{endpoint}/deliveries", params=wrong).status_code == status


def test_one_is_shown_with_what_it_said_and_every_try(client: httpx.Client, endpoint: str) -> None:
    id_ = sent(endpoint, last_status=204, delivered_at=NOW)
    tries = [
        {"number": 1, "started_at": NOW, "duration_ms": 15_000, "error": "no answer (ReadTimeout)"},
        {"number": 2, "started_at": NOW, "duration_ms": 12, "status": 204, "answer": "thanks"},
    ]
    with db.transaction() as tx:
        tx.add_all(DeliveryAttempt(delivery_id=id_, **one) for one in reversed(tries))
    shown = webhooks.DeliveryDetails.model_validate(client.get(f"/v1/deliveries/{id_}").json())
    assert (shown.status, shown.last_status, shown.delivered_at, shown.next_try_at) == ("delivered", 204, NOW, None)
    assert shown.body == {"type": "job.failed"}
    nothing = {"duration_ms": None, "status": None, "error": None, "answer": None}
    assert [dict(one) for one in shown.attempts] == [{**nothing, **one} for one in tries]


@pytest.mark.parametrize("state", ["delivered", "failed", "pending"])
def test_one_goes_out_again_at_once_with_its_old_id_and_a_schedule_from_its_beginning(
    client: httpx.Client, endpoint: str, state: str
) -> None:
    id_ = sent(endpoint, state, due_at=NOW + timedelta(days=1), delivered_at=NOW if state == "delivered" else None)
    answer = client.post(f"/v1/deliveries/{id_}/redeliver")
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["event_id"]) == ("pending", "evt_1")
    after = row(id_)
    assert (after.state, after.event_id, after.tries, after.tries_before) == ("pending", "evt_1", 2, 2)
    assert after.delivered_at is None
    with db.transaction() as tx:
        assert rows.due_deliveries(tx) == [id_]


def test_what_was_forgotten_is_not_sent_again(client: httpx.Client, endpoint: str) -> None:
    id_ = sent(endpoint, "failed", subject_id="job_1")
    with db.transaction() as tx:
        tx.add(DeliveryAttempt(delivery_id=id_, number=1, answer="your sofa arrived"))
        tx.flush()
        deletion.forget_deliveries(tx, ["job_1"])
    problem(client.post(f"/v1/deliveries/{id_}/redeliver"), 410, "delivery_forgotten")
    shown = client.get(f"/v1/deliveries/{id_}").json()
    assert (shown["body"], shown["attempts"][0]["answer"]) == ({}, None)
    assert recover(client, endpoint) == {"recovered": 0, "more": False}


def test_nothing_goes_to_an_endpoint_that_is_off_or_gone(client: httpx.Client, endpoint: str) -> None:
    id_ = sent(endpoint, "failed")
    client.patch(f"{ENDPOINTS}/{endpoint}", json={"enabled": False})
    problem(client.post(f"/v1/deliveries/{id_}/redeliver"), 409, "endpoint_disabled")
    client.delete(f"{ENDPOINTS}/{endpoint}")
    problem(client.post(f"/v1/deliveries/{id_}/redeliver"), 409, "endpoint_disabled")
    assert client.get(f"/v1/deliveries/{id_}").json()["status"] == "failed"
    assert row(id_).state == "failed"


def recover(client: httpx.Client, endpoint: str, since: datetime = NOW - timedelta(days=1)) -> Any:
    answer = client.post(f"{ENDPOINTS}/{endpoint}/recover", params={"since": since.isoformat()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_all_that_failed_since_a_time_goes_out_again_and_nothing_else(client: httpx.Client, endpoint: str) -> None:
    now = datetime.now(UTC)
    other = client.post(ENDPOINTS, json={"url": "https://example.com/"}).json()["id"]
    before, delivered = sent(endpoint, "failed", created_at=now - timedelta(days=2)), sent(endpoint)
    waiting, foreign = sent(endpoint, "pending", due_at=now + timedelta(days=1)), sent(other, "failed")
    failed = [sent(endpoint, "failed", event_id=f"evt_{number}") for number in range(3)]
    assert recover(client, endpoint, now - timedelta(days=1)) == {"recovered": 3, "more": False}
    assert [row(id_).state for id_ in (before, delivered, waiting, foreign)] == [
        "failed",
        "delivered",
        "pending",
        "failed",
    ]
    with db.transaction() as tx:
        assert rows.due_deliveries(tx) == failed
    assert [(row(id_).event_id, row(id_).tries_before) for id_ in failed] == [("evt_0", 2), ("evt_1", 2), ("evt_2", 2)]
    assert recover(client, endpoint, now - timedelta(days=1)) == {"recovered": 0, "more": False}


def test_an_endpoint_that_was_off_hears_what_it_missed_by_one_call(client: httpx.Client, endpoint: str) -> None:
    with db.transaction() as tx:
        tenant = tx.get_one(Endpoint, endpoint).tenant_id
    client.patch(f"{ENDPOINTS}/{endpoint}", json={"enabled": False})
    with db.transaction() as tx:
        outbox.publish(tx, tenant, "job.failed", {"id": "job_1"})
    assert recover(client, endpoint, datetime.now(UTC) - timedelta(minutes=5)) == {"recovered": 1, "more": False}
    shown = client.get(f"{ENDPOINTS}/{endpoint}").json()
    assert (shown["enabled"], shown["disabled_reason"], shown["disabled_at"]) == (True, None, None)
    with db.transaction() as tx:
        assert tx.scalars(select(Delivery.state).where(Delivery.endpoint_id == endpoint)).all() == ["pending"]


def test_very_many_are_recovered_in_pages_of_which_each_call_takes_so_many(
    client: httpx.Client, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAGE", 4)
    monkeypatch.setattr(deliveries, "MOST", 8)
    for _ in range(11):
        sent(endpoint, "failed")
    since = datetime.now(UTC) - timedelta(days=1)
    assert recover(client, endpoint, since) == {"recovered": 8, "more": True}
    assert recover(client, endpoint, since) == {"recovered": 3, "more": False}


def test_a_clock_that_goes_wrong_by_some_minutes_hides_nothing(client: httpx.Client, endpoint: str) -> None:
    id_ = sent(endpoint, "failed")
    with db.transaction() as tx:
        tx.execute(update(Delivery).where(Delivery.id == id_).values(created_at=func.now() + timedelta(minutes=30)))
    assert recover(client, endpoint, datetime.now(UTC) + timedelta(minutes=20))["recovered"] == 1


@pytest.mark.parametrize("since", [None, "yesterday", "1"])
def test_recovering_takes_a_time(client: httpx.Client, endpoint: str, since: str | None) -> None:
    params = {} if since is None else {"since": since}
    problem(client.post(f"{ENDPOINTS}/{endpoint}/recover", params=params), 422, "validation_failed")
