"""A batch counts what has ended, and ends once."""

import json
from typing import Any

import pytest
from sqlalchemy import func, select, update

from cleanplate import batches, db, jobs
from cleanplate.jobs import Change
from cleanplate.models import Account, Batch, Delivery, Job
from cleanplate.states import RULES, State, Status
from tests import rows
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("database")


def made(total: int, **columns: Any) -> tuple[str, list[str]]:
    """A batch of so many jobs in flight."""
    with db.transaction() as tx:
        batch_id = rows.batch(tx, total, **columns)
        return batch_id, rows.jobs(tx, total, State.INFLIGHT, batch_id=batch_id)


def end(*ids: str, code: str = "upstream_error") -> set[str]:
    values = {"error_code": code, "error_detail": ""}
    with db.transaction() as tx:
        return jobs.apply(
            tx, [Change(id_, frozenset({State.INFLIGHT}), State.FAILED, code, values=values) for id_ in ids]
        )


def cancel(*ids: str) -> set[str]:
    with db.transaction() as tx:
        return jobs.apply(tx, [Change(id_, frozenset({State.QUEUED}), State.CANCELLED, "asked for") for id_ in ids])


def row(batch_id: str) -> Batch:
    with db.transaction() as tx:
        return tx.get_one(Batch, batch_id)


def told() -> list[tuple[str, dict[str, Any]]]:
    with db.transaction() as tx:
        rows_ = tx.execute(select(Delivery.event_type, Delivery.body).order_by(Delivery.id))
        return [(kind, json.loads(body)["data"]) for kind, body in rows_ if kind.startswith("batch.")]


def listen(**columns: Any) -> str:
    with db.transaction() as tx:
        return rows.deaf_endpoint(tx, **columns)


def test_each_end_is_counted_under_its_name_with_what_it_cost() -> None:
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 4)
        ready = rows.jobs(tx, 2, State.READY, batch_id=batch_id)
        (flying,) = rows.jobs(tx, 1, State.INFLIGHT, batch_id=batch_id)
        (queued,) = rows.jobs(tx, 1, batch_id=batch_id)
        stored = {"result_key": "results/x.png", "result": rows.RESULT}
        jobs.apply(
            tx, [Change(id_, frozenset({State.READY}), State.SUCCEEDED, "stored", values=stored) for id_ in ready]
        )
    after = row(batch_id)
    assert (after.succeeded, after.failed, after.cancelled, after.cost_credits) == (2, 0, 0, 10.0)
    end(flying)
    cancel(queued)
    after = row(batch_id)
    assert (after.succeeded, after.failed, after.cancelled, after.cost_credits) == (2, 1, 1, 15.0)


def test_a_batch_ends_with_its_last_job_and_tells_it_once() -> None:
    batch_id, ids = made(3)
    listen()
    end(*ids[:2])
    assert row(batch_id).finished_at is None
    end(ids[2])
    end(*ids)
    assert row(batch_id).finished_at is not None
    ((kind, data),) = told()
    assert (kind, data["id"], data["status"]) == ("batch.completed", batch_id, "completed")
    assert data["counts"] == {"total": 3, "queued": 0, "processing": 0, "succeeded": 0, "failed": 3, "cancelled": 0}
    assert data["eta_seconds"] == 0.0


def test_a_batch_of_which_everything_was_cancelled_was_cancelled() -> None:
    listen()
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 2)
        ids = rows.jobs(tx, 2, batch_id=batch_id)
    cancel(*ids)
    ((kind, data),) = told()
    assert (kind, data["status"]) == ("batch.cancelled", "cancelled")


def test_a_batch_with_one_end_of_another_kind_was_completed() -> None:
    listen()
    batch_id, (flying,) = made(1)
    with db.transaction() as tx:
        tx.execute(update(Batch).where(Batch.id == batch_id).values(total=2))
        queued = rows.job(tx, batch_id=batch_id)
    cancel(queued)
    end(flying)
    assert [kind for kind, _ in told()] == ["batch.completed"]


def test_an_open_batch_waits_for_its_seal_however_many_have_ended() -> None:
    batch_id, ids = made(2, sealed=False)
    listen()
    end(*ids)
    assert row(batch_id).finished_at is None
    with db.transaction() as tx:
        tx.execute(update(Batch).where(Batch.id == batch_id).values(sealed_at=func.now()))
        assert batches.settle(tx, batch_id)
        assert not batches.settle(tx, batch_id)
    assert len(told()) == 1


def test_a_batch_of_which_nothing_became_a_job_ends_with_its_seal() -> None:
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 0)
        assert batches.settle(tx, batch_id)
    assert row(batch_id).finished_at is not None


def test_the_endpoint_that_the_batch_names_hears_of_its_end_and_no_other_one_off() -> None:
    named, _other = listen(one_off=True), listen(one_off=True)
    _, ids = made(1, endpoint_id=named)
    end(*ids)
    with db.transaction() as tx:
        heard = tx.execute(select(Delivery.endpoint_id, Delivery.event_type).order_by(Delivery.id)).all()
    assert [tuple(found) for found in heard] == [(named, "job.failed"), (named, "batch.completed")]


