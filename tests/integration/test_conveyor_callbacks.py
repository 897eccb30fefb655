"""A conveyor that is called back, on a real database, with an upstream that nobody polls in vain."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select, text

from cleanplate import callbacks, db
from cleanplate.models import Attempt, Job
from cleanplate.states import State
from cleanplate.storage import Store
from tests import rows, web
from tests.seen import state
from tests.servers import wait_until
from tests.upstream import Upstream, carrying, queue
from worker import conveyor, latency, session, sweep

pytestmark = pytest.mark.usefixtures("database", "quick_conveyor")

PUBLIC_URL = "https://cleanplate.example"


@pytest.fixture(autouse=True)
def _only_calls(monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]) -> None:
    """Nobody polls within an hour, unless he is called."""
    configure(CLEANPLATE_SECRET_KEYS=Fernet.generate_key().decode())
    monkeypatch.setattr(latency, "BLIND_FIRST", 3600.0)
    monkeypatch.setattr(session, "AWAY_SECONDS", 0.05)


@pytest.fixture
def start(upstream: Upstream, store: Store) -> Callable[..., Any]:
    return partial(carrying, upstream, store, PUBLIC_URL=PUBLIC_URL)


def ledger(job_id: str) -> list[Attempt]:
    with db.transaction() as tx:
        return rows.attempts(tx, job_id)


def call_back(upstream: Upstream, submit: int = 0, task_id: str = "task-1") -> None:
    """Do what the API does with a call that is proven."""
    token = upstream.submits[submit]["webhook_url"].rpartition("/")[2]
    with db.transaction() as tx:
        assert callbacks.heard(tx, {callbacks.digest(token): task_id}) == {callbacks.digest(token): True}


def listeners() -> set[int]:
    """Return the PostgreSQL processes of those who listen."""
    mine = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"
    with db.transaction() as tx:
        return set(tx.scalars(text(mine)))


def test_a_call_makes_the_poll_happen_now(upstream: Upstream, store: Store, start: Callable[..., Any]) -> None:
    with start():
        wait_until(listeners)
        (job_id,) = queue(store)
        wait_until(lambda: state(job_id) is State.INFLIGHT)
        call_back(upstream)
        wait_until(lambda: state(job_id) is State.READY)
    assert [request.method for request in upstream.site.requests] == ["POST", "GET"]


def test_a_call_that_comes_before_the_answer_to_the_submit_is_remembered(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.answers.clear()
    with start():
        wait_until(listeners)
        (job_id,) = queue(store)
        wait_until(lambda: upstream.submits)
        call_back(upstream)
        assert state(job_id) is State.SENDING
        upstream.answers.set()
        wait_until(lambda: state(job_id) is State.READY)
    (attempt,) = ledger(job_id)
    assert (attempt.outcome, attempt.task_id) == ("accepted", "task-1")
    assert len(upstream.submits) == 1


@pytest.mark.parametrize("early", [True, False])
def test_a_submit_whose_answer_was_lost_is_adopted_and_nothing_is_sent_again(
    upstream: Upstream, store: Store, start: Callable[..., Any], early: bool
) -> None:
    upstream.refuse = lambda _: web.says(502)
    upstream._left["task-1"] = 1
    if early:
        upstream.answers.clear()
    with start():
        (job_id,) = queue(store)
        wait_until(lambda: upstream.submits)
        if early:
            call_back(upstream)
            upstream.answers.set()
        wait_until(lambda: state(job_id) is State.UNCONFIRMED)
        if not early:
            call_back(upstream)
        with db.transaction() as tx:
            sweep.adopt_called_back(tx)
        wait_until(lambda: state(job_id) is State.READY)
    (attempt,) = ledger(job_id)
    assert (attempt.outcome, attempt.task_id) == ("accepted", "task-1")
    assert len(upstream.submits) == 1


def test_a_call_that_came_while_its_conveyor_was_dead_is_heeded_by_the_next(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    with start("w1") as kill:
        (job_id,) = queue(store)
        wait_until(lambda: state(job_id) is State.INFLIGHT)
        kill()
        call_back(upstream)
        with start("w2"):
            wait_until(lambda: state(job_id) is State.READY)


def test_every_submit_asks_for_a_call_of_its_own_and_the_ledger_recognises_it(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.refuse = lambda number: web.says(429, retry_after="0") if number == 1 else None
    with start():
        (job_id,) = queue(store)
        wait_until(lambda: state(job_id) is State.INFLIGHT)
    assert len({submit["webhook_url"] for submit in upstream.submits}) == 2
    base = callbacks.base(PUBLIC_URL)
    assert base is not None
    tokens = [submit["webhook_url"].removeprefix(base) for submit in upstream.submits]
    assert [attempt.callback_sha256 for attempt in ledger(job_id)] == [callbacks.digest(token) for token in tokens]
    secrets = [submit["webhook_secret"] for submit in upstream.submits]
    for token, secret in zip(tokens, secrets, strict=True):
        assert callbacks.proven(token, b"{}", signature=None, secret=secret)


def test_a_connection_that_is_cut_is_listened_on_anew(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    with start():
        wait_until(listeners)
        (before,) = listeners()
        with db.transaction() as tx:
            assert tx.scalar(select(func.pg_terminate_backend(before)))
        wait_until(lambda: listeners() - {before})
        (job_id,) = queue(store)
        wait_until(lambda: state(job_id) is State.INFLIGHT)
        call_back(upstream)
        wait_until(lambda: state(job_id) is State.READY)


def test_a_drain_waits_for_nobody_who_waits_for_a_call(
    upstream: Upstream, store: Store, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conveyor, "DRAIN_SECONDS", 3600.0)
    with start():
        (job_id,) = queue(store)
        wait_until(lambda: state(job_id) is State.INFLIGHT)
    with db.transaction() as tx:
        assert tx.get_one(Job, job_id).owner is None
    assert len(upstream.submits) == 1


@pytest.mark.parametrize("public_url", [None, "http://cleanplate.example"])
def test_without_an_address_that_can_be_called_nothing_is_asked_for(
    upstream: Upstream,
    store: Store,
    start: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    public_url: str | None,
) -> None:
    monkeypatch.setattr(latency, "BLIND_FIRST", 0.1)
    with start(PUBLIC_URL=public_url):
        (job_id,) = queue(store)
        wait_until(lambda: state(job_id) is State.READY)
    assert [set(submit) & {"webhook_url", "webhook_secret"} for submit in upstream.submits] == [set()]
    assert [attempt.callback_sha256 for attempt in ledger(job_id)] == [None]
