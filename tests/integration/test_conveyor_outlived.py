"""Conveyors that are drained or killed, and a database that hangs up: the next goes on, and nothing is paid twice."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from cleanplate import accounts, db
from cleanplate.models import Job, Worker
from cleanplate.states import TERMINAL, State
from cleanplate.storage import Store
from tests import rows
from tests.seen import all_in, ledger, states
from tests.servers import wait_until
from tests.upstream import Upstream, queue
from worker import conveyor

pytestmark = pytest.mark.usefixtures("database", "quick_conveyor")


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
        wait_until(lambda: all_in(State.READY))
    assert len(upstream.submits) == 8


@pytest.mark.parametrize("lease_seconds", [3.0, 3600.0])
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
            wait_until(lambda: all_in(State.READY))
    assert len(upstream.submits) == 4
    with db.transaction() as tx:
        assert [reason for _, reason, worker in rows.events(tx, job_id) if worker == "w2"] == ["adopted", "ready"]


def test_connections_to_the_database_that_are_cut_cost_no_answer_and_no_money(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    queue(store, 20)
    cut = (
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'"
    )
    with start():
        for enough in (3, 6, 9, 12):
            wait_until(lambda enough=enough: len(upstream.submits) >= enough)
            with db.engine().connect() as connection:
                connection.exec_driver_sql(cut)
        wait_until(lambda: all_in(State.READY, *TERMINAL))
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
        wait_until(lambda: all_in(State.READY))
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
