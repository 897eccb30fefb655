"""The conveyor on a real database, against a small upstream that counts what it is asked to do at once."""

import base64
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from aiohttp import web as aiohttp
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from cleanplate import accounts, db, jobs
from cleanplate.models import Account, Attempt, Job, Worker
from cleanplate.states import TERMINAL, State
from cleanplate.storage import Store
from tests import rows, web
from tests.servers import wait_until
from tests.upstream import Upstream, carrying, queue
from worker import conveyor

pytestmark = pytest.mark.usefixtures("database", "quick_conveyor")

Hints = list[tuple[str, str]]


@pytest.fixture
def start(upstream: Upstream, store: Store) -> Callable[..., Any]:
    return partial(carrying, upstream, store)


def states() -> dict[str, State]:
    with db.transaction() as tx:
        return rows.states(tx)


def all_in(*among: State) -> bool:
    return set(states().values()) <= set(among)


def row(job_id: str) -> Job:
    with db.transaction() as tx:
        return tx.get_one(Job, job_id)


def reason() -> str | None:
    with db.transaction() as tx:
        return tx.scalar(select(Account.paused_reason))


def ledger() -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Attempt.outcome).order_by(Attempt.job_id, Attempt.number)))


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
        wait_until(lambda: all_in(State.READY), 60)
    assert len(upstream.submits) == 20
    assert upstream.most == 4
    assert ledger() == ["accepted"] * 20


def test_a_429_costs_a_try_and_fails_nothing(upstream: Upstream, store: Store, start: Callable[..., Any]) -> None:
    upstream.refuse = lambda number: web.says(429, retry_after="0.1") if number in {1, 3} else None
    queue(store, 4)
    with start():
        wait_until(lambda: all_in(State.READY))
    assert sorted(ledger()) == ["accepted"] * 4 + ["not_accepted"] * 2
    assert len(upstream.submits) == 6


