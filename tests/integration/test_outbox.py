"""Who hears of what, written in the transaction in which it happened."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from cleanplate import db, jobs, outbox
from cleanplate.jobs import Change
from cleanplate.models import Delivery
from cleanplate.states import State
from tests import rows

pytestmark = pytest.mark.usefixtures("database")

Hints = list[tuple[str, str]]


def endpoint(**columns: Any) -> str:
    with db.transaction() as tx:
        return rows.deaf_endpoint(tx, **columns)


def publish(event_type: str = "job.failed", named: tuple[str | None, ...] = ()) -> None:
    with db.transaction() as tx:
        outbox.publish(tx, rows.tenant(tx), event_type, {"id": "job_1"}, named)


def deliveries() -> list[Delivery]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Delivery).order_by(Delivery.id)))


def heard() -> set[str]:
    return {delivery.endpoint_id for delivery in deliveries()}


def test_who_asked_for_the_event_or_for_all_hears_of_it() -> None:
    everything, this, both = (
        endpoint(),
        endpoint(events=["job.failed"]),
        endpoint(events=["job.succeeded", "job.failed"]),
    )
    endpoint(events=["job.succeeded"])
    endpoint(events=["job"])
    endpoint(enabled=False, disabled_at=func.now() - timedelta(days=31))
    endpoint(deleted_at=func.now())
    endpoint(one_off=True)
    publish()
    assert heard() == {everything, this, both}


def test_another_tenant_hears_of_nothing() -> None:
    with db.transaction() as tx:
        other = rows.tenant(tx, "ten_2")
    stranger = endpoint(tenant_id=other)
    publish(named=(stranger, None))
    assert heard() == set()


def test_for_an_endpoint_that_is_off_it_is_written_as_failed_so_that_it_can_be_recovered(hints: Hints) -> None:
    endpoint(enabled=False, disabled_at=func.now())
    publish()
    (kept,) = deliveries()
    assert (kept.state, kept.last_error, hints) == ("failed", "the endpoint is turned off", [])


def test_a_test_is_for_its_endpoint_alone(hints: Hints) -> None:
    _, tested = endpoint(), endpoint(events=["job.failed"])
    with db.transaction() as tx:
        delivery_id = outbox.test(tx, rows.TENANT, tested)
    (delivery,) = deliveries()
    assert (delivery.id, delivery.endpoint_id, delivery.event_type) == (delivery_id, tested, "webhook.test")
    assert hints == [("notify", delivery_id)]


def test_who_is_named_hears_of_it_once_whatever_it_asked_for() -> None:
    one_off, listener = endpoint(one_off=True), endpoint()
    publish(named=(one_off, listener, one_off, None))
    assert sorted(delivery.endpoint_id for delivery in deliveries()) == sorted([one_off, listener])


def test_all_deliveries_of_one_event_share_its_id_and_its_body() -> None:
    for _ in range(3):
        endpoint()
    publish()
    publish()
    found = deliveries()
    assert len(found) == 6
    assert len({delivery.event_id for delivery in found}) == 2
    assert all(delivery.event_id.startswith("evt_") and delivery.id.startswith("dlv_") for delivery in found)
    for event in {delivery.event_id for delivery in found}:
        (body,) = {delivery.body for delivery in found if delivery.event_id == event}
        said = json.loads(body)
        assert said.keys() == {"type", "timestamp", "data"}
        assert (said["type"], said["data"]) == ("job.failed", {"id": "job_1"})
        assert datetime.fromisoformat(said["timestamp"]).utcoffset() == timedelta(0)


def test_deliveries_are_hinted_at_by_one_message_once_they_are_there(hints: Hints) -> None:
    for _ in range(3):
        endpoint()
    with db.transaction() as tx:
        outbox.publish(tx, rows.TENANT, "webhook.test", {})
        assert hints == []
    assert hints == [("notify", deliveries()[0].id)]


def test_nobody_hears_of_what_did_not_happen(hints: Hints) -> None:
    endpoint()

    def fail() -> None:
        with db.transaction() as tx:
            outbox.publish(tx, rows.TENANT, "webhook.test", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (deliveries(), hints) == ([], [])


@pytest.mark.parametrize("named_by", ["job", "batch"])
def test_the_end_of_a_job_is_told_as_the_job_that_clients_see_without_bytes_or_secrets(named_by: str) -> None:
    receiver = endpoint(one_off=True)
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 1, endpoint_id=receiver if named_by == "batch" else None)
        named = receiver if named_by == "job" else None
        job_id = rows.job(tx, State.READY, batch_id=batch_id, endpoint_id=named, meta={"sku": "S-3"}, custom_id="sofa")
    stored = {"result_key": "results/x.png", "result": rows.RESULT}
    with db.transaction() as tx:
        jobs.apply(tx, [Change(job_id, frozenset({State.READY}), State.SUCCEEDED, "stored", values=stored)])
    delivery = deliveries()[0]
    assert (delivery.event_type, delivery.endpoint_id) == ("job.succeeded", receiver)
    data = json.loads(delivery.body)["data"]
    assert (data["id"], data["status"], data["custom_id"], data["metadata"]) == (
        job_id,
        "succeeded",
        "sofa",
        {"sku": "S-3"},
    )
    assert data["result"]["url"].endswith(f"/v1/jobs/{job_id}/result")
    assert data["finished_at"] is not None
    assert data["cost_credits"] == 5.0
    assert "sig=" not in delivery.body
    assert len(delivery.body) < 20_000


@pytest.mark.parametrize(
    ("state", "target", "values"),
    [
        (State.QUEUED, State.CANCELLED, {}),
        (State.INFLIGHT, State.FAILED, {"error_code": "upstream_error", "error_detail": "broken"}),
    ],
)
def test_every_end_has_its_event(state: State, target: State, values: dict[str, str]) -> None:
    endpoint()
    with db.transaction() as tx:
        job_id = rows.job(tx, state)
        jobs.apply(tx, [Change(job_id, frozenset({state}), target, "end", values=values)])
    (delivery,) = deliveries()
    assert delivery.event_type == f"job.{target}"
    error = json.loads(delivery.body)["data"]["error"]
    assert error == ({"code": "upstream_error", "detail": "broken"} if target is State.FAILED else None)


def test_a_step_on_the_way_is_no_event() -> None:
    endpoint()
    with db.transaction() as tx:
        job_id = rows.job(tx)
        jobs.claim(tx, "w1", 1)
        jobs.apply(tx, [Change(job_id, frozenset({State.CLAIMED}), State.QUEUED, "back")])
    assert deliveries() == []
