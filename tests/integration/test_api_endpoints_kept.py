"""What an endpoint's owner does with it after it was made: change, pause, rotate, test."""

import httpx
import pytest
from sqlalchemy import func, select

from cleanplate import db, endpoints, resources, vault, webhooks
from cleanplate.models import Delivery, Endpoint
from tests.api import problem
from tests.pictures import IMAGE, MASK

URL = "https://example.com/hooks"
ENDPOINTS = "/v1/webhook-endpoints"


@pytest.fixture
def made(client: httpx.Client) -> resources.Endpoint:
    return resources.Endpoint.model_validate(client.post(ENDPOINTS, json={"url": URL}).json())


def patch(client: httpx.Client, id_: str, **body: object) -> resources.Endpoint:
    answer = client.patch(f"{ENDPOINTS}/{id_}", json=body)
    assert answer.status_code == 200, answer.text
    return resources.Endpoint.model_validate(answer.json())


def secrets(id_: str) -> list[str]:
    with db.transaction() as tx:
        return [vault.open_sealed(sealed) for sealed in endpoints.sealed_secrets(tx.get_one(Endpoint, id_))]


def test_only_what_is_named_changes(client: httpx.Client, made: resources.Endpoint) -> None:
    unchanged = made.model_copy(update={"secret": None})
    assert patch(client, made.id) == unchanged
    assert patch(client, made.id, url="https://example.org/", events=None).url == "https://example.org/"
    events = ["job.failed", "batch.completed", "job.failed"]
    assert patch(client, made.id, events=events).events == ["job.failed", "batch.completed"]
    assert patch(client, made.id, url=URL, events=[]) == unchanged


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "http://127.0.0.1/"}, "url_not_public"),
        ({"events": ["job.exploded"]}, "validation_failed"),
        ({"secret": "whsec_mine"}, "validation_failed"),
        ({"enabled": "perhaps"}, "validation_failed"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    client: httpx.Client, made: resources.Endpoint, body: dict[str, object], code: str
) -> None:
    problem(client.patch(f"{ENDPOINTS}/{made.id}", json=body), 422, code)
    assert client.get(f"{ENDPOINTS}/{made.id}").json()["url"] == URL


def test_an_owner_turns_it_off_and_on_and_sees_why_it_is_off(client: httpx.Client, made: resources.Endpoint) -> None:
    off = patch(client, made.id, enabled=False)
    assert (off.enabled, off.disabled_reason) == (False, "turned off by its owner")
    assert off.disabled_at is not None
    assert patch(client, made.id, enabled=False) == off
    assert patch(client, made.id, enabled=True) == made.model_copy(update={"secret": None})


def test_turned_on_again_it_has_no_failures_behind_it(client: httpx.Client, made: resources.Endpoint) -> None:
    with db.transaction() as tx:
        tx.get_one(Endpoint, made.id).failing_since = func.now()
        tx.flush()
        endpoints.disable(tx, made.id, "the receiver answered 410 Gone")
    shown = resources.Endpoint.model_validate(client.get(f"{ENDPOINTS}/{made.id}").json())
    assert (shown.enabled, shown.disabled_reason) == (False, "the receiver answered 410 Gone")
    assert patch(client, made.id, enabled=False).disabled_reason == "the receiver answered 410 Gone"
    on = patch(client, made.id, enabled=True)
    assert (on.enabled, on.disabled_reason, on.disabled_at, on.failing_since) == (True, None, None, None)


def test_another_address_has_not_failed_yet(client: httpx.Client, made: resources.Endpoint) -> None:
    with db.transaction() as tx:
        tx.get_one(Endpoint, made.id).failing_since = func.now()
    assert patch(client, made.id, events=[]).failing_since is not None
    assert patch(client, made.id, url="https://example.org/").failing_since is None


def test_an_address_that_a_job_named_is_turned_off_and_on_and_rotated_and_nothing_else(client: httpx.Client) -> None:
    pair = {
        "image": ("a.jpg", IMAGE),
        "mask": ("m.png", MASK),
    }
    client.post("/v1/jobs", files=pair, data={"webhook_url": URL})
    (named,) = client.get(ENDPOINTS).json()["data"]
    for change in ({"url": URL}, {"events": []}):
        problem(client.patch(f"{ENDPOINTS}/{named['id']}", json=change), 409, "endpoint_one_off")
    assert not patch(client, named["id"], enabled=False).enabled
    assert client.post(f"{ENDPOINTS}/{named['id']}/rotate-secret").json()["secret"].startswith("whsec_")


def test_a_rotated_secret_is_shown_once_and_the_last_one_signs_for_a_day_more(
    client: httpx.Client, made: resources.Endpoint
) -> None:
    answer = client.post(f"{ENDPOINTS}/{made.id}/rotate-secret", headers={"Idempotency-Key": "rotate 1"})
    second = answer.json()["secret"]
    assert answer.headers["cache-control"] == "no-store"
    assert secrets(made.id) == [second, made.secret]
    again = client.post(f"{ENDPOINTS}/{made.id}/rotate-secret", headers={"Idempotency-Key": "rotate 1"})
    assert again.json() == answer.json()
    assert secrets(made.id) == [second, made.secret]
    assert client.get(f"{ENDPOINTS}/{made.id}").json()["secret"] is None
    third = client.post(f"{ENDPOINTS}/{made.id}/rotate-secret").json()["secret"]
    assert secrets(made.id) == [third, second]
    with db.transaction() as tx:
        left = tx.scalar(select(Endpoint.previous_secret_until - func.now()).where(Endpoint.id == made.id))
        assert left is not None
        assert endpoints.OVERLAP.total_seconds() - 60 < left.total_seconds() <= endpoints.OVERLAP.total_seconds()
        tx.get_one(Endpoint, made.id).previous_secret_until = func.now()
    assert secrets(made.id) == [third]


def test_a_test_goes_to_its_endpoint_alone_whatever_that_listens_to(
    client: httpx.Client, made: resources.Endpoint
) -> None:
    quiet = client.post(ENDPOINTS, json={"url": URL, "events": ["job.failed"]}).json()
    answer = client.post(f"{ENDPOINTS}/{quiet['id']}/test")
    assert answer.status_code == 202
    delivery = webhooks.Delivery.model_validate(answer.json())
    assert (delivery.endpoint_id, delivery.event_type, delivery.status) == (quiet["id"], "webhook.test", "pending")
    with db.transaction() as tx:
        assert not tx.scalars(select(Delivery.id).where(Delivery.endpoint_id == made.id)).all()


def test_one_that_is_off_cannot_be_tested(client: httpx.Client, made: resources.Endpoint) -> None:
    patch(client, made.id, enabled=False)
    problem(client.post(f"{ENDPOINTS}/{made.id}/test"), 409, "endpoint_disabled")