def test_an_account_without_credits_stops_it_with_a_reason_until_it_is_mended(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.refuse = lambda _: web.says(402, {"detail": "Insufficient credits"})
    queue(store, 10)
    with start():
        wait_until(reason)
        asked = len(upstream.submits)
        wait_until(lambda: len(upstream.submits) >= asked + 2)
        assert all_in(State.QUEUED, State.CLAIMED, State.SENDING)
        assert asked <= 2 * 4
        upstream.refuse = lambda _: None
        wait_until(lambda: all_in(State.READY), 30)
        assert reason() is None


def test_a_key_that_polls_alone_are_refused_with_stops_submitting_until_it_is_mended(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    async def pending(request: aiohttp.Request) -> aiohttp.StreamResponse:
        return await (web.says(200, {"status": "Pending"}) if request.method == "GET" else upstream.answer)(request)

    upstream.site.answer = pending
    queue(store, 6)
    with start():
        wait_until(lambda: upstream.running == 4)
        upstream.site.answer = web.says(401)
        wait_until(lambda: reason() == "access")
        assert Counter(request.method for request in upstream.site.requests)["POST"] == 4
        upstream.site.answer = upstream.answer
        wait_until(lambda: all_in(State.READY), 30)
        assert reason() is None
    assert ledger() == ["accepted"] * 6


def test_what_the_upstream_refuses_fails_with_its_words_after_one_call(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.refuse = lambda _: web.says(422, {"detail": "mask does not match"})
    (job_id,) = queue(store, 1)
    with start():
        wait_until(lambda: all_in(State.FAILED))
    assert (row(job_id).error_code, len(upstream.submits)) == ("upstream_rejected", 1)
    assert "mask does not match" in (row(job_id).error_detail or "")
    assert ledger() == ["rejected"]


@pytest.mark.parametrize("answer", [web.hangs_up, web.says(500), web.says(200, b"<html>")])
def test_an_answer_that_is_lost_holds_its_slot_and_is_not_sent_again_by_the_conveyor(
    upstream: Upstream, store: Store, start: Callable[..., Any], answer: web.Answer
) -> None:
    upstream.refuse = lambda number: answer if number == 1 else None
    queue(store, 3)
    with start(cap=1):
        wait_until(lambda: sorted(states().values()) == ["claimed", "claimed", "unconfirmed"])
    assert len(upstream.submits) == 1
    with db.transaction() as tx:
        assert tx.scalar(jobs.slots_held(rows.ACCOUNT)) == 1


def test_an_acceptance_that_comes_after_others_gave_the_job_up_is_used(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.answers.clear()
    (job_id,) = queue(store, 1)
    with start():
        wait_until(lambda: upstream.submits)
        with db.transaction() as tx:
            assert jobs.apply(tx, [jobs.unconfirmed(job_id, "the lease ended", 60.0)]) == {job_id}
        upstream.answers.set()
        wait_until(lambda: all_in(State.READY))
    assert len(upstream.submits) == 1
    assert ledger() == ["accepted"]


def test_a_pair_that_is_gone_from_the_store_fails_and_nothing_is_paid(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    gone, kept = queue(store, 2)
    store.delete([f"inputs/{gone}/mask.png"])
    with start():
        wait_until(lambda: all_in(State.FAILED, State.READY))
    assert (row(gone).error_code, row(kept).state) == ("input_missing", "ready")
    assert len(upstream.submits) == 1


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"status": "Content Moderated"}, "content_moderated"),
        ({"status": "Reticulating"}, "upstream_changed"),
        ({"status": "Ready", "result": {"sample": "https://evil.example/x.png"}}, "foreign_host"),
    ],
)
def test_a_task_that_ends_badly_fails_its_job_and_frees_the_slot_for_the_next(
    upstream: Upstream, store: Store, start: Callable[..., Any], end: dict[str, Any], code: str
) -> None:
    upstream.end = end
    job_ids = queue(store, 3)
    with start(cap=1):
        wait_until(lambda: all_in(State.FAILED))
    assert {row(id_).error_code for id_ in job_ids} == {code}


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


def test_a_drained_conveyor_hands_over_and_the_next_goes_on_without_paying_again(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = 10**6
    queue(store, 8)
    with start("w1"):
        wait_until(lambda: upstream.running == 4 and list(states().values()).count(State.INFLIGHT) == 4)
    assert sorted(states().values()) == ["inflight"] * 4 + ["queued"] * 4
    with db.transaction() as tx:
        assert set(tx.scalars(select(Job.owner))) == {None}
        assert tx.scalar(select(func.count()).select_from(Worker)) == 0
    upstream.polls = 1
    upstream._left = dict.fromkeys(upstream._left, 1)
    with start("w2"):
        wait_until(lambda: all_in(State.READY), 30)
    assert len(upstream.submits) == 8


@pytest.mark.parametrize("lease_seconds", [0.6, 3600.0])
def test_what_a_killed_conveyor_had_in_flight_is_adopted_when_its_session_ends_or_its_lease(
    upstream: Upstream, store: Store, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, lease_seconds: float
) -> None:
    monkeypatch.setattr(conveyor, "LEASE_SECONDS", lease_seconds)
    upstream.polls = 10**6
    job_id, *_ = queue(store, 4)
    with start("w1") as kill:
        wait_until(lambda: all_in(State.INFLIGHT))
        kill()
        upstream._left = dict.fromkeys(upstream._left, 1)
        with start("w2"):
            wait_until(lambda: all_in(State.READY), 30)
    assert len(upstream.submits) == 4
    with db.transaction() as tx:
        assert [reason for _, reason, worker in rows.events(tx, job_id) if worker == "w2"] == ["adopted", "ready"]


def test_a_task_without_an_end_is_given_up_and_its_slot_freed(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = 10**6
    (job_id,) = queue(store, 1)
    with start(CLEANPLATE_UPSTREAM_TIMEOUT_SECONDS="0.3"):
        wait_until(lambda: all_in(State.FAILED))
    assert row(job_id).error_code == "upstream_timeout"


def test_connections_to_the_database_that_are_cut_cost_no_answer_and_no_money(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    queue(store, 20)
    cut = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'"
    )
    with start():
        for enough in (3, 6, 9, 12):
            wait_until(lambda enough=enough: len(upstream.submits) >= enough)
            with db.engine().connect() as connection:
                connection.exec_driver_sql(cut)
        wait_until(lambda: all_in(State.READY, *TERMINAL), 60)
    assert all_in(State.READY)
    assert len(upstream.submits) == 20


@pytest.mark.parametrize("lost", range(1, 11))
def test_a_commit_whose_answer_is_lost_loses_no_job_and_pays_none_twice(
    upstream: Upstream, store: Store, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    real, commits = db.transaction, count(1)

    @contextmanager
    def transaction(*given: Any) -> Iterator[db.Transaction]:
        with real(*given) as tx:
            yield tx
            wrote = threading.current_thread().name.startswith("conveyor") and tx.scalar(
                text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL AND EXISTS (SELECT FROM job_events)")
            )
        if wrote and next(commits) == lost:
            raise OperationalError("COMMIT", {}, ConnectionError("the server went away"))

    queue(store, 6)
    monkeypatch.setattr(db, "transaction", transaction)
    with start():
        wait_until(lambda: all_in(State.READY), 30)
    assert next(commits) > lost
    assert len(upstream.submits) == 6
    assert ledger().count("accepted") == 6


def test_a_lease_is_renewed_while_somebody_holds_the_lock_of_the_slots(start: Callable[..., Any]) -> None:
    def expires() -> Any:
        with db.transaction() as other:
            return other.scalar(select(Worker.expires_at))

    with start():
        wait_until(expires)
        with db.transaction() as tx:
            accounts.lock(tx)
            before = expires()
            wait_until(lambda: expires() > before + timedelta(seconds=0.5))


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
        wait_until(lambda: all_in(State.READY), 60)


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
            wait_until(lambda: submits("w2") > 10, 60)
            assert State.QUEUED in states().values()
            upstream.polls = 1
