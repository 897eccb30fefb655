"""What is cancelled stops where that costs nothing, and is paid, counted and told of once where it does not."""

import json
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select, text

from cleanplate import batches, cancel, db, jobs
from cleanplate.jobs import Change
from cleanplate.models import Batch, Delivery
from cleanplate.outcomes import Accepted, ErrorCode, NotAccepted, ResultReady
from cleanplate.states import HOLDS_SLOT, TERMINAL, UNSENT, InFlight, State
from tests import rows
from tests.seen import row
from tests.threads import at_once
from worker import meaning, sweep
from worker.flight import Flight

pytestmark = pytest.mark.usefixtures("database")

FINISH, ABANDON = InFlight.FINISH, InFlight.ABANDON
SUBMITTED = [State.SENDING, State.UNCONFIRMED, State.INFLIGHT, State.READY]


def whole(batch_id: str) -> Batch:
    with db.transaction() as tx:
        return tx.get_one(Batch, batch_id)


def made(state: State, **columns: Any) -> str:
    with db.transaction() as tx:
        return rows.job(tx, state, **columns)


def stop(*job_ids: str, in_flight: InFlight) -> cancel.Stopped:
    with db.transaction() as tx:
        return cancel.stop(tx, job_ids, in_flight)


def ask(batch_id: str, in_flight: InFlight = FINISH) -> bool:
    with db.transaction() as tx:
        return cancel.ask(tx, tx.get_one(Batch, batch_id, with_for_update=True), in_flight)


def change(wish: Change) -> bool:
    with db.transaction() as tx:
        return bool(jobs.apply(tx, [wish]))


def unheeded() -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(cancel.unheeded()))


def told() -> Counter[tuple[str, str]]:
    """Return how often each event was written, with the id of what it is about."""
    with db.transaction() as tx:
        found = tx.execute(select(Delivery.event_type, Delivery.body)).all()
    return Counter((kind, json.loads(body)["data"]["id"]) for kind, body in found)


@pytest.mark.parametrize("in_flight", InFlight)
@pytest.mark.parametrize("state", UNSENT)
def test_what_is_unsent_is_over_at_once_and_costs_nothing(state: State, in_flight: InFlight) -> None:
    job_id = made(state)
    assert stop(job_id, in_flight=in_flight).unsent == {job_id}
    after = row(job_id)
    assert (after.state, after.owner, after.cost_credits, after.cancelling) == ("cancelled", None, 0.0, None)
    assert after.finished_at is not None
    assert stop(job_id, in_flight=in_flight).unsent == set()


@pytest.mark.parametrize("in_flight", InFlight)
@pytest.mark.parametrize("state", HOLDS_SLOT)
def test_what_holds_a_slot_keeps_it_and_is_told(state: State, in_flight: InFlight) -> None:
    job_id = made(state)
    stopped = stop(job_id, in_flight=in_flight)
    assert (stopped.unsent, stopped.abandoned) == (set(), set())
    assert (row(job_id).state, row(job_id).cancelling) == (state, in_flight)
    with db.transaction() as tx:
        assert tx.scalar(jobs.slots_held(rows.ACCOUNT)) == 1
        assert rows.events(tx, job_id) == [(state, cancel.MARKS[in_flight], None)]


def test_a_result_that_is_ready_is_thrown_away_when_it_is_abandoned_and_paid_all_the_same() -> None:
    job_id = made(State.READY)
    assert stop(job_id, in_flight=ABANDON).abandoned == {job_id}
    assert (row(job_id).state, row(job_id).cost_credits, row(job_id).sample_url) == ("cancelled", 5.0, None)


def test_what_is_abandoned_stays_so_and_what_was_to_be_finished_can_still_be_abandoned() -> None:
    job_id = made(State.INFLIGHT)
    for asked, becomes in [(FINISH, FINISH), (FINISH, FINISH), (ABANDON, ABANDON), (FINISH, ABANDON)]:
        stop(job_id, in_flight=asked)
        assert row(job_id).cancelling == becomes
    with db.transaction() as tx:
        assert len(rows.events(tx, job_id)) == 2


@pytest.mark.parametrize("state", TERMINAL)
def test_what_has_ended_stays_as_it_ended(state: State) -> None:
    job_id = made(state)
    stop(job_id, in_flight=ABANDON)
    assert (row(job_id).state, row(job_id).cancelling) == (state, None)


