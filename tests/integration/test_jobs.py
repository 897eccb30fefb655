"""The one guarded function that moves jobs, on a real PostgreSQL."""

import random
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.exc import IntegrityError

from cleanplate import db, jobs
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Job
from cleanplate.states import LEASED, MOVES, TERMINAL, IllegalMoveError, State
from tests import rows
from tests.seen import passing, row
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("database")

Hints = list[tuple[str, str]]
NEEDS: dict[State, dict[str, Any]] = {
    State.IMPORTING: {"sources": rows.SOURCES},
    State.HELD: {"image": rows.IMAGE, "mask": rows.MASK},
    State.FOLLOWING: {"image": rows.IMAGE, "mask": rows.MASK, "fingerprint": "print"},
    State.QUEUED: {"image": rows.IMAGE, "mask": rows.MASK},
    State.CLAIMED: {"owner": rows.WORKER},
    State.SENDING: {"owner": rows.WORKER, "account": rows.ACCOUNT},
    State.INFLIGHT: {"owner": rows.WORKER},
    State.READY: {"sample_url": "http://127.0.0.3/x.png?sig=1"},
    State.SUCCEEDED: {"result_key": "results/x.png", "result": rows.RESULT},
    State.FAILED: {"error_code": "upstream_error", "error_detail": "broken"},
}


def change(job_id: str, source: State, target: State, **more: Any) -> Change:
    values = NEEDS.get(target, {}) | more.pop("values", {})
    return Change(job_id, frozenset({source}), target, f"to {target}", values=values, **more)


def made(state: State = State.QUEUED, **columns: Any) -> str:
    with db.transaction() as tx:
        return rows.job(tx, state, **columns)


def apply(*changes: Change, worker: str | None = None) -> set[str]:
    with db.transaction() as tx:
        return jobs.apply(tx, changes, worker=worker)


# -- what the database itself refuses ----------------------------------------------------------------------------------


def permitted(job_id: str, target: State) -> bool:
    """Whether the database lets anybody, by plain SQL, bring a job there."""
    try:
        with db.engine().begin() as connection:
            connection.execute(update(Job).where(Job.id == job_id).values(state=target, **NEEDS.get(target, {})))
    except IntegrityError:
        return False
    return True


def test_the_database_allows_exactly_the_moves_of_the_state_machine() -> None:
    pairs = {(source, target) for source in State for target in State if source is not target}
    assert {(source, target) for source, target in pairs if permitted(made(source), target)} == MOVES


def test_the_database_says_which_move_it_refuses(database: Engine) -> None:
    job_id = made(State.SUCCEEDED)
    with database.connect() as connection, pytest.raises(IntegrityError, match="cannot go from succeeded to queued"):
        connection.execute(update(Job).where(Job.id == job_id).values(state="queued"))


@pytest.mark.parametrize(
    ("source", "values"),
    [
        (State.QUEUED, {"state": "claimed"}),
        (State.SENDING, {"owner": None}),
        (State.READY, {"state": "succeeded"}),
        (State.READY, {"state": "failed"}),
    ],
)
def test_the_database_refuses_a_row_that_lacks_what_its_state_needs(
    database: Engine, source: State, values: dict[str, Any]
) -> None:
    job_id = made(source)
    with database.connect() as connection, pytest.raises(IntegrityError, match="violates check constraint"):
        connection.execute(update(Job).where(Job.id == job_id).values(**values))


def test_a_transaction_that_stands_still_is_ended_and_its_locks_with_it() -> None:
    job_id = made()
    with db.engine().connect() as frozen:
        frozen.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        frozen.execute(select(Job.id).where(Job.id == job_id).with_for_update())
        assert apply(change(job_id, State.QUEUED, State.CLAIMED)) == {job_id}
        with pytest.raises(db.AWAY):
            frozen.execute(text("SELECT 1"))
    with db.engine().connect() as connection:
        assert connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar() == "30s"


# -- apply -------------------------------------------------------------------------------------------------------------


