"""A try that fails is repeated by the schedule, whatever the receiver did or asked for."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.web import StreamResponse
from cryptography.fernet import Fernet
from sqlalchemy import func, update

from cleanplate import db, settings
from cleanplate.models import Delivery
from tests import tries, web
from tests.seen import passing
from tests.tries import delivery, endpoint_of, make_due, row
from worker import notify

LATE = {f"no answer ({which}Timeout)" for which in ("Connect", "Write", "Read")}
"""On a busy machine the time may be over before there is a connection."""

pytestmark = pytest.mark.usefixtures("database", "loopback_receivers")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (web.says(500), 500),
        (web.says(404), 404),
        (web.says(301, location="/moved"), 301),
        (web.says(307, location="/moved"), 307),
        (web.hangs_up, None),
        (web.breaks_off, None),
    ],
)
def test_a_failed_try_is_repeated_by_the_schedule_until_it_is_used_up(
    receiver: web.Site, answer: web.Answer, status: int | None
) -> None:
    receiver.answer = answer
    delivery_id = delivery(receiver.url)
    for number, step in enumerate(notify.SCHEDULE, start=1):
        make_due(delivery_id)
        with passing() as span:
            tries.make()
        after = row(delivery_id)
        assert (after.state, after.tries, after.last_status) == ("pending", number, status)
        assert after.last_error
        assert span.began + step * (1 - notify.JITTER) <= after.due_at <= span.ended + step * (1 + notify.JITTER)
    make_due(delivery_id)
    tries.make()
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("failed", status)
    assert len(receiver.requests) == len(notify.SCHEDULE) + 1
    assert {request.target for request in receiver.requests} == {"/"}
    assert endpoint_of(delivery_id).enabled


def test_a_receiver_that_refuses_the_connection_is_tried_again() -> None:
    with web.refusing() as url:
        delivery_id = delivery(f"{url}/")
        tries.make()
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("pending", None)
    assert row(delivery_id).last_error == "no answer (ConnectError)"


def test_a_receiver_that_never_answers_is_tried_again(receiver: web.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.2)
    receiver.answer = web.stays_silent
    delivery_id = delivery(receiver.url)
    tries.make()
    assert row(delivery_id).last_error in LATE


@pytest.mark.parametrize("status", [200, 500])
def test_a_receiver_that_drips_does_not_hold_a_try_for_longer_than_one_that_is_silent(
    receiver: web.Site, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.4)

    async def drips(request: Any) -> Any:
        response = StreamResponse(status=status)
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.05)

    receiver.answer = drips
    delivery_id = delivery(receiver.url)
    tries.make()
    assert row(delivery_id).state == "pending"
    assert row(delivery_id).last_error in LATE


def test_a_receiver_may_ask_for_more_time(receiver: web.Site) -> None:
    receiver.answer = web.says(503, retry_after="900")
    delivery_id = delivery(receiver.url)
    with passing() as span:
        tries.make()
    assert row(delivery_id).due_at - timedelta(seconds=900) in span


@pytest.mark.parametrize("header", ["inf", "nan", "1e300", "-5", "never"])
def test_no_answer_of_a_receiver_can_break_the_schedule(receiver: web.Site, header: str) -> None:
    receiver.answer = web.says(429, retry_after=header)
    delivery_id = delivery(receiver.url)
    with passing() as span:
        tries.make()
    assert row(delivery_id).state == "pending"
    assert span.began < row(delivery_id).due_at <= span.ended + notify.SCHEDULE[-1]


def test_a_large_answer_is_not_read_to_its_end(receiver: web.Site) -> None:
    receiver.answer = web.says(200, b"x" * (4 << 20))
    delivery_id = delivery(receiver.url)
    tries.make()
    assert row(delivery_id).state == "delivered"


def test_what_is_sent_again_on_request_has_the_whole_schedule_before_it(receiver: web.Site) -> None:
    receiver.answer = web.says(500)
    delivery_id = delivery(receiver.url)
    again = {"state": "pending", "tries": 10, "tries_before": 10, "due_at": func.now()}
    with db.transaction() as tx:
        tx.execute(update(Delivery).where(Delivery.id == delivery_id).values(**again))
    with passing() as span:
        tries.make()
    assert (row(delivery_id).state, row(delivery_id).tries) == ("pending", 11)
    assert row(delivery_id).due_at <= span.ended + notify.SCHEDULE[0] * (1 + notify.JITTER)


def test_a_secret_that_cannot_be_opened_waits_for_its_key_by_the_schedule(
    receiver: web.Site, configure: Callable[..., None]
) -> None:
    key = settings.get().secret_keys[0].get_secret_value()
    delivery_id = delivery(receiver.url)
    configure(CLEANPLATE_SECRET_KEYS=Fernet.generate_key().decode())
    with passing() as span:
        tries.make()
    assert (row(delivery_id).state, row(delivery_id).tries) == ("pending", 1)
    assert "CLEANPLATE_SECRET_KEYS" in (row(delivery_id).last_error or "")
    assert row(delivery_id).due_at > span.began + notify.SCHEDULE[0] / 2
    configure(CLEANPLATE_SECRET_KEYS=key)
    make_due(delivery_id)
    tries.make()
    assert row(delivery_id).state == "delivered"