# -- what transitions make of the mark ---------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", InFlight)
def test_a_submit_that_was_not_accepted_is_not_made_again(in_flight: InFlight) -> None:
    job_id = made(State.SENDING)
    stop(job_id, in_flight=in_flight)
    assert change(meaning.of_submit(job_id, 1, NotAccepted("429", over_limit=True), rows.WORKER, 30.0))
    with db.transaction() as tx:
        (attempt,) = rows.attempts(tx, job_id)
        assert rows.events(tx, job_id)[-1][:2] == ("cancelled", "cancelled on request: 429")
    assert (row(job_id).state, row(job_id).cost_credits, attempt.outcome) == ("cancelled", 0.0, "not_accepted")


@pytest.mark.parametrize("in_flight", InFlight)
def test_a_submit_without_an_answer_is_not_made_again_by_policy(in_flight: InFlight) -> None:
    job_id = made(State.UNCONFIRMED, due_at=text("now() - interval '1 s'"))
    stop(job_id, in_flight=in_flight)
    with db.transaction() as tx:
        sweep.decide_unconfirmed(tx, "resubmit", 3)
    assert row(job_id).state == "cancelled"


def test_an_abandoned_submit_that_is_accepted_after_all_keeps_its_slot_to_its_end_and_shows_its_cost() -> None:
    job_id = made(State.SENDING)
    stop(job_id, in_flight=ABANDON)
    assert change(meaning.of_submit(job_id, 1, Accepted("t-1", "http://127.0.0.2/t", 7.0), rows.WORKER, 30.0))
    assert row(job_id).state == "inflight"
    ready = meaning.of_poll(
        Flight(job_id, rows.ACCOUNT, 1, "", 0.0), ResultReady("http://127.0.0.3/x?sig=1", None), rows.WORKER, 1e9
    )
    assert ready is not None
    assert change(ready)
    after = row(job_id)
    assert (after.state, after.cost_credits, after.sample_url, after.owner) == ("cancelled", 7.0, None, None)


def test_an_abandoned_task_that_fails_is_cancelled_and_not_failed() -> None:
    job_id = made(State.INFLIGHT)
    stop(job_id, in_flight=ABANDON)
    wish = meaning.failed(job_id, frozenset({State.INFLIGHT}), ErrorCode.UPSTREAM_ERROR, "no", rows.WORKER)
    assert change(wish)
    assert (row(job_id).state, row(job_id).error_code, row(job_id).cost_credits) == ("cancelled", None, 5.0)


@pytest.mark.parametrize("in_flight", InFlight)
def test_a_finalize_message_is_sent_for_what_is_finished_only(
    in_flight: InFlight, hints: list[tuple[str, str]]
) -> None:
    job_id = made(State.INFLIGHT)
    stop(job_id, in_flight=in_flight)
    assert change(Change(job_id, frozenset({State.INFLIGHT}), State.READY, "ready", values={"sample_url": "http://x"}))
    assert hints == ([("finalize", job_id)] if in_flight is FINISH else [])


# -- batches -----------------------------------------------------------------------------------------------------------


def batch_of(*states: State, **columns: Any) -> tuple[str, list[str]]:
    with db.transaction() as tx:
        batch_id = rows.batch(tx, len(states), **columns)
        return batch_id, [rows.job(tx, state, batch_id=batch_id) for state in states]


def test_a_wish_that_nobody_has_heeded_is_found_until_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "PAGE", 2)
    batch_id, ids = batch_of(*[State.QUEUED] * 3, *[State.IMPORTING] * 2, State.CLAIMED, *SUBMITTED)
    other, _ = batch_of(State.QUEUED)
    assert unheeded() == []
    assert ask(batch_id)
    assert unheeded() == [batch_id]
    cancel.carry_on(batch_id, 0.0)
    assert unheeded() == [batch_id]
    assert cancel.carry_on(batch_id, 60.0).unsent == set(ids[:6])
    assert unheeded() == []
    assert {row(job_id).cancelling for job_id in ids[6:]} == {FINISH}
    assert ask(batch_id, ABANDON)
    assert unheeded() == [batch_id]
    assert cancel.carry_on(batch_id, 60.0).abandoned == {ids[-1]}
    assert unheeded() == []
    assert whole(other).cancelling is None


