"""Batches of files: what is taken, what is rejected and told, and how they are listed."""

import json
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import select

from cleanplate import db, ids, jobs
from cleanplate.jobs import Change
from cleanplate.models import Account, Batch, Job, JobEvent
from cleanplate.resources import Batch as BatchResource
from cleanplate.resources import BatchOptions
from cleanplate.states import State
from tests.api import Api, problem
from tests.intake import Files, create, created, opened, pairs, rejections
from tests.pictures import BAD_MASK, IMAGE, MASK


def test_pairs_become_jobs_in_the_order_of_their_names(api: Api, client: httpx.Client) -> None:
    response = create(client, pairs("b", "a"), name="spring", priority=9, params={"dilate_pixels": 3}, reuse=False)
    batch = BatchResource.model_validate_json(response.content)
    assert response.headers["location"] == f"/v1/batches/{batch.id}"
    assert (batch.name, batch.status, batch.rejected) == ("spring", "processing", [])
    assert (batch.counts.total, batch.counts.queued) == (2, 2)
    assert batch.quote_credits == 10.0
    assert batch.sealed_at is not None
    found = client.get(f"/v1/batches/{batch.id}/jobs").json()["data"]
    assert [(job["custom_id"], job["position"]) for job in found] == [("a", 0), ("b", 1)]
    assert {job["params"]["dilate_pixels"] for job in found} == {3}
    with db.transaction() as tx:
        rows = tx.scalars(select(Job).where(Job.batch_id == batch.id).order_by(Job.tag)).all()
        assert tx.get_one(Batch, batch.id).priority == 9
        events = tx.scalars(select(JobEvent).where(JobEvent.job_id.in_([row.id for row in rows]))).all()
    assert [row.custom_id for row in rows] == ["a", "b"]
    assert [(event.state, event.reason) for event in events] == [("queued", "accepted")] * 2
    assert {key for row in rows for key in (row.image_key, row.mask_key, row.send_image_key)} <= api.stored()
    assert client.get(f"/v1/batches/{batch.id}").json() == json.loads(response.content)


def test_what_cannot_be_worked_on_is_rejected_and_the_rest_goes_on(client: httpx.Client) -> None:
    files = pairs("good") + pairs("small", mask=BAD_MASK)
    files += [("files", ("alone.jpg", IMAGE)), ("files", ("nobody_mask.png", MASK)), ("files", (".DS_Store", b"x"))]
    files += [("files", ("Twin.JPG", IMAGE)), ("files", ("twin.png", IMAGE)), ("files", ("twin_mask.png", MASK))]
    files += [("files", ("big.jpg", bytes(100_001))), ("files", ("big_mask.png", MASK))]
    batch = created(client, files)
    assert batch.counts.total == 1
    assert rejections(batch) == {
        ("small.jpg", "mask_size_mismatch"),
        ("alone.jpg", "missing_mask"),
        ("nobody_mask.png", "missing_image"),
        (".DS_Store", "ignored_file"),
        ("Twin.JPG", "ambiguous_pair"),
        ("twin.png", "ambiguous_pair"),
        ("twin_mask.png", "ambiguous_pair"),
        ("big.jpg", "file_too_large"),
    }
    assert rejections(BatchResource.model_validate_json(client.get(f"/v1/batches/{batch.id}").content)) == rejections(
        batch
    )


def test_names_pair_across_case_and_unicode_forms_and_folders_count(client: httpx.Client) -> None:
    files: Files = [
        ("files", ("a/gru\u0308n.JPG", IMAGE)),
        ("files", ("a/GR\u00dcN_MASK.PNG", MASK)),
        ("files", ("b/grün.jpg", IMAGE)),
        ("files", ("b/grün-m.png", MASK)),
    ]
    batch = created(client, files)
    assert batch.counts.total == 1
    assert rejections(batch) == {("b/grün.jpg", "missing_mask"), ("b/grün-m.png", "missing_mask")}
    (job,) = client.get(f"/v1/batches/{batch.id}/jobs").json()["data"]
    assert job["custom_id"] == "a/gr\u00fcn"
    batch = created(client, files[2:], mask_suffix="-m")
    assert batch.counts.total == 1


def test_an_atomic_batch_is_taken_whole_or_not_at_all(api: Api, client: httpx.Client) -> None:
    before = api.stored()
    files = pairs("good") + pairs("small", mask=BAD_MASK) + [("files", ("Thumbs.db", b"x"))]
    told = problem(create(client, files, atomic=True), 422, "batch_rejected")
    assert [(error["item"], error["code"]) for error in told["errors"]] == [("small.jpg", "mask_size_mismatch")]
    assert client.get("/v1/batches").json()["data"] == []
    assert api.stored() == before
    assert created(client, [*pairs("good"), ("files", ("Thumbs.db", b"x"))], atomic=True).counts.total == 1


