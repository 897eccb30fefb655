"""A signed POST a delivery, to a real receiver that knows nothing but its secret and Standard Webhooks."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.web import StreamResponse
from cryptography.fernet import Fernet
from sqlalchemy import delete, func, select, update
from standardwebhooks import Webhook, WebhookVerificationError

from cleanplate import db, outbox, settings, vault
from cleanplate.models import Delivery, DeliveryAttempt, Endpoint
from cleanplate.outcomes import Delivered
from tests import rows, tries, web
from tests.threads import at_once
from worker import deliveries, notify
from worker.deliveries import Tried
from worker.lanes import Lanes

pytestmark = pytest.mark.usefixtures("database", "_loopback")


@pytest.fixture
def _loopback(configure: Callable[..., None]) -> None:
    """Receivers of this machine may be reached, and secrets are sealed."""
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8", CLEANPLATE_SECRET_KEYS=Fernet.generate_key().decode())


@pytest.fixture
def receiver() -> Iterator[web.Site]:
    with web.serving(web.says(204)) as site:
        yield site


def delivery(url: str, **columns: Any) -> str:
    """A delivery that is due, to an endpoint of its own."""
    with db.transaction() as tx:
        endpoint = rows.endpoint(tx, url, **columns)
        outbox.publish(tx, rows.TENANT, "webhook.test", {"text": "Grüße, 'you' & \\u0041"}, {endpoint})
        return tx.scalars(select(Delivery.id).where(Delivery.endpoint_id == endpoint)).one()


def attempts(delivery_id: str) -> list[DeliveryAttempt]:
    """What the books say of a delivery."""
    its = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id)
    with db.transaction() as tx:
        return list(tx.scalars(its.order_by(DeliveryAttempt.number)))


def row(delivery_id: str) -> Delivery:
    with db.transaction() as tx:
        return tx.get_one(Delivery, delivery_id)


def endpoint_of(delivery_id: str) -> Endpoint:
    with db.transaction() as tx:
        return tx.get_one(Endpoint, tx.get_one(Delivery, delivery_id).endpoint_id)


def due_seconds(delivery_id: str) -> float:
    with db.transaction() as tx:
        left = func.extract("epoch", Delivery.due_at - func.now())
        return float(tx.scalar(select(left).where(Delivery.id == delivery_id)) or 0.0)


def make_due(delivery_id: str) -> None:
    with db.transaction() as tx:
        tx.execute(update(Delivery).where(Delivery.id == delivery_id).values(due_at=func.now()))


# -- what a receiver gets ----------------------------------------------------------------------------------------------


def test_a_receiver_verifies_it_with_its_secret_and_the_public_library_alone(receiver: web.Site) -> None:
    delivery_id = delivery(f"{receiver.url}/hooks?for=me")
    tries.make()
    (request,) = receiver.requests
    said = Webhook(rows.SIGNING_SECRET).verify(request.body, dict(request.headers))
    assert said.keys() == {"type", "timestamp", "data"}
    assert (said["type"], said["data"]) == ("webhook.test", {"text": "Grüße, 'you' & \\u0041"})
    assert (request.method, request.target) == ("POST", "/hooks?for=me")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"].startswith("evt_")
    after = row(delivery_id)
    assert (after.state, after.last_status, after.last_error, after.tries) == ("delivered", 204, None, 1)
    assert after.delivered_at is not None


def test_a_body_that_was_changed_or_another_secret_does_not_verify(receiver: web.Site) -> None:
    delivery(receiver.url)
    tries.make()
    (request,) = receiver.requests
    headers = dict(request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(rows.SIGNING_SECRET).verify(request.body.replace(b"you", b"me"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(request.body, headers)


def test_every_try_of_an_event_has_the_same_id_and_verifies(receiver: web.Site) -> None:
    receiver.answer = web.in_turn(web.says(500), web.hangs_up, web.says(200))
    delivery_id = delivery(receiver.url)
    for _ in range(3):
        make_due(delivery_id)
        tries.make()
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    for request in receiver.requests:
        Webhook(rows.SIGNING_SECRET).verify(request.body, dict(request.headers))
    assert (row(delivery_id).state, row(delivery_id).tries) == ("delivered", 3)


# -- retries -----------------------------------------------------------------------------------------------------------


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
        tries.make()
        after = row(delivery_id)
        assert (after.state, after.tries, after.last_status) == ("pending", number, status)
        assert after.last_error
        assert due_seconds(delivery_id) == pytest.approx(step.total_seconds(), rel=0.11, abs=1.0)
    make_due(delivery_id)
    tries.make()
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("failed", status)
    assert len(receiver.requests) == len(notify.SCHEDULE) + 1
    assert {request.target for request in receiver.requests} == {"/"}
    assert endpoint_of(delivery_id).enabled


def test_a_receiver_that_refuses_the_connection_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    delivery_id = delivery(f"http://127.0.0.1:{port}/")
    tries.make()
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("pending", None)
    assert row(delivery_id).last_error == "no answer (ConnectError)"


def test_a_receiver_that_never_answers_is_tried_again(receiver: web.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.2)
    receiver.answer = web.stays_silent
    delivery_id = delivery(receiver.url)
    tries.make()
    assert row(delivery_id).last_error == "no answer (ReadTimeout)"


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
    assert (row(delivery_id).state, row(delivery_id).last_error) == ("pending", "no answer (ReadTimeout)")


def test_a_receiver_may_ask_for_more_time(receiver: web.Site) -> None:
    receiver.answer = web.says(503, retry_after="900")
    delivery_id = delivery(receiver.url)
    tries.make()
    assert due_seconds(delivery_id) == pytest.approx(900, abs=5)


@pytest.mark.parametrize("header", ["inf", "nan", "1e300", "-5", "never"])
def test_no_answer_of_a_receiver_can_break_the_schedule(receiver: web.Site, header: str) -> None:
    receiver.answer = web.says(429, retry_after=header)
    delivery_id = delivery(receiver.url)
    tries.make()
    assert row(delivery_id).state == "pending"
    assert 0 < due_seconds(delivery_id) <= notify.SCHEDULE[-1].total_seconds() + 1


def test_a_large_answer_is_not_read_to_its_end(receiver: web.Site) -> None:
    receiver.answer = web.says(200, b"x" * (4 << 20))
    delivery_id = delivery(receiver.url)
    tries.make()
    assert row(delivery_id).state == "delivered"


# -- what is not sent --------------------------------------------------------------------------------------------------


def test_a_receiver_that_is_gone_is_turned_off_and_what_else_it_was_to_hear_fails_unsent(receiver: web.Site) -> None:
    receiver.answer = web.says(410)
    delivery_id = delivery(receiver.url)
    endpoint = endpoint_of(delivery_id).id
    with db.transaction() as tx:
        neighbour = rows.deaf_endpoint(tx)
        outbox.publish(tx, rows.TENANT, "job.failed", {}, {endpoint})
        (later,) = tx.scalars(select(Delivery.id).where(Delivery.id != delivery_id, Delivery.endpoint_id == endpoint))
        tx.execute(update(Delivery).where(Delivery.id == later).values(due_at=func.now() + timedelta(hours=1)))
        tx.execute(delete(Delivery).where(Delivery.endpoint_id == neighbour))
    tries.make()
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("failed", 410)
    assert (row(later).state, row(later).tries) == ("pending", 0)
    make_due(later)
    tries.make()
    assert (row(later).state, row(later).last_error) == ("failed", "the endpoint is turned off")
    assert not endpoint_of(delivery_id).enabled
    assert endpoint_of(delivery_id).disabled_reason == "the receiver answered 410 Gone"
    assert len(receiver.requests) == 1
    assert told(neighbour) == ["webhook_endpoint.disabled"]


def told(endpoint_id: str) -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Delivery.event_type).where(Delivery.endpoint_id == endpoint_id)))


@pytest.mark.parametrize(("days", "off"), [(4.9, False), (5.1, True)])
def test_after_five_days_of_nothing_but_failures_it_is_turned_off_and_the_others_hear_of_it(
    receiver: web.Site, days: float, off: bool
) -> None:
    receiver.answer = web.says(500)
    delivery_id = delivery(receiver.url, failing_since=func.now() - timedelta(days=days))
    with db.transaction() as tx:
        neighbour = rows.deaf_endpoint(tx)
    tries.make()
    assert endpoint_of(delivery_id).enabled is not off
    assert endpoint_of(delivery_id).disabled_reason == ("nothing but failures for 5 days" if off else None)
    assert told(neighbour) == (["webhook_endpoint.disabled"] if off else [])


def test_failures_count_from_the_first_of_them_and_one_success_ends_them(receiver: web.Site) -> None:
    receiver.answer = web.in_turn(web.says(500), web.says(500), web.says(200))
    delivery_id = delivery(receiver.url)
    tries.make()
    since = endpoint_of(delivery_id).failing_since
    assert since == attempts(delivery_id)[0].started_at
    make_due(delivery_id)
    tries.make()
    assert endpoint_of(delivery_id).failing_since == since
    make_due(delivery_id)
    tries.make()
    assert endpoint_of(delivery_id).failing_since is None


def test_what_two_look_at_is_tried_once_and_what_is_not_due_is_not(receiver: web.Site) -> None:
    early = delivery(receiver.url)
    twice = delivery(f"{receiver.url}/twice")
    with db.transaction() as tx:
        later = func.now() + timedelta(minutes=1)
        tx.execute(update(Delivery).where(Delivery.id != twice).values(due_at=later))
    at_once([tries.make] * 4)
    tries.make()
    assert [request.target for request in receiver.requests] == ["/twice"]
    assert (row(early).state, row(early).tries) == ("pending", 0)
    assert row(twice).state == "delivered"


def test_the_try_is_counted_and_booked_before_it_is_made_so_a_worker_that_dies_repeats_it(receiver: web.Site) -> None:
    delivery_id = delivery(receiver.url)
    seen = []

    async def look(request: Any) -> Any:
        ((number, ended),) = [(one.number, one.duration_ms) for one in attempts(delivery_id)]
        seen.append((row(delivery_id).tries, due_seconds(delivery_id), number, ended))
        return await web.says(200)(request)

    receiver.answer = look
    tries.make()
    assert seen == [(1, pytest.approx(deliveries.LEASE.total_seconds(), abs=5.0), 1, None)]


def test_an_answer_that_comes_when_the_try_was_made_again_only_stands_in_the_books(receiver: web.Site) -> None:
    delivery_id = delivery(receiver.url)
    with db.transaction() as tx:
        (late,) = deliveries.begin(tx, Lanes().allot(deliveries.due(tx), 0.0))
    make_due(delivery_id)
    receiver.answer = web.says(500)
    tries.make()
    with db.transaction() as tx:
        deliveries.settle(tx, [Tried(late, Delivered(204), 40.0)])
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("pending", 500)
    assert [(one.number, one.status, one.duration_ms) for one in attempts(delivery_id)] == [
        (1, 204, 40_000),
        (2, 500, 250),
    ]


def test_the_books_tell_every_try_with_the_beginning_of_its_answer(receiver: web.Site) -> None:
    long = "ü".encode() * 2000
    receiver.answer = web.in_turn(web.says(500, b"no\0\xff"), web.hangs_up, web.says(200, long))
    delivery_id = delivery(receiver.url)
    for _ in range(3):
        make_due(delivery_id)
        tries.make()
    broken, silent, done = attempts(delivery_id)
    assert (broken.status, broken.error, broken.answer) == (500, "the receiver answered 500", "no\ufffd\ufffd")
    assert (silent.status, silent.answer) == (None, None)
    assert (silent.error or "").startswith("no answer")
    assert (done.status, done.error, done.answer) == (200, None, "ü" * (notify.ANSWER_KEPT // 2))
    assert {one.duration_ms for one in (broken, silent, done)} == {250}


def test_during_a_rotation_either_secret_verifies_and_afterwards_the_new_one_alone(receiver: web.Site) -> None:
    old, new = rows.SIGNING_SECRET, "whsec_" + "A" * 32
    ends = func.now() + timedelta(hours=1)
    rotated = {"previous_secret_encrypted": vault.seal(old), "previous_secret_until": ends}
    delivery_id = delivery(receiver.url)
    endpoint = endpoint_of(delivery_id).id
    with db.transaction() as tx:
        its = update(Endpoint).where(Endpoint.id == endpoint)
        tx.execute(its.values(secret_encrypted=vault.seal(new), **rotated))
    tries.make()
    with db.transaction() as tx:
        tx.execute(its.values(previous_secret_until=func.now()))
        outbox.publish(tx, rows.TENANT, "webhook.test", {}, {endpoint})
    tries.make()
    during, after = receiver.requests
    for secret in (old, new):
        Webhook(secret).verify(during.body, dict(during.headers))
    Webhook(new).verify(after.body, dict(after.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(after.body, dict(after.headers))


def test_what_is_sent_again_on_request_has_the_whole_schedule_before_it(receiver: web.Site) -> None:
    receiver.answer = web.says(500)
    delivery_id = delivery(receiver.url)
    again = {"state": "pending", "tries": 10, "tries_before": 10, "due_at": func.now()}
    with db.transaction() as tx:
        tx.execute(update(Delivery).where(Delivery.id == delivery_id).values(**again))
    tries.make()
    assert (row(delivery_id).state, row(delivery_id).tries) == ("pending", 11)
    assert due_seconds(delivery_id) < notify.SCHEDULE[0].total_seconds() * 1.2


def test_nothing_is_sent_to_an_address_that_is_not_public(receiver: web.Site, configure: Callable[..., None]) -> None:
    delivery_id = delivery(receiver.url)
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="10.0.0.0/8")
    tries.make()
    assert receiver.requests == []
    assert row(delivery_id).state == "pending"
    assert (row(delivery_id).last_error or "").startswith("refused to connect")


def test_a_secret_that_cannot_be_opened_waits_for_its_key_by_the_schedule(
    receiver: web.Site, configure: Callable[..., None]
) -> None:
    key = settings.get().secret_keys[0].get_secret_value()
    delivery_id = delivery(receiver.url)
    configure(CLEANPLATE_SECRET_KEYS=Fernet.generate_key().decode())
    tries.make()
    assert (row(delivery_id).state, row(delivery_id).tries) == ("pending", 1)
    assert "CLEANPLATE_SECRET_KEYS" in (row(delivery_id).last_error or "")
    assert due_seconds(delivery_id) > 1
    configure(CLEANPLATE_SECRET_KEYS=key)
    make_due(delivery_id)
    tries.make()
    assert row(delivery_id).state == "delivered"


def test_nothing_that_is_kept_or_logged_of_a_delivery_shows_the_secret(
    receiver: web.Site, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = web.says(500, b"whatever")
    delivery_id = delivery(receiver.url)
    tries.make()
    kept = json.dumps([str(value) for value in (vars(row(delivery_id)), vars(endpoint_of(delivery_id)))])
    assert rows.SIGNING_SECRET not in kept + caplog.text
    assert caplog.text
