"""Batches that are open: items come until they are sealed, once each, whoever sends them."""

from concurrent.futures import ThreadPoolExecutor

import httpx
from sqlalchemy import select

from cleanplate import db, jobs
from cleanplate.jobs import Change
from cleanplate.models import Batch, Delivery, Job
from cleanplate.outcomes import ErrorCode
from cleanplate.states import State
from tests.api import Api, problem
from tests.intake import add, created, opened, pairs, rejections
from tests.pictures import BAD_MASK, IMAGE, MASK


def fail_all(batch_id: str) -> None:
    """End every job of a batch as a worker would."""
    queued, claimed = frozenset({State.QUEUED}), frozenset({State.CLAIMED})
    values = {"error_code": ErrorCode.WORKER_CRASHED, "error_detail": "test"}
    with db.transaction() as tx:
        found = tx.scalars(select(Job.id).where(Job.batch_id == batch_id)).all()
        jobs.apply(tx, [Change(id_, queued, State.CLAIMED, "claimed", values={"owner": "w"}) for id_ in found])
        jobs.apply(tx, [Change(id_, claimed, State.FAILED, "test", values=values) for id_ in found])


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
