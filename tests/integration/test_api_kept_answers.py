"""The answers that are kept for keys: they go with what they tell of, and the calls still happen once."""

from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import select, update

from cleanplate import cancel, db
from cleanplate.idempotency import IdempotencyKey
from cleanplate.models import Job
from cleanplate.states import InFlight
from tests.api import problem
from tests.pictures import IMAGE, MASK

KEY = {"Idempotency-Key": "the-key"}
NAME = "a-name-of-a-person"
HOOK = "https://example.com/hook"

Send = Callable[[httpx.Client], httpx.Response]


def files(name: str = NAME) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{name}.jpg", IMAGE)), ("files", (f"{name}_mask.png", MASK))]


def send_batch(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/batches", files=[*files(), ("files", (f"{NAME}-2.jpg", IMAGE))], headers=KEY)


def send_job(client: httpx.Client) -> httpx.Response:
    pair = {"image": (f"{NAME}.jpg", IMAGE), "mask": ("m.png", MASK)}
    return client.post("/v1/jobs", files=pair, data={"custom_id": NAME, "webhook_url": HOOK}, headers=KEY)


def kept(tenant_id: str) -> str:
    """Return the tenant's answers, as text."""
    with db.transaction() as tx:
        its = select(IdempotencyKey.headers, IdempotencyKey.body).where(IdempotencyKey.tenant_id == tenant_id)
        found = tx.execute(its).all()
        return "\n".join(str(row) for row in found)


def end_all() -> None:
    with db.transaction() as tx:
        cancel.stop(tx, tx.scalars(select(Job.id).order_by(Job.id)).all(), InFlight.ABANDON)


@pytest.mark.parametrize(("send", "of"), [(send_batch, "batches"), (send_job, "jobs")])
def test_the_answer_goes_with_what_it_tells_of_and_the_call_does_not_happen_again(
    client: httpx.Client, tenant_id: str, send: Send, of: str
) -> None:
    made = send(client).raise_for_status().json()["id"]
    end_all()
    assert send(client).json()["id"] == made
    assert made in kept(tenant_id)
    assert client.delete(f"/v1/{of}/{made}").status_code == 204
    problem(send(client), 410, "deleted")
    assert client.get(f"/v1/{of}").json()["data"] == []
    assert made not in kept(tenant_id)
    assert NAME not in kept(tenant_id)


def test_an_answer_that_lists_jobs_goes_with_any_of_them_and_others_about_their_batch_stay(
    client: httpx.Client, tenant_id: str
) -> None:
    batch = client.post("/v1/batches", files={"options": (None, '{"seal": false}')}, headers=KEY).json()["id"]

    def add(name: str) -> httpx.Response:
        return client.post(f"/v1/batches/{batch}/items", files=files(name), headers={"Idempotency-Key": name})

    (gone, *_), (stays, *_) = (add(name).raise_for_status().json()["accepted"] for name in (NAME, "other"))
    end_all()
    assert client.delete(f"/v1/jobs/{gone['id']}").status_code == 204
    problem(add(NAME), 410, "deleted")
    assert add("other").json()["accepted"][0]["id"] == stays["id"]
    assert NAME not in kept(tenant_id)
    assert client.post("/v1/batches", files={"options": (None, '{"seal": false}')}, headers=KEY).json()["id"] == batch


def test_a_key_means_nothing_after_its_day_whatever_was_deleted(client: httpx.Client, tenant_id: str) -> None:
    made = send_job(client).json()["id"]
    end_all()
    client.delete(f"/v1/jobs/{made}")
    with db.transaction() as tx:
        mine = update(IdempotencyKey).where(IdempotencyKey.tenant_id == tenant_id)
        tx.execute(mine.values(created_at="2020-01-01"))
    assert send_job(client).raise_for_status().json()["id"] != made
