"""The conveyor on a real database, against a small upstream that counts what it is asked to do at once."""

import base64
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from cleanplate import db, jobs
from cleanplate.models import Attempt
from cleanplate.states import State
from cleanplate.storage import Store
from tests import rows
from tests.seen import all_in, ledger, row, states
from tests.servers import wait_until
from tests.upstream import Upstream, queue

pytestmark = pytest.mark.usefixtures("database", "quick_conveyor")

Hints = list[tuple[str, str]]


def test_a_job_is_carried_from_the_queue_to_a_known_result(
    upstream: Upstream, store: Store, start: Callable[..., Any], hints: Hints
) -> None:
    (job_id,) = queue(store, 1)
    with start():
        wait_until(lambda: all_in(State.READY))
        wait_until(lambda: hints)
    (sent,) = upstream.submits
    assert base64.b64decode(sent["image"]) == f"image of {job_id}".encode()
    assert base64.b64decode(sent["mask"]) == f"mask of {job_id}".encode()
    assert (sent["dilate_pixels"], sent["output_format"]) == (10, "png")
    with db.transaction() as tx:
        assert [state for state, _, _ in rows.events(tx, job_id)] == ["claimed", "sending", "inflight", "ready"]
        (attempt,) = rows.attempts(tx, job_id)
    assert (attempt.outcome, attempt.task_id, attempt.cost_credits, attempt.worker) == ("accepted", "task-1", 5.0, "w1")
    assert row(job_id).sample_url == f"{upstream.site.url}/task-1.png?sig=1"
    assert row(job_id).owner is None
    assert hints == [("finalize", job_id)]


def test_the_upstream_never_holds_more_than_the_cap_and_is_paid_once_a_job(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = 2
    queue(store, 20)
    with start("w1", cap=4), start("w2", cap=4):
        wait_until(lambda: all_in(State.READY))
    assert len(upstream.submits) == 20
    assert upstream.most == 4
    assert ledger() == ["accepted"] * 20


def test_a_pair_that_is_gone_from_the_store_fails_and_nothing_is_paid(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    gone, kept = queue(store, 2)
    store.delete([f"inputs/{gone}/mask.png"])
    with start():
        wait_until(lambda: all_in(State.FAILED, State.READY))
    assert (row(gone).error_code, row(kept).state) == ("input_missing", "ready")
    assert len(upstream.submits) == 1


def test_a_job_that_is_cancelled_while_it_waits_for_a_slot_is_never_sent(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = 10**6
    (first,) = queue(store, 1)
    with start(cap=1):
        wait_until(lambda: all_in(State.INFLIGHT))
        (second,) = queue(store, 1)
        wait_until(lambda: states()[second] is State.CLAIMED)
        with db.transaction() as tx:
            wish = jobs.Change(second, frozenset({State.CLAIMED}), State.CANCELLED, "asked for")
            assert jobs.apply(tx, [wish]) == {second}
        upstream.polls = 1
        upstream._left["task-1"] = 1
        wait_until(lambda: states() == {first: State.READY, second: State.CANCELLED})
    assert len(upstream.submits) == 1


def test_a_single_picture_has_the_next_slot_however_many_wait(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = 10**6
    with db.transaction() as tx:
        batch_id = rows.batch(tx, 30)
    queue(store, 30, batch_id=batch_id)
    with start(cap=2):
        wait_until(lambda: Counter(states().values()) == {State.INFLIGHT: 2, State.CLAIMED: 6, State.QUEUED: 22})
        (single,) = queue(store, 1, tag=10**9)
        wait_until(lambda: states()[single] is State.CLAIMED)
        upstream._left["task-1"] = 1
        wait_until(lambda: len(upstream.submits) == 3)
        assert base64.b64decode(upstream.submits[-1]["image"]) == f"image of {single}".encode()
        upstream.polls = 1
        upstream._left = dict.fromkeys(upstream._left, 1)
        wait_until(lambda: all_in(State.READY))


def test_a_conveyor_that_comes_late_has_its_part_of_the_slots(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    def submits(worker: str) -> int:
        with db.transaction() as tx:
            return tx.scalar(select(func.count()).where(Attempt.worker == worker)) or 0

    upstream.polls = 3
    queue(store, 150)
    with start("w1"):
        wait_until(lambda: submits("w1") > 10)
        with start("w2"):
            wait_until(lambda: submits("w2") > 10)
            assert State.QUEUED in states().values()
            upstream.polls = 1
