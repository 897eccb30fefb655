"""A batch that is created in several transactions and broke off between them is gone on with by the same call."""

import json
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from api import admission, leases
from cleanplate import db, vault
from cleanplate.idempotency import IdempotencyKey
from cleanplate.models import Endpoint
from cleanplate.storage import StoreUnavailable
from tests import pictures
from tests.api import problem
from tests.pictures import MASK

NAMES = ("mug", "cup")


@pytest.fixture(autouse=True)
def _pages_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PAGE", 1)


def send(client: httpx.Client, key: str, names: tuple[str, ...] = NAMES, **options: Any) -> httpx.Response:
    form: list[tuple[str, Any]] = [("options", (None, json.dumps(options)))]
    for seed, name in enumerate(names):
        image = pictures.encoded(pictures.scene(seed=seed), "JPEG")
        form += [("files", (f"{name}.jpg", image)), ("files", (f"{name}_mask.png", MASK))]
    return client.post("/v1/batches", files=form, headers={"Idempotency-Key": key})


def away(*_: Any) -> None:
    raise StoreUnavailable("away")


@pytest.mark.parametrize("died", [False, True])
def test_it_is_the_same_batch_and_no_item_is_in_it_twice(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, died: bool
) -> None:
    key = secrets.token_hex(8)
    with monkeypatch.context() as patch:
        patch.setattr(admission, "add", away)
        if died:
            patch.setattr(leases, "free", lambda *_: None)  # the dead free nothing
        batch_id = problem(send(client, key), 503, "store_unavailable")["batch_id"]
    if died:
        problem(send(client, key), 409, "idempotency_in_progress")
        with db.transaction() as tx:
            its = update(IdempotencyKey).where(IdempotencyKey.key == key)
            tx.execute(its.values(leased_until=func.now() - timedelta(seconds=1)))
    problem(send(client, key, NAMES[:1]), 422, "idempotency_mismatch")
    again = send(client, key)
    assert again.status_code == 202
    assert again.headers["location"] == f"/v1/batches/{batch_id}"
    assert (again.json()["id"], again.json()["status"]) == (batch_id, "processing")
    assert again.json()["counts"]["total"] == 2
    assert [batch["id"] for batch in client.get("/v1/batches").json()["data"]] == [batch_id]
    assert send(client, key).json() == again.json()


def test_it_tells_the_secret_that_nobody_has_heard(
    client: httpx.Client, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def secret_of_a_resumed_batch() -> str | None:
        key = secrets.token_hex(8)
        with monkeypatch.context() as patch:
            patch.setattr(admission, "add", away)
            problem(send(client, key, webhook_url="https://example.com/hook"), 503, "store_unavailable")
        again = send(client, key, webhook_url="https://example.com/hook").raise_for_status()
        secret: str | None = again.json()["webhook_secret"]
        return secret

    first = secret_of_a_resumed_batch()
    with db.transaction() as tx:
        (sealed,) = tx.scalars(select(Endpoint.secret_encrypted).where(Endpoint.tenant_id == tenant_id))
    assert first == vault.open_sealed(sealed)
    assert secret_of_a_resumed_batch() is None