def test_a_batch_of_nothing_is_refused(api: Api, client: httpx.Client) -> None:
    before = api.stored()
    told = problem(create(client, pairs("small", mask=BAD_MASK)), 422, "no_valid_items")
    assert [error["item"] for error in told["errors"]] == ["small.jpg"]
    problem(create(client, [], name="empty"), 422, "no_valid_items")
    assert api.stored() == before


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ('{"priority": 10}', "#/options/priority"),
        ('{"params": {"dilate_pixels": -1}}', "#/options/params/dilate_pixels"),
        ('{"colour": "red"}', "#/options/colour"),
        ("{", "#/options"),
        ("[]", "#/options"),
    ],
)
def test_bad_options_are_pointed_at(client: httpx.Client, options: str, pointer: str) -> None:
    told = problem(client.post("/v1/batches", files=[("options", (None, options))]), 422, "validation_failed")
    assert [error["pointer"] for error in told["errors"]] == [pointer]


def test_a_form_with_more_than_that_is_refused(client: httpx.Client) -> None:
    told = problem(client.post("/v1/batches", files={"images": ("a.jpg", IMAGE)}), 422, "validation_failed")
    assert told["errors"][0]["pointer"] == "#/images"
    batch_id = opened(client)
    form = {"options": (None, "{}")}
    problem(client.post(f"/v1/batches/{batch_id}/items", files=form), 422, "validation_failed")


def test_more_files_than_one_request_may_have_are_refused(client: httpx.Client) -> None:
    problem(create(client, [("files", (f"{n}.jpg", b"")) for n in range(61)]), 413, "too_many_files")


def test_a_batch_remembers_its_options(client: httpx.Client) -> None:
    options = BatchOptions(name="x", seal=False, priority=1, webhook_url="https://example.com/hooks")
    batch = created(client, [], **options.model_dump())
    assert batch.options == options


def test_a_batch_that_ended_between_check_and_insert_leaves_no_half(client: httpx.Client) -> None:
    """Everything of a request is one transaction: a batch that cannot be written leaves no jobs."""
    with db.transaction() as tx:
        before = tx.scalars(select(Job.id)).all()
    problem(create(client, pairs("a"), name="nul \0 name"), 422, "unstorable_text")
    with db.transaction() as tx:
        assert tx.scalars(select(Job.id)).all() == before


def test_batches_are_listed_newest_first_in_pages(client: httpx.Client) -> None:
    made = [opened(client, name=str(number)) for number in range(3)]
    first = client.get("/v1/batches", params={"limit": 2}).json()
    rest = client.get("/v1/batches", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [batch["id"] for batch in first["data"] + rest["data"]] == made[::-1]
    assert rest["next_cursor"] is None
    since = datetime.now(UTC).isoformat()
    assert client.get("/v1/batches", params={"created_after": since}).json()["data"] == []


def test_a_batchs_jobs_are_listed_in_order_in_pages_and_by_filters(client: httpx.Client) -> None:
    batch = created(client, pairs("a", "b", "c"))
    path = f"/v1/batches/{batch.id}/jobs"
    first = client.get(path, params={"limit": 2}).json()
    rest = client.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [job["custom_id"] for job in first["data"] + rest["data"]] == ["a", "b", "c"]
    found = client.get(path, params={"custom_id": "b", "status": "queued"}).json()["data"]
    assert [job["custom_id"] for job in found] == ["b"]


def test_counts_and_the_time_left_are_live(client: httpx.Client) -> None:
    batch = created(client, pairs("a", "b"))
    with db.transaction() as tx:
        tx.add(Account(name="default", cap=24, allowed=4, latency_seconds=8.0))
        first = tx.scalars(select(Job.id).where(Job.batch_id == batch.id).limit(1)).one()
        jobs.apply(tx, [Change(first, frozenset({State.QUEUED}), State.CLAIMED, "claimed", values={"owner": "w"})])
    told = client.get(f"/v1/batches/{batch.id}").json()
    with db.transaction() as tx:
        tx.delete(tx.get_one(Account, "default"))
    assert told["counts"] == {"total": 2, "queued": 1, "processing": 1, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert told["eta_seconds"] == 12.0


def test_a_batch_that_is_not_there_is_not_found(client: httpx.Client) -> None:
    missing = ids.new(ids.Kind.BATCH)
    for method, path in (("GET", ""), ("GET", "/jobs"), ("POST", "/seal")):
        problem(client.request(method, f"/v1/batches/{missing}{path}"), 404, "not_found")
    problem(client.post(f"/v1/batches/{missing}/items", files=pairs("a")), 404, "not_found")
