"""A consumer written with nothing but the ``standardwebhooks`` library verifies whatever comes to it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import func
from standardwebhooks import Webhook, WebhookVerificationError

from cleanplate import db, outbox
from cleanplate.models import Delivery, Endpoint
from tests import tries, web

ENDPOINTS = "/v1/webhook-endpoints"


class Consumer:
    """A service that knows its secret and Standard Webhooks, and does the work of each ``webhook-id`` once."""

    def __init__(self, site: web.Site) -> None:
        self.site = site
        self.secret = ""
        self.worked: list[str] = []

    def work(self) -> list[str]:
        """Verify all that has come since the last time, and return the types of what was new."""
        new = []
        for request in self.site.requests:
            event = Webhook(self.secret).verify(request.body, dict(request.headers))
            if request.headers["webhook-id"] not in self.worked:
                self.worked.append(request.headers["webhook-id"])
                new.append(event["type"])
        self.site.requests.clear()
        return new


@pytest.fixture
def consumer(receiver: web.Site) -> Consumer:
    return Consumer(receiver)


@pytest.fixture
def endpoint(client: httpx.Client, consumer: Consumer, configure: Callable[..., None]) -> str:
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8")
    made = client.post(ENDPOINTS, json={"url": consumer.site.url}).json()
    consumer.secret = made["secret"]
    return str(made["id"])


def happen(endpoint: str, *events: str) -> None:
    with db.transaction() as tx:
        tenant = tx.get_one(Endpoint, endpoint).tenant_id
        for event in events:
            outbox.publish(tx, tenant, event, {"id": "job_1", "name": "Küche \U0001f6cb \\u0000"})
    tries.make()


def test_every_event_verifies(endpoint: str, consumer: Consumer) -> None:
    events = ("job.succeeded", "job.failed", "batch.completed", "upstream.paused")
    happen(endpoint, *events)
    assert sorted(consumer.work()) == sorted(events)


def test_every_try_of_an_event_verifies_and_is_worked_on_once(
    client: httpx.Client, endpoint: str, consumer: Consumer
) -> None:
    consumer.site.answer = web.says(500)
    happen(endpoint, "job.failed")
    assert consumer.work() == ["job.failed"]
    consumer.site.answer = web.says(204)
    (failed,) = client.get(f"{ENDPOINTS}/{endpoint}/deliveries").json()["data"]
    client.post(f"/v1/deliveries/{failed['id']}/redeliver")
    tries.make()
    assert len(consumer.site.requests) == 1
    assert consumer.work() == []
    shown = client.get(f"/v1/deliveries/{failed['id']}").json()
    assert [(one["number"], one["status"]) for one in shown["attempts"]] == [(1, 500), (2, 204)]
    assert (shown["status"], shown["last_error"]) == ("delivered", None)


def test_while_a_secret_rotates_old_and_new_verify_and_then_only_the_new(
    client: httpx.Client, endpoint: str, consumer: Consumer
) -> None:
    old = consumer.secret
    new = client.post(f"{ENDPOINTS}/{endpoint}/rotate-secret").json()["secret"]
    for secret in (old, new):
        consumer.secret = secret
        happen(endpoint, "job.failed")
        assert consumer.work() == ["job.failed"]
    with db.transaction() as tx:
        tx.get_one(Endpoint, endpoint).previous_secret_until = func.now() - timedelta(seconds=1)
    happen(endpoint, "job.failed")
    (last,) = consumer.site.requests
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(last.body, dict(last.headers))
    assert consumer.work() == ["job.failed"]


def test_what_failed_is_recovered_and_verifies_also_after_the_endpoint_was_off(
    client: httpx.Client, endpoint: str, consumer: Consumer
) -> None:
    since = datetime.now(UTC) - timedelta(minutes=1)
    consumer.site.answer = web.says(410)
    happen(endpoint, "job.failed")
    happen(endpoint, "job.succeeded")
    assert consumer.work() == ["job.failed"]
    shown = client.get(f"{ENDPOINTS}/{endpoint}").json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "the receiver answered 410 Gone")
    consumer.site.answer = web.says(204)
    told = client.post(f"{ENDPOINTS}/{endpoint}/recover", params={"since": since.isoformat()}).json()
    assert told == {"recovered": 2, "more": False}
    tries.make()
    assert len(consumer.site.requests) == 2
    assert consumer.work() == ["job.succeeded"]


def test_the_receiver_of_one_batch_has_books_and_a_secret_like_any_other(
    client: httpx.Client, consumer: Consumer, configure: Callable[..., None]
) -> None:
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8")
    options = {"webhook_url": consumer.site.url, "seal": False}
    batch = client.post("/v1/batches", files={"options": (None, json.dumps(options))}).json()
    consumer.secret = batch["webhook_secret"]
    client.post(f"/v1/batches/{batch['id']}/seal")
    tries.make()
    assert consumer.work() == ["batch.completed"]
    (named,) = client.get(ENDPOINTS).json()["data"]
    (delivery,) = client.get(f"{ENDPOINTS}/{named['id']}/deliveries").json()["data"]
    assert (named["one_off"], delivery["status"], delivery["subject_id"]) == (True, "delivered", batch["id"])
    consumer.secret = client.post(f"{ENDPOINTS}/{named['id']}/rotate-secret").json()["secret"]
    client.post(f"/v1/deliveries/{delivery['id']}/redeliver")
    tries.make()
    assert len(consumer.site.requests) == 1
    assert consumer.work() == []
    with db.transaction() as tx:
        assert tx.get_one(Delivery, delivery["id"]).tries == 2