def test_a_wish_for_a_column_that_there_is_not_is_a_mistake_and_moves_nothing() -> None:
    job_id = made()
    with pytest.raises(KeyError, match="ownr"):
        apply(change(job_id, State.QUEUED, State.CLAIMED, values={"ownr": "w9"}))
    assert row(job_id).state == State.QUEUED


@pytest.mark.parametrize(("source", "target"), sorted(MOVES))
def test_a_move_is_made_and_leaves_its_event(source: State, target: State) -> None:
    job_id = made(source)
    assert apply(change(job_id, source, target), worker="w9") == {job_id}
    after = row(job_id)
    assert after.state == target
    assert (after.owner is not None) == (target in LEASED)
    with db.transaction() as tx:
        assert rows.events(tx, job_id) == [(target, f"to {target}", "w9")]


@pytest.mark.parametrize("state", State)
def test_a_job_in_any_other_state_is_left_as_it_is(state: State) -> None:
    job_id = made(state)
    for source, target in MOVES:
        if source is not state:
            assert apply(change(job_id, source, target)) == set()
    assert row(job_id).state == state
    with db.transaction() as tx:
        assert rows.events(tx, job_id) == []


@pytest.mark.parametrize("state", sorted(LEASED))
def test_only_its_owners_wish_is_granted(state: State) -> None:
    job_id = made(state, owner="w1")
    wish = change(job_id, state, State.FAILED, owner="w2")
    assert apply(wish, worker="w2") == set()
    assert row(job_id).state == state
    assert apply(change(job_id, state, State.FAILED, owner="w1"), worker="w1") == {job_id}


def test_a_job_that_was_handed_over_belongs_to_nobody() -> None:
    job_id = made(State.INFLIGHT, owner=None)
    assert apply(change(job_id, State.INFLIGHT, State.FAILED, owner=rows.WORKER)) == set()


def test_a_wish_that_is_no_move_at_all_is_a_mistake_and_nothing_is_changed() -> None:
    first, second = made(State.QUEUED), made(State.QUEUED)
    with pytest.raises(IllegalMoveError):
        apply(change(first, State.QUEUED, State.CLAIMED), change(second, State.QUEUED, State.SUCCEEDED))
    assert row(first).state == State.QUEUED


def test_of_many_wishes_those_that_hold_are_granted() -> None:
    queued, ready, over = made(), made(State.READY), made(State.FAILED)
    granted = apply(
        change(queued, State.QUEUED, State.CLAIMED),
        change(ready, State.READY, State.SUCCEEDED),
        change(over, State.QUEUED, State.CLAIMED),
        change("job_nowhere", State.QUEUED, State.CLAIMED),
    )
    assert granted == {queued, ready}
    assert apply() == set()


def test_times_are_seconds_from_now_on_the_databases_clock() -> None:
    job_id = made(State.INFLIGHT)
    with passing() as span:
        apply(change(job_id, State.INFLIGHT, State.READY, due_in=5.0, window_in=600.0))
    assert row(job_id).due_at - timedelta(seconds=5) in span
    assert row(job_id).window_ends - timedelta(seconds=600) in span


@pytest.mark.parametrize("target", sorted(TERMINAL))
def test_an_end_has_its_time_and_keeps_no_secret_and_nothing_that_is_due(target: State) -> None:
    source = next(source for source, into in sorted(MOVES) if into is target)
    job_id = made(source, sample_url="http://x/?sig=secret", due_at=func.now() + timedelta(days=1))
    apply(change(job_id, source, target))
    after = row(job_id)
    assert after.finished_at is not None
    assert (after.sample_url, after.due_at, after.owner) == (None, None, None)


def test_a_result_is_stored_as_it_was_given() -> None:
    job_id = made(State.READY)
    result = rows.RESULT | {"format": "we\"ird 'ñ' \\u0041", "sha256": "é" * 3}
    apply(change(job_id, State.READY, State.SUCCEEDED, values={"result_key": "results/ü.png", "result": result}))
    assert row(job_id).result == result
    assert row(job_id).result_key == "results/ü.png"


