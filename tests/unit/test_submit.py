import asyncio
from typing import Any

import aiohttp
import pytest

from cleanplate.outcomes import Accepted, Blocked, ErrorCode, NotAccepted, Rejected, SubmitOutcome, Unconfirmed
from cleanplate.settings import Settings
from tests import web
from worker import bfl
from worker.submit import fields, submit

TASK = {"id": "task-1", "polling_url": "https://api.eu1.bfl.ai/v1/get_result?id=task-1", "cost": 5}


def submit_to(url: str, *, times: int = 1) -> list[SubmitOutcome]:
    """Submit one after another over one pool of connections."""

    async def run() -> list[SubmitOutcome]:
        (account,) = Settings(BFL_API_KEY="the-key", BFL_BASE_URL=url).upstream_accounts
        upstream = bfl.Upstream(account, ("127.0.0.1",))
        try:
            return [await submit(upstream, b"{}") for _ in range(times)]
        finally:
            await upstream.close()

    return asyncio.run(run())


def outcome_of(answer: web.Answer) -> SubmitOutcome:
    """Submit once to a server with this answer, and see that it got one request and no more."""
    with web.serving(answer) as site:
        (outcome,) = submit_to(site.url)
    assert len(site.requests) == 1
    return outcome


@pytest.mark.parametrize("status", [200, 201, 202])
def test_an_accepted_task_has_its_id_its_address_and_its_price(status: int) -> None:
    assert outcome_of(web.says(status, TASK)) == Accepted("task-1", TASK["polling_url"], 5.0)


def test_a_task_without_an_address_is_polled_where_the_vendor_says() -> None:
    with web.serving(web.says(200, {"id": "task 1"})) as site:
        assert submit_to(site.url) == [Accepted("task 1", f"{site.url}/v1/get_result?id=task%201", None)]


@pytest.mark.parametrize("cost", [None, "five", [], -1, 10**400])
def test_a_price_that_makes_no_sense_leaves_the_task_accepted(cost: object) -> None:
    assert outcome_of(web.says(200, TASK | {"cost": cost})) == Accepted("task-1", TASK["polling_url"], None)


@pytest.mark.parametrize("cost", [b"NaN", b"Infinity", b"1e999"])
def test_a_price_beyond_all_numbers_leaves_the_task_accepted(cost: bytes) -> None:
    body = b'{"id": "task-1", "polling_url": "https://x.bfl.ai/", "cost": %s}' % cost
    assert outcome_of(web.says(200, body)) == Accepted("task-1", "https://x.bfl.ai/", None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>ok</html>",
        b'{"id": ',
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'"task-1"',
        b"null",
        b"7",
        b"{}",
        b'{"id": null}',
        b'{"polling_url": "https://api.bfl.ai/"}',
    ],
)
def test_an_acceptance_that_cannot_be_read_may_have_been_billed(body: bytes) -> None:
    assert isinstance(outcome_of(web.says(200, body)), Unconfirmed)


def test_what_the_upstream_says_is_fit_for_a_row_and_a_log_line() -> None:
    body = b'{"id": "a\\u0000b\\ud800", "polling_url": "https://x.bfl.ai/\\u0000"}'
    assert outcome_of(web.says(200, body)) == Accepted("a b ", "https://x.bfl.ai/ ", None)
    rejected = outcome_of(web.says(422, b"no\x00\r\nERROR forged line \xff" + b"x" * 5000))
    assert isinstance(rejected, Rejected)
    assert rejected.detail.isprintable() or "\ufffd" in rejected.detail
    assert "\n" not in rejected.detail
    assert len(rejected.detail) < 520


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("soon", None)])
def test_429_is_the_limit_and_was_not_accepted(header: str, seconds: float | None) -> None:
    outcome = outcome_of(web.says(429, retry_after=header))
    assert outcome == NotAccepted("the upstream's limit (429)", over_limit=True, retry_after=seconds)


@pytest.mark.parametrize(("status", "reason"), [(402, "credits"), (401, "access"), (403, "access")])
def test_an_account_that_cannot_submit_says_why_and_nothing_was_accepted(status: int, reason: str) -> None:
    outcome = outcome_of(web.says(status, {"detail": "Insufficient credits"}))
    assert isinstance(outcome, Blocked)
    assert outcome.reason == reason
    assert str(status) in outcome.detail
    assert "Insufficient credits" in outcome.detail


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_invalid_fails_in_the_upstreams_words(status: int) -> None:
    outcome = outcome_of(web.says(status, {"detail": "mask does not match"}))
    assert outcome == Rejected(ErrorCode.UPSTREAM_REJECTED, f'{status}: {{"detail": "mask does not match"}}')


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_a_server_error_may_have_been_billed(status: int) -> None:
    assert outcome_of(web.says(status, retry_after="1")) == Unconfirmed(f"the upstream answered {status}")


@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 404, 405, 408, 409, 418])
def test_any_other_answer_stops_the_account_and_no_redirect_is_followed(status: int) -> None:
    outcome = outcome_of(web.says(status, location="/v1/elsewhere"))
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "unexpected"


def test_a_connection_that_is_refused_is_safe_to_send_again() -> None:
    with web.refusing() as url:
        (outcome,) = submit_to(url)
    assert isinstance(outcome, NotAccepted)
    assert not outcome.over_limit


def test_an_address_of_the_upstream_that_is_not_among_its_hosts_stops_the_account() -> None:
    with web.serving(web.says(200, TASK)) as site:
        (outcome,) = submit_to(site.url.replace("127.0.0.1", "localhost"))
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "configuration"
    assert site.requests == []


@pytest.mark.parametrize("answer", [web.hangs_up, web.breaks_off])
def test_a_server_that_took_the_request_and_broke_off_may_bill_it(answer: web.Answer) -> None:
    assert isinstance(outcome_of(answer), Unconfirmed)


def test_a_server_that_took_the_request_and_says_nothing_may_bill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfl, "SUBMIT_TIMEOUT", aiohttp.ClientTimeout(sock_read=0.1))
    assert isinstance(outcome_of(web.stays_silent), Unconfirmed)


def test_a_kept_connection_that_the_server_drops_under_the_next_submit_is_not_sent_again_by_any_library() -> None:
    with web.serving(web.in_turn(web.says(200, TASK), web.hangs_up, web.says(200, TASK))) as site:
        first, second, third = submit_to(site.url, times=3)
    assert isinstance(first, Accepted)
    assert isinstance(second, Unconfirmed)
    assert isinstance(third, Accepted)
    assert len(site.requests) == 3


def test_connections_are_kept_for_the_next_submit() -> None:
    peers = set()

    async def answer(request: Any) -> Any:
        peers.add(request.transport.get_extra_info("peername"))
        return await web.says(200, TASK)(request)

    with web.serving(answer) as site:
        submit_to(site.url, times=5)
    assert len(peers) == 1


def test_only_what_the_upstream_knows_is_passed_on() -> None:
    stored = {"dilate_pixels": 3, "output_format": "webp", "fidelity": "raw", "mask_invert": True, "seed": None}
    assert fields(stored) == {"dilate_pixels": 3, "output_format": "png"}
    assert fields({"seed": 0, "safety_tolerance": 0}) == {
        "dilate_pixels": 10,
        "output_format": "png",
        "seed": 0,
        "safety_tolerance": 0,
    }
