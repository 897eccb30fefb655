"""What dead workers leave behind, and what a worker that was only frozen may still do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, text, update

from cleanplate import db, jobs, leases
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Batch, Job
from cleanplate.outcomes import Accepted, ResultReady
from cleanplate.states import HOLDS_SLOT, LEASED, State
from tests import rows
from tests.seen import row
from tests.servers import wait_until
from tests.threads import at_once
from worker import capacity, ledger, meaning
from worker.flight import load_flights

pytestmark = pytest.mark.usefixtures("database")

ACCEPTED = Accepted("task-late", "http://127.0.0.2:9/late", 5.0)
AFTERWARDS = {State.CLAIMED: State.QUEUED, State.SENDING: State.UNCONFIRMED, State.INFLIGHT: State.INFLIGHT}


def rescue(worker: str = "saviour", **more: Any) -> list[str]:
    with db.transaction() as tx:
        return leases.rescue(tx, worker, hold_seconds=30.0, **more)


def left_by(lease_seconds: float | None, state: State, **columns: Any) -> str:
    """A job of a worker whose lease has so long to go, or who has none."""
    with db.transaction() as tx:
        if lease_seconds is not None:
            rows.worker(tx, lease_seconds=lease_seconds)
        return rows.job(tx, state, **columns)


@pytest.mark.parametrize("state", sorted(LEASED))
@pytest.mark.parametrize("lease_seconds", [-1.0, None])
def test_what_a_dead_worker_held_goes_on(state: State, lease_seconds: float | None) -> None:
    job_id = left_by(lease_seconds, state)
    adopted = rescue()
    assert row(job_id).state == AFTERWARDS[state]
    assert adopted == ([job_id] if state is State.INFLIGHT else [])
    assert row(job_id).owner == ("saviour" if state is State.INFLIGHT else None)
    with db.transaction() as tx:
        assert [(event[0], event[2]) for event in rows.events(tx, job_id)] == [(AFTERWARDS[state], "saviour")]
    assert rescue("another") == [job_id] * (state is State.INFLIGHT)


@pytest.mark.parametrize("state", sorted(LEASED))
def test_what_a_living_worker_holds_is_left_alone(state: State) -> None:
    job_id = left_by(60.0, state)
    assert rescue() == []
    assert (row(job_id).state, row(job_id).owner) == (state, rows.WORKER)


@pytest.mark.parametrize("state", sorted(LEASED))
def test_a_worker_that_is_late_with_its_own_lease_takes_nothing_from_itself(state: State) -> None:
    job_id = left_by(-1.0, state)
    assert rescue(rows.WORKER) == []
    assert (row(job_id).state, row(job_id).owner) == (state, rows.WORKER)


@pytest.mark.parametrize("state", sorted(set(State) - LEASED))
def test_what_nobody_leases_needs_no_rescue(state: State) -> None:
    job_id = left_by(None, state)
    assert rescue() == []
    assert row(job_id).state == state


def test_what_was_on_the_wire_is_held_and_the_ledger_says_so() -> None:
    job_id = left_by(-1.0, State.SENDING)
    rescue()
    after = row(job_id)
    assert after.account == rows.ACCOUNT
    assert after.due_at is not None
    with db.transaction() as tx:
        (attempt,) = rows.attempts(tx, job_id)
        assert (attempt.outcome, attempt.answered_at) == ("unconfirmed", None)
        assert tx.scalar(jobs.slots_held(rows.ACCOUNT)) == 1


def test_what_was_handed_over_in_flight_is_adopted_at_once_by_one_of_many() -> None:
    with db.transaction() as tx:
        rows.worker(tx)
        ids = rows.jobs(tx, 30, State.INFLIGHT)
        leases.hand_over(tx, rows.WORKER)
        for number in range(5):
            rows.worker(tx, f"w{number}")
    shares = at_once([lambda name=f"w{number}": rescue(name, limit=10) for number in range(5)])
    assert sorted(id_ for share in shares for id_ in share) == ids


def test_a_rescue_takes_no_more_than_its_limit_and_the_next_takes_the_rest() -> None:
    with db.transaction() as tx:
        rows.worker(tx, "saviour")
        ids = rows.jobs(tx, 5, State.INFLIGHT)
    first, second = rescue(limit=3), rescue(limit=3)
    assert (len(first), len(second)) == (3, 2)
    assert sorted(first + second) == ids


@pytest.mark.parametrize("state", sorted(LEASED))
def test_a_worker_that_wakes_up_may_not_change_what_was_taken_from_it(state: State) -> None:
    job_id = left_by(-1.0, state)
    with db.transaction() as tx:
        rows.worker(tx, "saviour")
    rescue()
    with db.transaction() as tx:
        leases.heartbeat(tx, rows.WORKER, 60.0)
    flight = meaning.Flight(job_id, rows.ACCOUNT, 20, "", 0.0)
    ready = meaning.of_poll(flight, ResultReady("http://x/?sig=1", None), rows.WORKER, 540.0)
    assert ready is not None
    wishes = [
        meaning.of_submit(job_id, 1, ACCEPTED, rows.WORKER, 30.0),
        ready,
        jobs.Change(job_id, frozenset({State.CLAIMED}), State.SENDING, "sending", rows.WORKER),
    ]
    for wish in wishes:
        with db.transaction() as tx:
            assert jobs.apply(tx, [wish], worker=rows.WORKER) == set()
    with db.transaction() as tx:
        rows.account(tx)
        assert rows.seats(tx, rows.WORKER, [job_id])[0] == set()


def test_an_acceptance_that_comes_after_the_job_was_given_up_as_unconfirmed_is_used() -> None:
    job_id = left_by(-1.0, State.SENDING)
    rescue()
    late = meaning.late_acceptance(job_id, 1, ACCEPTED, rows.WORKER)
    with db.transaction() as tx:
        assert jobs.apply(tx, [late], worker=rows.WORKER) == {job_id}
    after = row(job_id)
    assert (after.state, after.owner) == ("inflight", rows.WORKER)
    with db.transaction() as tx:
        (attempt,) = rows.attempts(tx, job_id)
    assert (attempt.outcome, attempt.task_id, attempt.cost_credits) == ("accepted", "task-late", 5.0)


@pytest.mark.parametrize("state", sorted(set(State) - {State.UNCONFIRMED}))
def test_an_acceptance_that_comes_later_still_changes_nothing(state: State) -> None:
    job_id = left_by(60.0, state)
    late = meaning.late_acceptance(job_id, 1, ACCEPTED, "w2")
    with db.transaction() as tx:
        assert jobs.apply(tx, [late], worker="w2") == set()


@pytest.mark.parametrize("now", [State.QUEUED, State.SENDING, State.UNCONFIRMED, State.INFLIGHT, State.SUCCEEDED])
def test_an_acceptance_that_comes_after_the_job_was_sent_again_is_not_taken_for_the_newer_one_but_paid(
    now: State,
) -> None:
    """Also by the same worker, for which it looks like the answer that it waits for."""
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 2)
        ended = {"finished_at": func.now(), "cost_credits": 5.0} if now is State.SUCCEEDED else {}
        job_id = rows.job(tx, now, batch_id=batch_id, attempts=2, **ended)
        tx.add(Attempt(job_id=job_id, number=1, account=rows.ACCOUNT, worker=rows.WORKER, outcome="unconfirmed"))
    before = row(job_id)
    for wish in (
        meaning.of_submit(job_id, 1, ACCEPTED, rows.WORKER, 30.0),
        meaning.late_acceptance(job_id, 1, ACCEPTED, rows.WORKER),
    ):
        with db.transaction() as tx:
            turn = capacity.turn(
                tx, rows.WORKER, {rows.ACCOUNT}, [wish], [partial(ledger.paid_late, acceptance=wish)], {}
            )
        assert not turn.granted
    after = row(job_id)
    assert (after.state, after.owner, after.attempts) == (before.state, before.owner, 2)
    with db.transaction() as tx:
        older, newer = rows.attempts(tx, job_id)
        spent = tx.get_one(Batch, batch_id).cost_credits
    assert (older.outcome, older.task_id, older.cost_credits) == ("accepted", "task-late", 5.0)
    assert older.detail == "the answer came after the job had gone on without it"
    assert newer.task_id != "task-late"
    assert (after.cost_credits, spent) == ((10.0, 5.0) if ended else (0.0, 0.0))


def test_a_job_that_ends_while_a_late_acceptance_is_written_down_costs_both() -> None:
    with db.transaction() as tx:
        job_id = rows.job(tx, State.READY, attempts=2)
        tx.add(Attempt(job_id=job_id, number=1, account=rows.ACCOUNT, worker=rows.WORKER, outcome="unconfirmed"))
    stored = {"result_key": "results/x.png", "result": rows.RESULT}

    def end() -> None:
        with db.transaction() as tx:
            jobs.apply(tx, [Change(job_id, frozenset({State.READY}), State.SUCCEEDED, "stored", values=stored)])

    with ThreadPoolExecutor(1) as thread:
        with db.transaction() as tx:
            ledger.paid_late(tx, meaning.late_acceptance(job_id, 1, ACCEPTED, rows.WORKER))
            ending = thread.submit(end)
            wait_until(lambda: tx.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
        ending.result()
    assert row(job_id).cost_credits == 10.0


def test_an_adopted_flight_counts_its_age_from_the_acceptance_and_its_window_from_the_submit() -> None:
    job_id = left_by(-1.0, State.INFLIGHT)
    with db.transaction() as tx:
        (attempt,) = rows.attempts(tx, job_id)
        attempt.sent_at -= timedelta(seconds=300)
        attempt.answered_at = attempt.sent_at + timedelta(seconds=200)
    adopted = rescue()
    with db.transaction() as tx:
        (flight,) = load_flights(tx, adopted, "{}/{}".format)
    assert (flight.job_id, flight.polling_url) == (job_id, f"http://127.0.0.2:9/v1/get_result?id={job_id}")
    assert not flight.first_hand
    assert flight.age == pytest.approx(100.0, abs=50.0)
    assert flight.window_left == pytest.approx(300.0, abs=50.0)


def test_an_adopted_flight_polls_the_newest_task() -> None:
    with db.transaction() as tx:
        rows.account(tx)
        job_id = rows.job(tx, State.UNCONFIRMED)
        again = jobs.Change(job_id, frozenset({State.UNCONFIRMED}), State.QUEUED, "again")
        jobs.apply(tx, [again])
        jobs.claim(tx, "dead", 1)
        rows.seats(tx, "dead", [job_id])
        jobs.apply(tx, [meaning.of_submit(job_id, 2, ACCEPTED, "dead", 30.0)])
    adopted = rescue()
    with db.transaction() as tx:
        (flight,) = load_flights(tx, adopted, "{}/{}".format)
    assert flight.polling_url == ACCEPTED.polling_url
    assert flight.window_left == pytest.approx(600.0, abs=50.0)


def test_no_slot_is_free_while_nobody_knows_whether_the_upstream_is_busy_with_it() -> None:
    with db.transaction() as tx:
        rows.account(tx, cap=len(HOLDS_SLOT))
        for state in HOLDS_SLOT:
            rows.job(tx, state, owner="dead")
        waiting = rows.job(tx, State.CLAIMED, owner="saviour")
        rows.worker(tx, "saviour")
    rescue()
    with db.transaction() as tx:
        assert rows.seats(tx, "saviour", [waiting]) == (set(), set())


def test_a_stray_that_has_been_sent_again_since_it_was_seen_is_left_alone() -> None:
    job_id = left_by(60.0, State.SENDING)
    with db.transaction() as tx:
        seen = leases.held(tx, rows.WORKER)
        tx.execute(update(Job).where(Job.id == job_id).values(attempts=Job.attempts + 1))
        assert leases.regain(tx, rows.WORKER, seen) == []
    assert row(job_id).state == "sending"
    with db.transaction() as tx:
        leases.regain(tx, rows.WORKER, leases.held(tx, rows.WORKER))
    assert row(job_id).state == "queued"