def test_the_ledgers_newest_row_hears_the_answer_and_no_other() -> None:
    job_id = made(State.SENDING)
    apply(change(job_id, State.SENDING, State.UNCONFIRMED, attempt={"outcome": "unconfirmed", "detail": "silence"}))
    apply(change(job_id, State.UNCONFIRMED, State.QUEUED))
    with db.transaction() as tx:
        rows.account(tx)
        jobs.claim(tx, "w2", 1)
    with db.transaction() as tx:
        assert rows.seats(tx, "w2", [job_id]) == ({job_id}, set())
    ledger = {"outcome": "accepted", "answered_at": 0.0, "task_id": "task-2", "cost_credits": 4.0}
    apply(change(job_id, State.SENDING, State.INFLIGHT, attempt=ledger))
    with db.transaction() as tx:
        first, second = rows.attempts(tx, job_id)
    assert (first.number, first.outcome, first.task_id, first.answered_at) == (1, "unconfirmed", None, None)
    assert (second.number, second.worker, second.outcome, second.task_id) == (2, "w2", "accepted", "task-2")
    assert second.answered_at is not None


def test_a_job_costs_what_was_accepted_and_an_untold_price_counts_as_the_expected_one(
    configure: Callable[..., None],
) -> None:
    configure(CLEANPLATE_COST_CREDITS="7")
    told, untold, unpaid = made(State.READY), made(State.READY), made(State.SENDING)
    with db.transaction() as tx:
        rows.attempts(tx, told)[0].cost_credits = 4.5
    apply(
        change(told, State.READY, State.SUCCEEDED),
        change(untold, State.READY, State.FAILED),
        change(unpaid, State.SENDING, State.FAILED, attempt={"outcome": "rejected"}),
    )
    assert [row(job_id).cost_credits for job_id in (told, untold, unpaid)] == [4.5, 7.0, 0.0]


def test_a_submit_that_turned_out_to_be_paid_after_it_was_sent_again_counts(configure: Callable[..., None]) -> None:
    configure(CLEANPLATE_COST_CREDITS="7")
    job_id = made(State.READY, attempts=2)
    with db.transaction() as tx:
        lost = {"job_id": job_id, "account": rows.ACCOUNT, "worker": rows.WORKER, "outcome": "unconfirmed"}
        tx.add(Attempt(number=1, task_id="task-by-callback", **lost))
    apply(change(job_id, State.READY, State.SUCCEEDED))
    assert row(job_id).cost_credits == 14.0


def test_a_result_is_hinted_at_only_once_the_row_is_there_for_whoever_reads_the_hint(hints: Hints) -> None:
    job_id = made(State.INFLIGHT)
    with db.transaction() as tx:
        jobs.apply(tx, [change(job_id, State.INFLIGHT, State.READY)])
        assert hints == []
    assert hints == [("finalize", job_id)]


def test_nothing_is_hinted_at_when_the_transaction_fails(hints: Hints) -> None:
    job_id = made(State.INFLIGHT)

    def fail() -> None:
        with db.transaction() as tx:
            jobs.apply(tx, [change(job_id, State.INFLIGHT, State.READY)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert hints == []
    assert row(job_id).state == State.INFLIGHT


def test_overlapping_sets_are_locked_in_one_order_whatever_the_plan_and_each_wish_is_granted_once() -> None:
    with db.transaction() as tx:
        for number in reversed(range(60)):  # so that the order of the table is not the order of the ids
            rows.job(tx, State.INFLIGHT, id=f"job_{number:02}")
    plans = ("SET LOCAL enable_seqscan = off", "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")

    def play(seed: int) -> int:
        draw, granted = random.Random(seed), 0
        for turn in range(16):
            mine = draw.sample(range(60), 40)
            here, there = (State.INFLIGHT, State.READY) if turn % 2 else (State.READY, State.INFLIGHT)
            with db.transaction() as tx:
                tx.connection().exec_driver_sql(plans[(seed + turn) % 2])
                granted += len(jobs.apply(tx, [change(f"job_{number:02}", here, there) for number in mine]))
        return granted

    granted = at_once([partial(play, seed) for seed in range(6)])
    with db.transaction() as tx:
        assert sum(granted) == sum(len(rows.events(tx, job_id)) for job_id in rows.states(tx))
    assert all(granted)
