import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import select
from standardwebhooks import Webhook

from api import receivers
from cleanplate import db, outbox, resources, vault, webhooks
from cleanplate.models import Delivery, Endpoint
from tests.api import Api, problem
from tests.pictures import IMAGE, MASK

URL = "https://example.com/hooks"
PAIR = {
    "image": ("a.jpg", IMAGE),
    "mask": ("m.png", MASK),
}


def register(client: httpx.Client, **body: object) -> resources.Endpoint:
    response = client.post("/v1/webhook-endpoints", json={"url": URL, **body})
    assert response.status_code == 201, response.text
    endpoint = resources.Endpoint.model_validate_json(response.content)
    assert response.headers["location"] == f"/v1/webhook-endpoints/{endpoint.id}"
    return endpoint


def test_an_endpoint_is_registered_and_its_secret_is_shown_once(client: httpx.Client) -> None:
    made = register(client, events=["batch.completed", "job.failed", "batch.completed"])
    assert made.secret is not None
    assert (made.url, made.events, made.enabled, made.one_off) == (URL, ["batch.completed", "job.failed"], True, False)
    shown = client.get(f"/v1/webhook-endpoints/{made.id}").json()
    assert shown["secret"] is None
    assert client.get("/v1/webhook-endpoints").json()["data"] == [shown]
    with db.transaction() as tx:
        sealed = tx.get_one(Endpoint, made.id).secret_encrypted
    assert made.secret not in sealed
    assert vault.open_sealed(sealed) == made.secret


def test_the_secret_is_one_that_standard_webhooks_takes(client: httpx.Client) -> None:
    secret = register(client).secret or ""
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", now, "{}"),
    }
    assert Webhook(secret).verify("{}", headers) == {}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/url"),
        ({"url": URL, "events": ["job.exploded"]}, "#/events/0"),
        ({"url": URL, "colour": "red"}, "#/colour"),
        ({"url": 5}, "#/url"),
    ],
)
def test_a_bad_body_is_pointed_at(client: httpx.Client, body: dict[str, object], pointer: str) -> None:
    told = problem(client.post("/v1/webhook-endpoints", json=body), 422, "validation_failed")
    assert [error["pointer"] for error in told["errors"]] == [pointer]


def test_a_body_that_is_no_json_is_malformed(client: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    problem(client.post("/v1/webhook-endpoints", content=b"{", headers=headers), 400, "malformed_body")
    problem(client.post("/v1/webhook-endpoints", content=b" " * (2 << 20), headers=headers), 413, "request_too_large")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:9000/", "url_not_public"),
        ("http://[::1]/", "url_not_public"),
        ("http://169.254.169.254/latest/meta-data", "url_not_public"),
        ("https://user:swordfish@example.com/", "url_credentials"),
        ("file:///etc/passwd", "url_scheme"),
        ("https://example.com/#/hooks", "url_fragment"),
    ],
)
def test_an_address_that_we_do_not_go_to_is_refused(client: httpx.Client, url: str, code: str) -> None:
    assert "swordfish" not in problem(client.post("/v1/webhook-endpoints", json={"url": url}), 422, code)["detail"]


def test_an_unknown_event_is_answered_with_those_that_there_are(client: httpx.Client) -> None:
    told = problem(
        client.post("/v1/webhook-endpoints", json={"url": URL, "events": ["job.done"]}), 422, "validation_failed"
    )
    assert all(event in told["errors"][0]["detail"] for event in webhooks.EVENTS)


def test_a_team_has_so_many_beside_those_that_batches_and_jobs_name(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "MOST", 2)
    client.post("/v1/jobs", files=PAIR, data={"webhook_url": URL})
    first, _ = register(client), register(client)
    problem(client.post("/v1/webhook-endpoints", json={"url": URL}), 409, "too_many_endpoints")
    client.delete(f"/v1/webhook-endpoints/{first.id}")
    register(client)


def test_a_deleted_endpoint_is_gone_and_what_it_was_told_is_not(client: httpx.Client) -> None:
    made = register(client)
    with db.transaction() as tx:
        tenant = tx.get_one(Endpoint, made.id).tenant_id
        outbox.publish(tx, tenant, "webhook.test", {})
    assert client.delete(f"/v1/webhook-endpoints/{made.id}").status_code == 204
    problem(client.get(f"/v1/webhook-endpoints/{made.id}"), 404, "not_found")
    problem(client.delete(f"/v1/webhook-endpoints/{made.id}"), 404, "not_found")
    assert client.get("/v1/webhook-endpoints").json()["data"] == []
    with db.transaction() as tx:
        outbox.publish(tx, tenant, "webhook.test", {})
        assert len(tx.scalars(select(Delivery.id).where(Delivery.endpoint_id == made.id)).all()) == 1


def test_a_webhook_url_named_again_after_its_endpoint_was_deleted_gets_a_new_secret(client: httpx.Client) -> None:
    def name() -> str | None:
        found: str | None = client.post("/v1/jobs", files=PAIR, data={"webhook_url": URL}).json()["webhook_secret"]
        return found

    first = name()
    (endpoint,) = client.get("/v1/webhook-endpoints").json()["data"]
    assert endpoint["one_off"]
    client.delete(f"/v1/webhook-endpoints/{endpoint['id']}")
    second = name()
    assert first
    assert second
    assert first != second


def test_a_webhook_url_that_had_been_turned_off_is_turned_on_by_naming_it(client: httpx.Client) -> None:
    client.post("/v1/jobs", files=PAIR, data={"webhook_url": URL})
    (endpoint,) = client.get("/v1/webhook-endpoints").json()["data"]
    with db.transaction() as tx:
        row = tx.get_one(Endpoint, endpoint["id"])
        row.enabled, row.disabled_reason = False, "410"
    client.post("/v1/jobs", files=PAIR, data={"webhook_url": URL})
    assert client.get("/v1/webhook-endpoints").json()["data"] == [endpoint]


def test_many_that_name_one_url_at_once_share_one_endpoint_and_one_hears_its_secret(api: Api) -> None:
    with api.client() as client, ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: client.post("/v1/jobs", files=PAIR, data={"webhook_url": URL}).json(), range(8))
        )
        assert sum(answer["webhook_secret"] is not None for answer in answers) == 1
        assert len(client.get("/v1/webhook-endpoints").json()["data"]) == 1