def test_however_the_last_jobs_race_the_batch_ends_once_and_its_counts_are_right() -> None:
    listen()
    for _ in range(3):
        batch_id, ids = made(24)
        at_once([lambda mine=mine: end(*mine) for mine in [ids[n : n + 3] for n in range(0, 24, 3)]])
        after = row(batch_id)
        assert (after.failed, after.cost_credits) == (24, 120.0)
        assert after.finished_at is not None
    assert len(told()) == 3


def test_ends_of_many_batches_at_once_never_wait_in_a_circle() -> None:
    made_ = [made(8) for _ in range(4)]
    crosswise = [[ids[number] for _, ids in made_] for number in range(8)]
    at_once([lambda mine=mine[:: 1 if n % 2 else -1]: end(*mine) for n, mine in enumerate(crosswise)])
    assert [row(batch_id).failed for batch_id, _ in made_] == [8] * 4


def test_a_job_without_a_batch_ends_alone() -> None:
    with db.transaction() as tx:
        job_id = rows.job(tx, State.INFLIGHT)
    assert end(job_id) == {job_id}


def test_the_counts_that_clients_see_are_those_of_the_rows() -> None:
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 2 * len(State))
        for state in State:
            rows.jobs(tx, 2, state, batch_id=batch_id)
        rows.job(tx, State.INFLIGHT)
        tx.execute(update(Batch).values(succeeded=2, failed=2, cancelled=2))
        seen = batches.resource(tx, tx.get_one(Batch, batch_id)).counts
        states = tx.scalars(select(Job.state).where(Job.batch_id == batch_id)).all()
    by_status = {status: sum(RULES[State(state)].status is status for state in states) for status in Status}
    assert seen.model_dump() == {"total": len(states)} | {str(status): count for status, count in by_status.items()}


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        ({"sealed": False}, "open"),
        ({}, "processing"),
        ({"finished_at": func.now(), "succeeded": 1, "cancelled": 1}, "completed"),
        ({"finished_at": func.now(), "cancelled": 2}, "cancelled"),
    ],
)
def test_the_status_of_a_batch(columns: dict[str, Any], status: str) -> None:
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 2, **columns)
        assert batches.resource(tx, tx.get_one(Batch, batch_id)).status == status


def test_the_time_left_is_told_once_the_latency_is_known() -> None:
    with db.transaction() as tx:
        batch = tx.get_one(Batch, rows.batch(tx, 100))
        assert batches.resource(tx, batch).eta_seconds is None
        rows.account(tx, cap=10)
        assert batches.resource(tx, batch).eta_seconds is None
        tx.execute(update(Account).values(latency_seconds=4.0))
        tx.expire_all()
        assert batches.resource(tx, batch).eta_seconds == 44.0
        assert batches.resource(tx, batch).quote_credits == 500.0


def test_the_time_left_counts_on_every_account_that_is_not_paused() -> None:
    with db.transaction() as tx:
        batch = tx.get_one(Batch, rows.batch(tx, 100))
        rows.account(tx, cap=10, latency_seconds=4.0)
        rows.account(tx, cap=15, name="quick", latency_seconds=2.0)
        rows.account(tx, cap=0, name="retired", latency_seconds=1.0)
        assert batches.resource(tx, batch).eta_seconds == 12.5  # 10 a second, and 2.5 s for the last
        tx.execute(update(Account).where(Account.name == "quick").values(paused_reason="credits"))
        assert batches.resource(tx, batch).eta_seconds == 44.0
        tx.execute(update(Account).values(paused_reason="credits"))
        tx.expire_all()
        assert batches.resource(tx, batch).eta_seconds == 12.5


def test_a_page_is_in_the_order_that_was_asked_for() -> None:
    with db.transaction() as tx:
        found = [tx.get_one(Batch, rows.batch(tx, number)) for number in (1, 2, 3)]
        rows.job(tx, State.INFLIGHT, batch_id=found[1].id)
        page = batches.page(tx, [found[2], found[1], found[0]])
        assert [batch.id for batch in page] == [found[2].id, found[1].id, found[0].id]
        assert [batch.counts.processing for batch in page] == [0, 1, 0]
        assert batches.page(tx, []) == []


def test_what_a_webhook_tells_of_a_batch_stays_small_however_much_was_rejected() -> None:
    listen()
    rejected = [{"item": f"{number}.jpg", "code": "missing_mask", "detail": "d" * 200} for number in range(2000)]
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 1, rejected=rejected)
        (job,) = rows.jobs(tx, 1, State.INFLIGHT, batch_id=batch_id)
    end(job)
    ((_, data),) = told()
    assert len(json.dumps(data)) < 20_000
    with db.transaction() as tx:
        assert len(batches.resource(tx, tx.get_one(Batch, batch_id)).rejected) == 2000
