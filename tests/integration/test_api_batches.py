import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from cleanplate import db, ids, jobs
from cleanplate.jobs import Change
from cleanplate.models import Account, Batch, Delivery, Job, JobEvent
from cleanplate.outcomes import ErrorCode
from cleanplate.resources import Accepted, BatchOptions
from cleanplate.resources import Batch as BatchResource
from cleanplate.states import State
from tests import pictures
from tests.api import Api, problem

IMAGE = pictures.encoded(pictures.scene(), "JPEG")
MASK = pictures.encoded(pictures.mask_image())
BAD_MASK = pictures.encoded(pictures.mask_image((97, 64)))
Files = list[tuple[str, tuple[str, bytes]]]


def pairs(*names: str, mask: bytes = MASK) -> Files:
    return [("files", file) for name in names for file in ((f"{name}.jpg", IMAGE), (f"{name}_mask.png", mask))]


def create(client: httpx.Client, files: Files, **options: Any) -> httpx.Response:
    form: list[tuple[str, tuple[str | None, bytes | str]]] = [*files]
    if options:
        form.append(("options", (None, json.dumps(options))))
    return client.post("/v1/batches", files=form)


def created(client: httpx.Client, files: Files, **options: Any) -> BatchResource:
    response = create(client, files, **options)
    assert response.status_code == 202, response.text
    return BatchResource.model_validate_json(response.content)


def opened(client: httpx.Client, **options: Any) -> str:
    return created(client, [], seal=False, **options).id


def add(client: httpx.Client, batch_id: str, files: Files) -> Accepted:
    response = client.post(f"/v1/batches/{batch_id}/items", files=files)
    assert response.status_code == 202, response.text
    return Accepted.model_validate_json(response.content)


def rejections(batch: BatchResource | Accepted) -> set[tuple[str, str]]:
    return {(one.item, one.code) for one in batch.rejected}


def fail_all(batch_id: str) -> None:
    """End every job of a batch as a worker would."""
    queued, claimed = frozenset({State.QUEUED}), frozenset({State.CLAIMED})
    values = {"error_code": ErrorCode.WORKER_CRASHED, "error_detail": "test"}
    with db.transaction() as tx:
        found = tx.scalars(select(Job.id).where(Job.batch_id == batch_id)).all()
        jobs.apply(tx, [Change(id_, queued, State.CLAIMED, "claimed", values={"owner": "w"}) for id_ in found])
        jobs.apply(tx, [Change(id_, claimed, State.FAILED, "test", values=values) for id_ in found])


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


def test_items_come_to_an_open_batch_until_it_is_sealed(client: httpx.Client) -> None:
    batch_id = opened(client, params={"output_format": "jpeg"}, mask_suffix="-m")
    assert client.get(f"/v1/batches/{batch_id}").json()["status"] == "open"
    first = add(client, batch_id, [("files", ("a.jpg", IMAGE)), ("files", ("a-m.png", MASK))])
    second = add(client, batch_id, [("files", ("b.jpg", IMAGE)), ("files", ("b-m.png", MASK))])
    assert [(job.custom_id, job.position) for job in first.accepted + second.accepted] == [("a", 0), ("b", 1)]
    assert second.accepted[0].params.output_format == "jpeg"
    assert second.batch.counts.total == 2
    sealed = client.post(f"/v1/batches/{batch_id}/seal")
    assert (sealed.status_code, sealed.json()["status"]) == (200, "processing")
    assert client.post(f"/v1/batches/{batch_id}/seal").json() == sealed.json()
    problem(client.post(f"/v1/batches/{batch_id}/items", files=pairs("c")), 409, "batch_sealed")


def test_a_repeated_upload_makes_no_second_job_and_is_no_rejection_of_the_batch(api: Api, client: httpx.Client) -> None:
    batch_id = opened(client, atomic=True)
    add(client, batch_id, pairs("a", "b"))
    before = api.stored()
    again = add(client, batch_id, pairs("a", "b"))
    assert again.accepted == []
    assert rejections(again) == {("a.jpg", "duplicate_custom_id"), ("b.jpg", "duplicate_custom_id")}
    assert again.batch.counts.total == 2
    assert again.batch.rejected == []
    assert api.stored() == before
    assert [job.custom_id for job in add(client, batch_id, pairs("b", "c")).accepted] == ["c"]


def test_a_bad_item_is_kept_in_the_batchs_rejections_once(client: httpx.Client) -> None:
    batch_id = opened(client)
    for _ in range(2):
        answer = add(client, batch_id, pairs("small", mask=BAD_MASK))
    assert rejections(answer) == {("small.jpg", "mask_size_mismatch")}
    assert [one.item for one in answer.batch.rejected] == ["small.jpg"]


def test_ten_clients_that_send_the_same_items_at_once_make_them_once(api: Api) -> None:
    with api.client() as client:
        batch_id = opened(client)
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: add(client, batch_id, pairs("a", "b", "c")), range(10)))
        accepted = [job.custom_id for answer in answers for job in answer.accepted]
        assert sorted(accepted, key=str) == ["a", "b", "c"]
        batch = client.get(f"/v1/batches/{batch_id}").json()
        assert batch["counts"]["total"] == 3
        found = client.get(f"/v1/batches/{batch_id}/jobs").json()["data"]
        assert sorted(job["position"] for job in found) == [0, 1, 2]


def test_items_that_come_while_the_batch_is_sealed_are_in_it_or_refused(api: Api) -> None:
    with api.client() as client, ThreadPoolExecutor(8) as pool:
        batch_id = opened(client)
        adding = [
            pool.submit(client.post, f"/v1/batches/{batch_id}/items", files=pairs(str(number))) for number in range(7)
        ]
        sealing = pool.submit(client.post, f"/v1/batches/{batch_id}/seal")
        taken = [future.result() for future in adding]
        assert sealing.result().status_code == 200
        assert {response.status_code for response in taken} <= {202, 409}
        total = client.get(f"/v1/batches/{batch_id}").json()["counts"]["total"]
        assert total == sum(response.status_code == 202 for response in taken)
        assert len(client.get(f"/v1/batches/{batch_id}/jobs").json()["data"]) == total


def test_sealing_ends_a_batch_that_has_nothing_left_to_do_and_tells_its_webhook(client: httpx.Client) -> None:
    batch = created(client, [], seal=False, webhook_url="https://example.com/hooks")
    assert batch.webhook_secret is not None
    add(client, batch.id, pairs("a"))
    fail_all(batch.id)
    assert client.get(f"/v1/batches/{batch.id}").json()["status"] == "open"
    sealed = client.post(f"/v1/batches/{batch.id}/seal").json()
    assert sealed["status"] == "completed"
    assert sealed["counts"] == {"total": 1, "queued": 0, "processing": 0, "succeeded": 0, "failed": 1, "cancelled": 0}
    assert sealed["webhook_secret"] is None
    client.post(f"/v1/batches/{batch.id}/seal")
    with db.transaction() as tx:
        row = tx.get_one(Batch, batch.id)
        kinds = tx.scalars(select(Delivery.event_type).where(Delivery.endpoint_id == row.endpoint_id)).all()
    assert sorted(kinds) == ["batch.completed", "job.failed"]


def test_sealing_an_empty_batch_ends_it(client: httpx.Client) -> None:
    assert client.post(f"/v1/batches/{opened(client)}/seal").json()["status"] == "completed"


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
