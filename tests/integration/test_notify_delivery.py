"""A signed POST a delivery, to a real receiver that knows nothing but its secret and Standard Webhooks."""

import json
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select, update
from standardwebhooks import Webhook, WebhookVerificationError

from cleanplate import db, outbox, settings
from cleanplate.models import Delivery, Endpoint
from tests import rows, web
from tests.threads import at_once
from worker import notify

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
    notify.notify(delivery_id)
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
    notify.notify(delivery(receiver.url))
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
        notify.notify(delivery_id)
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
        notify.notify(delivery_id)
        after = row(delivery_id)
        assert (after.state, after.tries, after.last_status) == ("pending", number, status)
        assert after.last_error
        assert due_seconds(delivery_id) == pytest.approx(step.total_seconds(), rel=0.11, abs=1.0)
    make_due(delivery_id)
    notify.notify(delivery_id)
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("failed", status)
    assert len(receiver.requests) == len(notify.SCHEDULE) + 1
    assert {request.target for request in receiver.requests} == {"/"}
    assert endpoint_of(delivery_id).enabled


def test_a_receiver_that_refuses_the_connection_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    delivery_id = delivery(f"http://127.0.0.1:{port}/")
    notify.notify(delivery_id)
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("pending", None)
    assert row(delivery_id).last_error == "no answer (ConnectError)"


def test_a_receiver_that_never_answers_is_tried_again(receiver: web.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.2)
    receiver.answer = web.stays_silent
    delivery_id = delivery(receiver.url)
    notify.notify(delivery_id)
    assert row(delivery_id).last_error == "no answer (ReadTimeout)"


def test_a_receiver_may_ask_for_more_time(receiver: web.Site) -> None:
    receiver.answer = web.says(503, retry_after="900")
    delivery_id = delivery(receiver.url)
    notify.notify(delivery_id)
    assert due_seconds(delivery_id) == pytest.approx(900, abs=5)


@pytest.mark.parametrize("header", ["inf", "nan", "1e300", "-5", "never"])
def test_no_answer_of_a_receiver_can_break_the_schedule(receiver: web.Site, header: str) -> None:
    receiver.answer = web.says(429, retry_after=header)
    delivery_id = delivery(receiver.url)
    notify.notify(delivery_id)
    assert row(delivery_id).state == "pending"
    assert 0 < due_seconds(delivery_id) <= notify.SCHEDULE[-1].total_seconds() + 1


def test_a_large_answer_is_not_read_to_its_end(receiver: web.Site) -> None:
    receiver.answer = web.says(200, b"x" * (4 << 20))
    delivery_id = delivery(receiver.url)
    notify.notify(delivery_id)
    assert row(delivery_id).state == "delivered"


# -- what is not sent --------------------------------------------------------------------------------------------------


def test_a_receiver_that_is_gone_is_turned_off_and_what_else_it_was_to_hear_fails_unsent(receiver: web.Site) -> None:
    receiver.answer = web.says(410)
    delivery_id = delivery(receiver.url)
    endpoint = endpoint_of(delivery_id).id
    with db.transaction() as tx:
        outbox.publish(tx, rows.TENANT, "webhook.test", {}, {endpoint})
        (other,) = tx.scalars(select(Delivery.id).where(Delivery.id != delivery_id))
    notify.notify(delivery_id)
    notify.notify(other)
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("failed", 410)
    assert (row(other).state, row(other).last_error) == ("failed", "the endpoint is turned off")
    assert not endpoint_of(delivery_id).enabled
    assert endpoint_of(delivery_id).disabled_reason == "the receiver answered 410 Gone"
    assert len(receiver.requests) == 1


def test_messages_that_come_twice_early_or_late_send_nothing_twice(receiver: web.Site) -> None:
    early, twice = delivery(receiver.url), delivery(f"{receiver.url}/twice")
    with db.transaction() as tx:
        later = func.now() + timedelta(minutes=1)
        tx.execute(update(Delivery).where(Delivery.id == early).values(due_at=later))
    at_once([lambda: notify.notify(twice)] * 4)
    for delivery_id in (early, twice, "dlv_nowhere"):
        notify.notify(delivery_id)
    assert [request.target for request in receiver.requests] == ["/twice"]
    assert (row(early).state, row(early).tries) == ("pending", 0)


def test_the_try_is_counted_before_it_is_made_so_a_worker_that_dies_repeats_it(receiver: web.Site) -> None:
    delivery_id = delivery(receiver.url)
    seen = []

    async def look(request: Any) -> Any:
        seen.append((row(delivery_id).tries, due_seconds(delivery_id)))
        return await web.says(200)(request)

    receiver.answer = look
    notify.notify(delivery_id)
    assert seen == [(1, pytest.approx(notify.WORK_SECONDS, abs=2.0))]


def test_nothing_is_sent_to_an_address_that_is_not_public(receiver: web.Site, configure: Callable[..., None]) -> None:
    delivery_id = delivery(receiver.url)
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="10.0.0.0/8")
    notify.notify(delivery_id)
    assert receiver.requests == []
    assert row(delivery_id).state == "pending"
    assert (row(delivery_id).last_error or "").startswith("refused to connect")


def test_a_secret_that_cannot_be_opened_waits_for_its_key_by_the_schedule(
    receiver: web.Site, configure: Callable[..., None]
) -> None:
    key = settings.get().secret_keys[0].get_secret_value()
    delivery_id = delivery(receiver.url)
    configure(CLEANPLATE_SECRET_KEYS=Fernet.generate_key().decode())
    notify.notify(delivery_id)
    assert (row(delivery_id).state, row(delivery_id).tries) == ("pending", 1)
    assert "CLEANPLATE_SECRET_KEYS" in (row(delivery_id).last_error or "")
    assert due_seconds(delivery_id) > 1
    configure(CLEANPLATE_SECRET_KEYS=key)
    make_due(delivery_id)
    notify.notify(delivery_id)
    assert row(delivery_id).state == "delivered"


def test_nothing_that_is_kept_or_logged_of_a_delivery_shows_the_secret(
    receiver: web.Site, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = web.says(500, b"whatever")
    delivery_id = delivery(receiver.url)
    notify.notify(delivery_id)
    kept = json.dumps([str(value) for value in (vars(row(delivery_id)), vars(endpoint_of(delivery_id)))])
    assert rows.SIGNING_SECRET not in kept + caplog.text
    assert caplog.text
