"""Batches of items that say where their files lie: judged one by one, to be fetched later."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from cleanplate import db, settings
from cleanplate.client import Client
from cleanplate.items import ITEMS_MOST, Item, Source
from cleanplate.models import Job, Upload
from cleanplate.resources import BatchOptions
from cleanplate.states import State
from tests.api import Api, problem

URL = {"url": "https://photos.example.com/a.jpg?X-Amz-Signature=secret"}
MANY = 2_000
MASK = {"url": "https://photos.example.com/a_mask.png"}


def item(custom_id: str | None = "a", image: Any = URL, mask: Any = MASK, **more: Any) -> dict[str, Any]:
    return {**({"custom_id": custom_id} if custom_id else {}), "image": image, "mask": mask, **more}


def send(client: httpx.Client, *items: Any, **options: Any) -> httpx.Response:
    return client.post("/v1/batches", json={"items": list(items), "options": options})


def stored(batch_id: str) -> list[Job]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Job).where(Job.batch_id == batch_id).order_by(Job.id)))


def rejected(told: dict[str, Any]) -> dict[str, str]:
    return {one["item"]: one["code"] for one in told["rejected"]}


@pytest.mark.parametrize("kind", [None, "text/plain"])
def test_a_body_of_another_type_hears_of_both_that_are_taken(client: httpx.Client, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    told = problem(client.post("/v1/batches", content=b"hello", headers=headers), 415, "unsupported_media_type")
    assert "multipart/form-data" in told["detail"]
    assert "application/json" in told["detail"]


def test_a_dry_run_tells_what_can_be_known_of_items_and_makes_nothing(client: httpx.Client) -> None:
    body = {"items": [item("a"), item("b", mask={"upload_id": "upl_none"})], "options": {"budget_credits": 5}}
    response = client.post("/v1/batches", params={"dry_run": True}, json=body)
    assert response.status_code == 200, response.text
    told = response.json()
    assert ([one["custom_id"] for one in told["items"]], rejected(told)) == (["a"], {"b": "upload_not_found"})
    assert (told["accepted"], told["within_budget"]) == (True, 1)
    assert client.get("/v1/batches").json()["data"] == []


def test_items_are_accepted_at_once_and_wait_to_be_imported(client: httpx.Client) -> None:
    one = item("a", params={"dilate_pixels": 3}, metadata={"sku": 1})
    response = send(client, one, item("b"), item(None), name="autumn", params={"dilate_pixels": 20, "seed": 4})
    assert response.status_code == 202, response.text
    told = response.json()
    assert response.headers["location"] == f"/v1/batches/{told['id']}"
    assert (told["counts"]["total"], told["counts"]["queued"], told["status"]) == (3, 3, "processing")
    first, second, third = stored(told["id"])
    assert (first.state, first.sources, first.image, first.position) == (
        "importing",
        {"image": URL, "mask": MASK},
        None,
        0,
    )
    assert (first.params["dilate_pixels"], first.params["seed"], first.meta) == (3, 4, {"sku": 1})
    assert (second.params["dilate_pixels"], third.custom_id, third.position) == (20, None, 2)
    shown = client.get(f"/v1/batches/{told['id']}/jobs").json()["data"][0]
    assert (shown["status"], shown["stage"], shown["image"], shown["mask"]) == ("queued", "importing", None, None)
    history = client.get(f"/v1/jobs/{first.id}/history").json()
    assert [event["stage"] for event in history["events"]] == ["importing"]
    assert "X-Amz" not in json.dumps([told, shown, history])


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"image": URL}, "validation_failed"),
        (item("x", image={}), "validation_failed"),
        (item("x", image=URL | {"upload_id": "upl_1"}), "validation_failed"),
        (item("x", params={"dilate_pixels": 101}), "validation_failed"),
        (item("x", metadata={"a": "x" * 9000}), "validation_failed"),
        (item("x", colour="red"), "validation_failed"),
        (item() | {"custom_id": ""}, "validation_failed"),
        ("text", "validation_failed"),
        (None, "validation_failed"),
        (item("x", image={"url": "ftp://photos.example.com/a"}), "url_scheme"),
        (item("x", image={"url": "http://169.254.169.254/latest"}), "url_not_public"),
        (item("x", mask={"url": "http://[::ffff:10.0.0.1]/"}), "url_not_public"),
        (item("x", mask={"upload_id": "upl_nobody"}), "upload_not_found"),
        (item("x", image={"s3": "s3://photos/a.jpg"}), "s3_not_allowed"),
        (item("x", image={"s3": "https://photos/a.jpg"}), "s3_invalid"),
        (item("x", image={"s3": "s3://photos/../a.jpg"}), "s3_invalid"),
        (item("good"), "repeated_custom_id"),
    ],
)
def test_one_wrong_item_is_rejected_and_spoils_nothing_unless_all_were_to_be_taken(
    client: httpx.Client, wrong: Any, code: str
) -> None:
    told = send(client, item("good"), wrong).json()
    assert told["counts"]["total"] == 1
    assert list(rejected(told).values()) == [code]
    refusal = problem(send(client, item("good"), wrong, atomic=True), 422, "batch_rejected")
    assert [one["code"] for one in refusal["errors"]] == [code]
    problem(send(client, *([wrong] if code != "repeated_custom_id" else [])), 422, "no_valid_items")


def test_uploads_are_the_tenants_own_and_are_kept_when_they_are_named(api: Api, client: httpx.Client) -> None:
    upload = client.post("/v1/uploads").json()["upload_id"]
    with db.transaction() as tx:
        late = func.now() + func.make_interval(0, 0, 0, 0, 1)
        tx.execute(update(Upload).where(Upload.id == upload).values(expires_at=late))
    both = item("a", {"upload_id": upload}, {"upload_id": upload})
    with api.client() as other:
        problem(send(other, both), 422, "no_valid_items")
    assert send(client, both).status_code == 202
    with db.transaction() as tx:
        left = func.extract("epoch", Upload.expires_at - func.now())
        assert tx.scalar(select(left).where(Upload.id == upload)) > 80_000
        tx.execute(update(Upload).where(Upload.id == upload).values(expires_at=func.now()))
    problem(send(client, both), 422, "no_valid_items")


def test_objects_of_the_places_that_the_operator_allows_are_taken(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowing = settings.get().model_copy(update={"import_buckets": ("photos/autumn",)})
    monkeypatch.setattr(settings, "get", lambda: allowing)
    told = send(
        client, item("a", {"s3": "s3://photos/autumn/ä b.jpg"}), item("b", {"s3": "s3://photos/autumnal/a"})
    ).json()
    assert (told["counts"]["total"], rejected(told)) == (1, {"b": "s3_not_allowed"})


def test_items_come_in_parts_and_a_part_may_be_repeated(client: httpx.Client) -> None:
    batch = send(client, seal=False).json()
    path = f"/v1/batches/{batch['id']}/items"
    first = client.post(path, json={"items": [item("a"), item("bad", image={})]}).json()
    assert [job["custom_id"] for job in first["accepted"]] == ["a"]
    assert first["batch"]["status"] == "open"
    again = client.post(path, json={"items": [item("a"), item("bad", image={}), item("c")]}).json()
    assert [job["custom_id"] for job in again["accepted"]] == ["c"]
    assert rejected(again)["a"] == "duplicate_custom_id"
    told = client.get(f"/v1/batches/{batch['id']}").json()
    assert (told["counts"]["total"], len(told["rejected"])) == (2, 1)
    assert client.post(f"/v1/batches/{batch['id']}/seal").status_code == 200
    problem(client.post(path, json={"items": [item("d")]}), 409, "batch_sealed")


def test_what_is_no_batch_is_refused_as_a_whole(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    problem(client.post("/v1/batches", content=b"{", headers=headers), 400, "malformed_body")
    problem(client.post("/v1/batches", content=b"[]", headers=headers), 422, "validation_failed")
    problem(client.post("/v1/batches", json={"items": [], "colour": 1}), 422, "validation_failed")
    problem(client.post("/v1/batches", json={"items": [item()], "options": {"priority": 10}}), 422, "validation_failed")
    problem(client.post("/v1/batches", json={"items": [1] * (ITEMS_MOST + 1)}), 422, "validation_failed")
    problem(client.post("/v1/batches", content=b" " * (16 << 20) + b"{}", headers=headers), 413, "request_too_large")


def test_a_batch_that_is_cancelled_imports_nothing_more(client: httpx.Client) -> None:
    batch = send(client, *[item(f"{n}") for n in range(250)]).json()
    saved = client.post(f"/v1/batches/{batch['id']}/cancel").json()["saved"]
    assert saved["stopped"] == 250
    assert {job.state for job in stored(batch["id"])} == {State.CANCELLED}
    assert not any(job.sources for job in stored(batch["id"]))


def test_thousands_of_items_are_taken_by_one_call_of_the_client(api: Api, client: httpx.Client) -> None:
    key = client.headers["authorization"].removeprefix("Bearer ")
    many = [Item(custom_id=f"{n}", image=Source(**URL), mask=Source(**MASK)) for n in range(MANY)]
    with Client(api.url, key) as ours:
        batch = ours.create_batch_of(many, BatchOptions(name="all"))
        assert batch.counts.total == MANY
        opened = ours.create_batch(BatchOptions(seal=False))
        assert len(ours.add_items_of(opened.id, many[:3]).accepted) == 3
        assert [one.code for one in ours.add_items_of(opened.id, many[:3]).rejected] == ["duplicate_custom_id"] * 3
    with db.transaction() as tx:
        assert tx.scalar(select(func.count()).where(Job.batch_id == batch.id, Job.tag == 0)) == MANY
