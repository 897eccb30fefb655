"""A signed POST a delivery, to a real receiver that knows nothing but its secret and Standard Webhooks."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update
from standardwebhooks import Webhook, WebhookVerificationError

from cleanplate import db, outbox, vault
from cleanplate.models import Endpoint
from tests import rows, tries, web
from tests.tries import delivery, endpoint_of, make_due, row

pytestmark = pytest.mark.usefixtures("database", "loopback_receivers")


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
