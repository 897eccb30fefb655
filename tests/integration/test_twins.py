"""Those that follow a twin, whatever happens to it and to them, one after the other."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from cleanplate import db, deletion
from cleanplate.models import Delivery, Job
from cleanplate.states import State
from cleanplate.storage import StoreUnavailable
from tests import rows
from tests.seen import due_in, passing, row, state
from tests.twinned import PRINTS, come, end, see_to
from worker import twins
from worker.store import store
from worker.sweep import Sweeper

pytestmark = pytest.mark.usefixtures("database", "worker_store")


def test_an_end_is_seen_as_it_comes_without_a_look_that_is_due() -> None:
    first, second = come(), come()
    watch = twins.Watch()
    watch.see_to()
    assert due_in(second) > 0
    end(first)
    watch.see_to()
    assert state(second) is State.SUCCEEDED


def test_an_end_that_was_missed_is_found_by_the_look_that_is_due() -> None:
    first, second = come(), come()
    end(first)
    with db.transaction() as tx:
        tx.execute(update(Job).where(Job.id == first).values(finished_at=func.now() - func.make_interval(0, 0, 0, 1)))
        tx.execute(update(Job).where(Job.id == second).values(due_at=func.now() + func.make_interval(0, 0, 0, 1)))
    twins.Watch().see_to()
    assert state(second) is State.FOLLOWING
    see_to()
    assert state(second) is State.SUCCEEDED


@pytest.mark.parametrize(("waited", "again"), [(0, 1), (10, 10), (600, 30)])
def test_who_has_waited_for_long_is_looked_at_less_often(waited: int, again: float) -> None:
    come()
    with passing() as span:
        second = come(created_at=func.now() - timedelta(seconds=waited))
        twins.Watch().see_to()
    due_at = row(second).due_at - timedelta(seconds=again)
    assert span.began <= due_at <= span.ended + (span.ended - span.began)


def test_more_than_a_page_of_twins_ends_with_one_result_and_one_of_them_after_the_other_goes_without() -> None:
    first = come()
    others = [come() for _ in range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twins, "PAGE", 5)
        end(first, State.FAILED)
        see_to()
        assert [state(id_) for id_ in others] == [State.QUEUED] + [State.FOLLOWING] * 11
        end(others[0])
        see_to()
    assert {state(id_) for id_ in others} == {State.SUCCEEDED}
    assert {row(id_).result_key for id_ in others} == {f"results/{others[0]}.png"}
    assert [row(id_).cost_credits for id_ in others] == [5.0] + [0.0] * 11


def test_receivers_hear_of_what_is_reused_as_of_any_success_and_once_of_the_batch() -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
        batch_id = rows.batch(tx, 3)
    first, *others = (come(batch_id=batch_id) for _ in range(3))
    end(first)
    see_to()
    see_to()
    with db.transaction() as tx:
        told = {row.subject_id: row for row in tx.scalars(select(Delivery))}
        assert tx.scalar(select(func.count()).select_from(Delivery)) == 4
    assert {told[id_].event_type for id_ in others} == {"job.succeeded"}
    assert {json.loads(told[id_].body)["data"]["result"]["reused_from"] for id_ in others} == {first}
    batch = json.loads(told[batch_id].body)["data"]
    assert (told[batch_id].event_type, batch["reused"], batch["cost_credits"]) == ("batch.completed", 2, 5.0)


def test_while_the_store_is_away_they_wait_and_nobody_is_paid(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = come(), come()
    end(first)

    def away(_: str) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(store(), "stat", away)
        sweeper._twins.begin(lambda: False)
        sweeper._twins.close()
    assert state(second) is State.FOLLOWING
    assert "the object store is away" in caplog.text
    see_to()
    assert state(second) is State.SUCCEEDED


def test_a_source_that_is_being_deleted_is_left_and_the_next_look_finds_it_gone() -> None:
    first, second = come(), come()
    end(first)
    with db.transaction() as deleting:
        deletion.mark_jobs(deleting, [first])
        see_to()
        assert state(second) is State.FOLLOWING
    see_to()
    assert state(second) is State.QUEUED


def test_a_source_that_was_deleted_since_it_was_found_is_none() -> None:
    first = come()
    end(first)
    with db.transaction() as tx:
        assert twins._ends(tx, [first]).keys() == {PRINTS[0]}
        deletion.mark_jobs(tx, [first])
        assert twins._ends(tx, [first]) == {}


@pytest.mark.parametrize("is_over", [False, True])
def test_who_was_found_without_a_twin_and_has_one_by_now_does_not_go(*, is_over: bool) -> None:
    first, second = come(), come()
    if is_over:
        end(first)
    twins._promote(PRINTS[0], missing=())
    assert state(second) is State.FOLLOWING


def test_the_turn_of_the_next_is_at_the_end_of_the_line() -> None:
    first, second = come(), come()
    other = come(PRINTS[1])
    end(first, State.FAILED)
    see_to()
    assert row(second).tag > row(other).tag
    assert row(second).due_at is None
