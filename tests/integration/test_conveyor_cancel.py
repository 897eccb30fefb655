"""A conveyor whose jobs are cancelled under its hands lets go of them, and no slot and no credit is lost count of."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from cleanplate import cancel, db, jobs
from cleanplate.models import Attempt, Batch, Job
from cleanplate.states import InFlight, State
from cleanplate.storage import Store
from tests import rows, web
from tests.seen import state
from tests.servers import wait_until
from tests.upstream import Upstream, queue
from worker import conveyor

pytestmark = pytest.mark.usefixtures("database", "quick_conveyor")

ABANDON, FINISH = InFlight.ABANDON, InFlight.FINISH
LONG = 10**6


def states() -> Counter[State]:
    with db.transaction() as tx:
        return Counter(rows.states(tx).values())


def stop(*job_ids: str, in_flight: InFlight = FINISH) -> cancel.Stopped:
    with db.transaction() as tx:
        return cancel.stop(tx, job_ids, in_flight)


def ends(upstream: Upstream) -> None:
    """Let every task end at its next poll, those to come too."""
    upstream.polls = 1
    upstream._left = dict.fromkeys(upstream._left, 1)


def test_a_job_that_is_cancelled_while_its_payload_loads_is_never_sent(
    upstream: Upstream, store: Store, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, go_on, really = threading.Event(), threading.Event(), conveyor.load

    def load(*given: Any) -> Any:
        loading.set()
        go_on.wait()
        return really(*given)

    monkeypatch.setattr(conveyor, "load", load)
    (job_id,) = queue(store)
    with start():
        loading.wait()
        assert stop(job_id).unsent == {job_id}
        (later,) = queue(store)
        go_on.set()
        wait_until(lambda: state(later) is State.READY)
    assert (state(job_id), len(upstream.submits)) == (State.CANCELLED, 1)


def test_a_pair_that_is_gone_when_its_job_is_cancelled_already_fails_nothing(
    upstream: Upstream, store: Store, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = conveyor.load

    def load(where: Store, job: Job) -> Any:
        if job.id == gone:
            stop(job.id)
        return really(where, job)

    monkeypatch.setattr(conveyor, "load", load)
    gone, kept = queue(store, 2)
    store.delete([f"inputs/{gone}/mask.png"])
    with start():
        wait_until(lambda: (state(gone), state(kept)) == (State.CANCELLED, State.READY))
    assert len(upstream.submits) == 1


def test_a_whole_line_that_is_cancelled_is_left_at_once_and_who_comes_after_has_the_slot(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = LONG
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 30)
    queue(store, 30, batch_id=batch_id)
    with start(cap=1):
        wait_until(lambda: states() == {State.INFLIGHT: 1, State.CLAIMED: 7, State.QUEUED: 22})
        with db.transaction() as tx:
            cancel.ask(tx, tx.get_one(Batch, batch_id), FINISH)
        assert len(cancel.carry_on(batch_id, 60.0).unsent) == 29
        queue(store, 2, tag=1)
        ends(upstream)
        wait_until(lambda: states() == {State.READY: 3, State.CANCELLED: 29})
    assert len(upstream.submits) == 3


def test_all_who_stand_in_line_and_are_cancelled_are_found_with_the_first_of_them() -> None:
    with db.transaction() as tx:
        rows.account(tx, 1)
        rows.worker(tx)
        line = rows.jobs(tx, 6, State.CLAIMED, batch_id=rows.batch(tx, 6))
    stop(*line[:4])
    with db.transaction() as tx:
        seated, lost = rows.seats(tx, rows.WORKER, line)
        assert (seated, lost) == (set(), set(line[:4]))
        assert rows.seats(tx, rows.WORKER, line[4:]) == ({line[4]}, set())


@pytest.mark.parametrize("in_flight", InFlight)
def test_a_job_that_is_cancelled_while_it_is_sent_is_sent_no_second_time(
    upstream: Upstream, store: Store, start: Callable[..., Any], in_flight: InFlight
) -> None:
    upstream.refuse = lambda number: web.says(429, retry_after="0.1") if number == 1 else None
    upstream.answers.clear()
    (job_id,) = queue(store)
    with start():
        wait_until(lambda: upstream.submits)
        stop(job_id, in_flight=in_flight)
        assert state(job_id) is State.SENDING
        (later,) = queue(store)
        upstream.answers.set()
        wait_until(lambda: (state(job_id), state(later)) == (State.CANCELLED, State.READY))
    assert len(upstream.submits) == 2
    with db.transaction() as tx:
        assert [attempt.outcome for attempt in rows.attempts(tx, job_id)] == ["not_accepted"]
        assert tx.get_one(Job, job_id).cost_credits == 0.0


@pytest.mark.parametrize("sent", [False, True])
def test_an_abandoned_task_keeps_its_slot_until_the_upstream_has_ended_it_and_is_paid(
    upstream: Upstream, store: Store, start: Callable[..., Any], sent: bool
) -> None:
    upstream.polls = LONG
    if not sent:
        upstream.answers.clear()
    (job_id,) = queue(store)
    with start(cap=1):
        wait_until(lambda: state(job_id) is State.INFLIGHT if sent else upstream.submits)
        stop(job_id, in_flight=ABANDON)
        upstream.answers.set()
        (later,) = queue(store)
        wait_until(lambda: (state(job_id), state(later)) == (State.INFLIGHT, State.CLAIMED))
        looks = len(upstream.site.requests)
        wait_until(lambda: len(upstream.site.requests) > looks + 3)
        assert (state(job_id), len(upstream.submits)) == (State.INFLIGHT, 1)
        ends(upstream)
        wait_until(lambda: (state(job_id), state(later)) == (State.CANCELLED, State.READY))
    assert (upstream.most, len(upstream.submits)) == (1, 2)
    with db.transaction() as tx:
        assert tx.get_one(Job, job_id).cost_credits == 5.0
        assert list(tx.scalars(select(Attempt.outcome))) == ["accepted"] * 2


def test_an_abandoned_task_of_a_conveyor_that_died_is_adopted_and_ends(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = LONG
    (job_id,) = queue(store)
    with start("w1") as kill:
        wait_until(lambda: state(job_id) is State.INFLIGHT)
        stop(job_id, in_flight=ABANDON)
        kill()
        ends(upstream)
        with start("w2"):
            wait_until(lambda: state(job_id) is State.CANCELLED)
    with db.transaction() as tx:
        assert tx.scalar(jobs.slots_held(rows.ACCOUNT)) == 0


def test_what_is_in_flight_and_is_to_be_finished_comes_to_its_result(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = LONG
    (job_id,) = queue(store)
    with start():
        wait_until(lambda: state(job_id) is State.INFLIGHT)
        stop(job_id)
        ends(upstream)
        wait_until(lambda: state(job_id) is State.READY)
