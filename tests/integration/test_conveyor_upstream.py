"""What the upstream answers a conveyor, and what it does not: limits, refusals, silence and bad ends."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web as aiohttp
from sqlalchemy import func, select, update

from cleanplate import accounts, db, jobs
from cleanplate.models import Account
from cleanplate.states import State
from cleanplate.storage import Store
from tests import rows, web
from tests.seen import all_in, ledger, row, states
from tests.servers import wait_until
from tests.upstream import Upstream, queue

pytestmark = pytest.mark.usefixtures("database", "quick_conveyor")


def reason() -> str | None:
    with db.transaction() as tx:
        return tx.scalar(select(Account.paused_reason))


def test_a_429_costs_a_try_and_fails_nothing(upstream: Upstream, store: Store, start: Callable[..., Any]) -> None:
    upstream.refuse = lambda number: web.says(429, retry_after="0.1") if number in {1, 3} else None
    queue(store, 4)
    with start():
        wait_until(lambda: all_in(State.READY))
    assert sorted(ledger()) == ["accepted"] * 4 + ["not_accepted"] * 2
    assert len(upstream.submits) == 6


def test_an_account_without_credits_stops_it_with_a_reason_until_it_is_mended(
    upstream: Upstream, store: Store, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.refuse = lambda _: web.says(402, {"detail": "Insufficient credits"})
    queue(store, 10)
    monkeypatch.setattr(accounts, "PROBE_SECONDS", 3600.0)
    with start():
        wait_until(reason)
        asked = len(upstream.submits)
        assert asked <= 2 * 4
        monkeypatch.setattr(accounts, "PROBE_SECONDS", 0.1)
        with db.transaction() as tx:
            tx.execute(update(Account).values(gate_until=func.now()))
        wait_until(lambda: len(upstream.submits) >= asked + 2)
        assert all_in(State.QUEUED, State.CLAIMED, State.SENDING)
        upstream.refuse = lambda _: None
        wait_until(lambda: all_in(State.READY))
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
        wait_until(lambda: all_in(State.READY))
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


def test_a_task_without_an_end_is_given_up_and_its_slot_freed(
    upstream: Upstream, store: Store, start: Callable[..., Any]
) -> None:
    upstream.polls = 10**6
    (job_id,) = queue(store, 1)
    with start(CLEANPLATE_UPSTREAM_TIMEOUT_SECONDS="0.3"):
        wait_until(lambda: all_in(State.FAILED))
    assert row(job_id).error_code == "upstream_timeout"
