"""Very many jobs that are written in one transaction keep nobody waiting: they get their places in line afterwards."""

import json
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import admission, idempotency, retry
from cleanplate import db, holding
from cleanplate.models import Batch, Job, Tenant
from cleanplate.states import Hold
from tests import pictures
from tests.pictures import MASK

IMAGES = [pictures.encoded(pictures.scene(seed=seed), "JPEG") for seed in range(8)]
PAGE, COUNT = 3, len(IMAGES)

pytestmark = pytest.mark.usefixtures("api")


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PAGE", PAGE)
    monkeypatch.setattr(retry, "PAGE", PAGE)


def pairs(count: int) -> list[tuple[str, tuple[str, bytes]]]:
    both = [((f"{number}.jpg", IMAGES[number]), (f"{number}_mask.png", MASK)) for number in range(count)]
    return [("files", file) for pair in both for file in pair]


def created(client: httpx.Client, count: int) -> str:
    files = [*pairs(count), ("options", (None, json.dumps({"atomic": True})))]
    return str(client.post("/v1/batches", files=files).raise_for_status().json()["id"])


def added(client: httpx.Client, count: int) -> str:
    options = {"options": (None, json.dumps({"atomic": True, "seal": False}))}
    batch_id = str(client.post("/v1/batches", files=options).raise_for_status().json()["id"])
    client.post(f"/v1/batches/{batch_id}/items", files=pairs(count)).raise_for_status()
    return batch_id


def retried(client: httpx.Client, count: int) -> str:
    parent = created(client, count)
    client.post(f"/v1/batches/{parent}/cancel").raise_for_status()
    answer = client.post(f"/v1/batches/{parent}/retry", json={"cancelled": True}).raise_for_status()
    return str(answer.json()["id"])


WAYS = pytest.mark.parametrize("way", [created, added, retried])
Way = Callable[[httpx.Client, int], str]


def jobs_of(batch_id: str) -> list[Job]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Job).where(Job.batch_id == batch_id).order_by(Job.id)))


def hold_of(batch_id: str) -> str | None:
    with db.transaction() as tx:
        return tx.get_one(Batch, batch_id).hold


@WAYS
def test_they_stand_in_line_when_the_call_is_answered(client: httpx.Client, way: Way) -> None:
    batch_id = way(client, COUNT)
    jobs = jobs_of(batch_id)
    assert [job.state for job in jobs] == ["queued"] * COUNT
    assert [job.position for job in sorted(jobs, key=lambda job: job.tag)] == list(range(COUNT))
    assert len({job.tag for job in jobs}) == COUNT
    assert hold_of(batch_id) is None


@WAYS
def test_the_sweep_lines_up_what_the_call_did_not(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    monkeypatch.setattr(holding, "AT_ONCE_SECONDS", 0.0)
    batch_id = way(client, COUNT)
    assert {job.state for job in jobs_of(batch_id)} == {"held"}
    assert client.get(f"/v1/batches/{batch_id}").json()["counts"]["queued"] == COUNT
    with db.transaction() as tx:
        assert (batch_id, Hold.RELEASE) in [tuple(row) for row in tx.execute(holding.pending())]
    holding.carry_on(batch_id, 60.0)
    assert {job.state for job in jobs_of(batch_id)} == {"queued"}
    assert hold_of(batch_id) is None


@WAYS
def test_meanwhile_the_tenants_line_is_free(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    seen = []
    keep = idempotency.Call.keep

    def keep_and_look(call: idempotency.Call, tx: db.Transaction, *given: object, **more: object) -> object:
        tx.flush()
        with Session(db.engine()) as other, other.begin():
            mine = select(Tenant.id).where(Tenant.id == call.tenant_id)
            seen.append(other.scalar(mine.with_for_update(key_share=True, skip_locked=True)) == call.tenant_id)
        return keep(call, tx, *given, **more)  # type: ignore[type-var]  # whatever it was given

    monkeypatch.setattr(idempotency.Call, "keep", keep_and_look)
    way(client, COUNT)
    assert seen
    assert all(seen)


def test_a_few_get_their_places_at_once(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "AT_ONCE_SECONDS", 0.0)
    assert {job.state for job in jobs_of(created(client, PAGE))} == {"queued"}


def test_a_canary_goes_and_the_rest_is_held(client: httpx.Client) -> None:
    files = [*pairs(COUNT), ("options", (None, json.dumps({"atomic": True, "canary": 2})))]
    batch_id = client.post("/v1/batches", files=files).raise_for_status().json()["id"]
    assert [job.state for job in jobs_of(batch_id)] == ["queued"] * 2 + ["held"] * (COUNT - 2)
    assert hold_of(batch_id) == Hold.CANARY
