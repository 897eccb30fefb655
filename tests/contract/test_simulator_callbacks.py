"""Callbacks as the upstream sends them, received by a real server."""

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from aiohttp import web

from cleanplate.simulator.signing import sign_body
from tests.contract.upstreams import POLL, Upstream
from tests.servers import wait_until
from tests.web import Request, Site, in_turn, says, serving

SECRET = "between us"


@pytest.fixture
def receiver() -> Iterator[Site]:
    with serving(says()) as site:
        yield site


def called(simulator: Upstream, receiver: Site, times: int = 1, **fields: Any) -> tuple[dict[str, Any], list[Request]]:
    """Submit with a webhook; return the submit's answer and the callbacks."""
    task = simulator.accepted(webhook_url=f"{receiver.url}/hook", **fields)
    wait_until(lambda: len(receiver.requests) >= times)
    return task, receiver.requests


def signature(request: Request) -> str | None:
    return request.headers.get("X-BFL-Signature")


def test_the_end_of_a_task_is_told_with_the_polls_reply(simulator: Upstream, receiver: Site) -> None:
    task, (callback,) = called(simulator, receiver)
    told = json.loads(callback.body)
    assert (callback.method, callback.target) == ("POST", "/hook")
    assert told == simulator.poll(task)
    assert httpx.get(told["result"]["sample"]).status_code == 200


def test_with_a_webhook_the_submit_names_no_polling_url(simulator: Upstream, receiver: Site) -> None:
    task, _ = called(simulator, receiver)
    assert "polling_url" not in task
    polled = httpx.get(f"{simulator.base_url}{POLL}?id={task['id']}", headers={"x-key": simulator.key})
    assert polled.json()["status"] == "Ready"


def test_it_can_be_told_to_name_one(simulator: Upstream, receiver: Site) -> None:
    simulator.admin("POST", "settings", {"polling_url_with_webhook": True})
    task, _ = called(simulator, receiver)
    assert task["id"] in task["polling_url"]


@pytest.mark.parametrize(
    ("how", "signed", "echoed"), [("signature", True, False), ("secret", False, True), ("both", True, True)]
)
def test_the_secret_signs_or_is_echoed(
    simulator: Upstream, receiver: Site, how: str, signed: bool, echoed: bool
) -> None:
    simulator.admin("POST", "settings", {"callback_auth": how})
    _, (callback,) = called(simulator, receiver, webhook_secret=SECRET)
    assert signature(callback) == (sign_body(SECRET, callback.body) if signed else None)
    assert callback.headers.get("X-Webhook-Secret") == (SECRET if echoed else None)


def test_without_a_secret_nothing_is_signed(simulator: Upstream, receiver: Site) -> None:
    _, (callback,) = called(simulator, receiver)
    assert signature(callback) is None


def test_a_receiver_that_fails_is_asked_again_after_1_5_and_30_seconds_and_then_no_more(
    simulator: Upstream, receiver: Site
) -> None:
    came: list[float] = []

    async def fails(request: web.Request) -> web.StreamResponse:
        came.append((await asyncio.to_thread(simulator.admin, "GET", "clock"))["now"])
        return await says(500)(request)

    receiver.answer = fails
    called(simulator, receiver)
    for times, pause in enumerate((1, 5, 30), 1):
        wait_until(lambda times=times: simulator.stats()["callbacks"].get("failed", 0) >= times)
        simulator.admin("POST", "clock", {"advance": pause - 0.5})
        simulator.stats()  # whoever comes too early has come by now
        simulator.admin("POST", "clock", {"advance": 0.5})
    wait_until(lambda: len(came) == 4)
    for pause, (before, then) in zip((1, 5, 30), pairwise(came), strict=True):
        assert then - before >= pause
    wait_until(lambda: simulator.stats()["callbacks"].get("given_up") == 1)
    assert len({request.body for request in receiver.requests}) == 1


def test_a_receiver_that_comes_back_is_asked_until_it_takes_it(simulator: Upstream, receiver: Site) -> None:
    receiver.answer = in_turn(says(503), says(200))
    called(simulator, receiver)
    wait_until(lambda: simulator.stats()["callbacks"].get("failed") == 1)
    simulator.admin("POST", "clock", {"advance": 1})
    wait_until(lambda: simulator.stats()["callbacks"].get("taken") == 1)
    assert len(receiver.requests) == 2


def test_a_redirect_is_no_receipt_and_is_not_followed(simulator: Upstream, receiver: Site) -> None:
    receiver.answer = says(302, Location="/elsewhere")
    called(simulator, receiver)
    wait_until(lambda: simulator.stats()["callbacks"].get("failed") == 1)
    assert [request.target for request in receiver.requests] == ["/hook"]


def test_a_failed_task_is_told_too(simulator: Upstream, receiver: Site) -> None:
    simulator.fault("submit", "task_status", value="Content Moderated")
    _, (callback,) = called(simulator, receiver)
    assert json.loads(callback.body)["status"] == "Content Moderated"


@pytest.mark.parametrize("url", ["http://example.com/hook", "ftp://127.0.0.1/", "no url", "https://"])
def test_callbacks_go_by_https_or_stay_on_this_machine(simulator: Upstream, url: str) -> None:
    answer = simulator.submit(webhook_url=url)
    assert answer.status_code == 422
    assert "webhook_url" in answer.text
    assert simulator.stats()["paid"] == 0


def test_a_callback_may_be_forged(simulator: Upstream, receiver: Site) -> None:
    simulator.fault("callback", "forged")
    _, (callback,) = called(simulator, receiver, webhook_secret=SECRET)
    forged = signature(callback)
    assert forged is not None
    assert len(forged) == len(sign_body(SECRET, callback.body))
    assert forged != sign_body(SECRET, callback.body)


def test_a_callback_may_come_twice(simulator: Upstream, receiver: Site) -> None:
    simulator.fault("callback", "replayed")
    _, callbacks = called(simulator, receiver, times=2)
    assert len({callback.body for callback in callbacks}) == 1


def test_a_callback_may_be_there_before_the_submit_is_answered(simulator: Upstream, receiver: Site) -> None:
    simulator.fault("callback", "early")
    task = simulator.accepted(webhook_url=receiver.url)
    assert [json.loads(request.body)["id"] for request in receiver.requests] == [task["id"]]


def test_a_callback_may_never_come(simulator: Upstream, receiver: Site) -> None:
    simulator.fault("callback", "drop_before")
    simulator.accepted(webhook_url=receiver.url)
    wait_until(lambda: simulator.stats()["callbacks"] == {"withheld": 1})
    assert not receiver.requests


def test_a_callback_comes_although_the_submits_answer_was_lost(simulator: Upstream, receiver: Site) -> None:
    simulator.fault("submit", "drop_after")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        simulator.submit(webhook_url=receiver.url)
    wait_until(lambda: receiver.requests)
    assert json.loads(receiver.requests[0].body)["status"] == "Ready"
