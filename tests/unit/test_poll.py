import asyncio
import json
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.outcomes import (
    Blocked,
    Ended,
    ErrorCode,
    Garbled,
    NoAnswer,
    NotFound,
    Pending,
    PollOutcome,
    ResultReady,
)
from cleanplate.settings import Settings
from tests import web
from worker import bfl
from worker.poll import _meaning, poll

DELIVERY = (".delivery.bfl.ai", ".blob.core.windows.net")
SAMPLE = "https://eu.delivery.bfl.ai/x.png?sig=secret"


def poll_at(url: str) -> PollOutcome:
    async def run() -> PollOutcome:
        (account,) = Settings(BFL_API_KEY="the-key", BFL_BASE_URL=url).upstream_accounts
        upstream = bfl.Upstream(account, ("127.0.0.1",))
        try:
            return await poll(upstream, url, DELIVERY)
        finally:
            await upstream.close()

    return asyncio.run(run())


def outcome_of(answer: web.Answer) -> PollOutcome:
    with web.serving(answer) as site:
        return poll_at(f"{site.url}/v1/get_result?id=1")


def said(status: object, **more: Any) -> PollOutcome:
    return outcome_of(web.says(200, {"id": "1", "status": status, **more}))


@pytest.mark.parametrize("progress", [None, 0.4])
def test_pending_is_not_yet(progress: float | None) -> None:
    assert said("Pending", progress=progress) == Pending(progress)


@pytest.mark.parametrize(("cost", "credits_"), [(None, None), (4.5, 4.5), ("five", None), (10**400, None)])
def test_ready_has_the_address_of_the_result_and_perhaps_the_price(cost: object, credits_: float | None) -> None:
    assert said("Ready", result={"sample": SAMPLE, "seed": 1}, cost=cost) == ResultReady(SAMPLE, credits_)


@pytest.mark.parametrize(
    "sample",
    [
        "https://evil.example/x.png",
        "http://eu.delivery.bfl.ai/x.png",
        "https://eu.delivery.bfl.ai@evil.example/x.png",
        "https://evil.example\\.delivery.bfl.ai/x.png",
        "/x.png",
        "",
    ],
)
def test_a_result_on_a_foreign_host_ends_the_job_and_its_address_is_told_to_nobody(sample: str) -> None:
    outcome = said("Ready", result={"sample": sample})
    assert isinstance(outcome, Ended)
    assert outcome.code is ErrorCode.FOREIGN_HOST
    assert "evil" not in outcome.detail


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("Error", ErrorCode.UPSTREAM_ERROR),
        ("Request Moderated", ErrorCode.REQUEST_MODERATED),
        ("Content Moderated", ErrorCode.CONTENT_MODERATED),
        ("Queued", ErrorCode.UPSTREAM_CHANGED),
        ("ready", ErrorCode.UPSTREAM_CHANGED),
        ("", ErrorCode.UPSTREAM_CHANGED),
    ],
)
def test_a_final_status_ends_the_job_and_so_does_one_that_nobody_knows(status: str, code: ErrorCode) -> None:
    assert said(status, details={"reason": "nudity"}) == Ended(code, f"{status}: {{'reason': 'nudity'}}")
    assert said(status) == Ended(code, f"{status}: no details")


def test_the_upstreams_details_are_fit_for_a_row_and_a_log_line() -> None:
    outcome = outcome_of(web.says(200, b'{"status": "Error", "details": "a\\u0000b\\n\\ud800"}'))
    assert outcome == Ended(ErrorCode.UPSTREAM_ERROR, "Error: a b  ")
    long = said("Error", details="x" * 5000)
    assert isinstance(long, Ended)
    assert len(long.detail) == 500


def test_a_task_that_the_upstream_does_not_know_is_not_found_by_status_or_by_404() -> None:
    assert said("Task not found") == NotFound()
    assert outcome_of(web.says(404, {"status": "Task not found"})) == NotFound()


@pytest.mark.parametrize("status", [401, 403])
def test_a_poll_whose_key_is_refused_tells_that_the_account_is_blocked(status: int) -> None:
    assert outcome_of(web.says(status)) == Blocked("access", f"the upstream refuses the key ({status}) to a poll")


@pytest.mark.parametrize("status", [204, 301, 307, 400, 402, 422, 429, 500, 503])
def test_any_other_answer_tells_nothing_and_no_redirect_is_followed(status: int) -> None:
    with web.serving(web.says(status, location="/elsewhere", retry_after="3")) as site:
        outcome = poll_at(f"{site.url}/v1/get_result?id=1")
    assert outcome == NoAnswer(f"the upstream answered {status} to a poll", 3.0)
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"null",
        b"{}",
        b'{"status": null}',
        b'{"status": []}',
        b'{"status": {"a": 1}}',
        b'{"status": 7}',
        b'{"status": "Ready"}',
        b'{"status": "Ready", "result": null}',
        b'{"status": "Ready", "result": []}',
        b'{"status": "Ready", "result": {"sample": null}}',
        b'{"status": "Ready", "result": {"sample": ["https://eu.delivery.bfl.ai/"]}}',
    ],
)
def test_a_body_that_cannot_be_read_is_garbled(body: bytes) -> None:
    assert isinstance(outcome_of(web.says(200, body)), Garbled)


def test_a_polling_address_on_a_foreign_host_ends_the_job_and_the_key_stays_here() -> None:
    with web.serving(web.says(200, {"status": "Pending"})) as site:
        outcome = poll_at(site.url.replace("127.0.0.1", "localhost"))
    assert outcome == Ended(ErrorCode.FOREIGN_HOST, "the polling address is on a foreign host: localhost")
    assert site.requests == []


@pytest.mark.parametrize("answer", [web.hangs_up, web.breaks_off])
def test_a_poll_that_breaks_off_tells_nothing(answer: web.Answer) -> None:
    assert isinstance(outcome_of(answer), NoAnswer)


def test_a_poll_that_is_never_answered_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfl, "POLL_TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    assert isinstance(outcome_of(web.stays_silent), NoAnswer)


def test_a_poll_that_is_refused_tells_nothing() -> None:
    with web.refusing() as url:
        assert isinstance(poll_at(url), NoAnswer)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
statuses = st.sampled_from(["Pending", "Ready", "Error", "Task not found"]) | json_values
answers = st.fixed_dictionaries(
    {}, optional={"status": statuses, "result": json_values, "cost": json_values, "details": json_values}
)


@settings(max_examples=200)
@given(answers | json_values)
def test_no_json_at_all_makes_the_reading_stumble(answer: Any) -> None:
    outcome = _meaning(bfl.Answer(200, {}, json.dumps(answer).encode()), DELIVERY)
    if isinstance(outcome, Ended | Garbled):
        assert outcome.detail.isprintable()