def test_a_job_that_was_sent_before_its_page_came_is_told_too() -> None:
    batch_id, (job_id,) = batch_of(State.QUEUED)
    ask(batch_id)
    with db.transaction() as tx:
        rows.account(tx)
        jobs.claim(tx, rows.WORKER, 1)
        rows.seats(tx, rows.WORKER, [job_id])
    assert unheeded() == [batch_id]
    cancel.carry_on(batch_id, 60.0)
    assert (row(job_id).state, row(job_id).cancelling) == ("sending", FINISH)
    assert unheeded() == []


def test_a_cancelled_batch_ends_with_its_last_job_and_tells_that_once_however_many_cancel_it() -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    batch_id, ids = batch_of(*[State.QUEUED] * 30, State.INFLIGHT, State.READY)

    def cancel_it(in_flight: InFlight) -> None:
        assert ask(batch_id, in_flight)
        cancel.carry_on(batch_id, 60.0)

    at_once([lambda wish=wish: cancel_it(wish) for wish in [FINISH, ABANDON] * 3])  # type: ignore[misc] -- a default
    assert whole(batch_id).finished_at is None
    wish = meaning.failed(ids[30], frozenset({State.INFLIGHT}), ErrorCode.UPSTREAM_ERROR, "no")
    assert change(wish)
    after = whole(batch_id)
    assert (after.succeeded, after.failed, after.cancelled, after.cost_credits) == (0, 0, 32, 10.0)
    assert after.finished_at is not None
    assert told() == Counter([("batch.cancelled", batch_id), *(("job.cancelled", job_id) for job_id in ids)])


def test_a_batch_that_was_to_be_cancelled_is_cancelled_whatever_its_jobs_in_flight_came_to() -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx, events=["batch.completed", "batch.cancelled"])
    batch_id, (_, flying) = batch_of(State.QUEUED, State.INFLIGHT)
    ask(batch_id)
    cancel.carry_on(batch_id, 60.0)
    change(meaning.failed(flying, frozenset({State.INFLIGHT}), ErrorCode.UPSTREAM_ERROR, "no"))
    assert told() == Counter([("batch.cancelled", batch_id)])
    with db.transaction() as tx:
        resource = batches.resource(tx, tx.get_one(Batch, batch_id))
    assert (resource.status, resource.counts.failed, resource.counts.cancelled) == ("cancelled", 1, 1)


def test_an_open_batch_is_sealed_and_ends_at_once_when_nothing_is_left_of_it() -> None:
    empty, _ = batch_of(sealed=False)
    ended, _ = batch_of(State.FAILED, sealed=False, failed=1)
    for batch_id in (empty, ended):
        assert ask(batch_id)
        assert whole(batch_id).sealed_at is not None
        assert whole(batch_id).finished_at is not None
        assert ask(batch_id), "again"


def test_a_batch_that_has_ended_otherwise_is_not_cancelled() -> None:
    batch_id, (flying,) = batch_of(State.INFLIGHT)
    change(meaning.failed(flying, frozenset({State.INFLIGHT}), ErrorCode.UPSTREAM_ERROR, "no"))
    assert not ask(batch_id)
    assert whole(batch_id).cancelling is None


def test_the_sweep_goes_on_where_whoever_took_the_wish_died(
    sweeper: sweep.Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel, "PAGE", 4)
    monkeypatch.setattr(sweep, "CANCEL_SECONDS", 60.0)  # what a round has no time for is left to the next
    batch_id, ids = batch_of(*[State.QUEUED] * 10, *SUBMITTED)
    ask(batch_id, ABANDON)
    sweeper._round()
    states = [row(job_id).state for job_id in ids]
    assert states == ["cancelled"] * 10 + ["sending", "unconfirmed", "inflight", "cancelled"]


def test_a_page_holds_up_nobody_who_claims_others() -> None:
    _, ids = batch_of(*[State.QUEUED] * 6)
    with db.transaction() as tx:
        cancel.stop(tx, ids[:3], FINISH)
        with db.transaction() as other:
            other.execute(text("SET LOCAL lock_timeout = '100ms'"))
            assert [job.id for job in jobs.claim(other, "w1", 6)] == ids[3:]
