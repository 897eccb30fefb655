"""What is deleted or was kept for long enough goes: rows at once, pictures soon after, whatever dies in between."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from api import admission, intake
from api import deletion as calls
from api.errors import Problem
from api.store import store as api_store
from cleanplate import db, deletion, ids
from cleanplate.api_keys import Scope
from cleanplate.models import Attempt, Base, Delivery, Job, JobEvent
from cleanplate.states import TERMINAL, State
from cleanplate.storage import StoreUnavailable
from tests import rows
from tests.api import Api, problem
from tests.servers import wait_until
from worker import purge, sweep
from worker.sweep import Sweeper

NAME = "a-name-of-a-person"


@pytest.fixture
def made(tenant_id: str) -> Callable[..., str]:
    """Makes a job with names in all places, and its pictures in the store."""

    def make(state: State = State.SUCCEEDED, *, days_ago: float = 0.0, **columns: Any) -> str:
        ended = {"finished_at": func.now() - timedelta(days=days_ago)} if state in TERMINAL else {}
        told = {"custom_id": NAME, "meta": {"who": NAME}, "warnings": [NAME], "error_detail": NAME}
        with db.transaction() as tx:
            job_id = rows.job(tx, state, tenant_id=tenant_id, **told | ended | columns)
            tx.add(JobEvent(job_id=job_id, state=state, reason=NAME))
            for attempt in tx.scalars(select(Attempt).where(Attempt.job_id == job_id)):
                attempt.detail = NAME
            endpoint_id = rows.deaf_endpoint(tx, tenant_id=tenant_id)
            tx.add(_delivery(tenant_id, endpoint_id, job_id))
            job = tx.get_one(Job, job_id)
            keys = {job.image_key, job.mask_key, job.send_image_key, job.result_key} - {None}
        for key in keys:
            api_store().put(str(key), bytes(100), media_type="image/png")
        return job_id

    return make


@pytest.fixture
def batch_of(tenant_id: str, made: Callable[..., str]) -> Callable[..., tuple[str, list[str]]]:
    def make(count: int = 1, **columns: Any) -> tuple[str, list[str]]:
        with db.transaction() as tx:
            told = {"name": NAME, "rejected": [{"item": NAME, "code": "missing_mask", "detail": ""}]}
            batch_id = rows.batch(tx, count, tenant_id=tenant_id, **told | {"finished_at": func.now()} | columns)
            tx.add(_delivery(tenant_id, rows.deaf_endpoint(tx, tenant_id=tenant_id), batch_id))
        return batch_id, [made(batch_id=batch_id, custom_id=f"{NAME}-{number}") for number in range(count)]

    return make


def _delivery(tenant_id: str, endpoint_id: str, subject_id: str) -> Delivery:
    return Delivery(
        id=ids.new(ids.Kind.DELIVERY),
        tenant_id=tenant_id,
        endpoint_id=endpoint_id,
        event_id="evt_1",
        event_type="job.succeeded",
        subject_id=subject_id,
        body=f'{{"data": {{"custom_id": "{NAME}"}}}}',
    )


def purge_all() -> None:
    while purge.purge(api_store(), None, limit=3):
        pass


def dump(*about: str) -> str:
    """Return all rows of the database that name one of these ids, as text."""
    with db.transaction() as tx:
        tables = [func.to_jsonb(table.table_valued()) for table in Base.metadata.sorted_tables]
        found = [str(row) for table in tables for row in tx.execute(select(table))]
    return "\n".join(row for row in found if any(id_ in row for id_ in about))


def test_a_deleted_job_is_nowhere_and_leaves_nothing_but_its_figures(
    api: Api, client: httpx.Client, made: Callable[..., str]
) -> None:
    job_id = made(cost_credits=5.0)
    usage = client.get("/v1/usage").json()["data"]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    for path in ("", "/history", "/result"):
        problem(client.get(f"/v1/jobs/{job_id}{path}"), 404, "not_found")
    problem(client.post(f"/v1/jobs/{job_id}/cancel"), 404, "not_found")
    problem(client.delete(f"/v1/jobs/{job_id}"), 404, "not_found")
    assert client.get("/v1/jobs").json()["data"] == []
    purge_all()
    assert not [key for key in api.stored() if job_id in key]
    assert NAME not in dump(job_id)
    assert client.get("/v1/usage").json()["data"] == usage
    with db.transaction() as tx:
        assert tx.get_one(Job, job_id).purged_at is not None
        assert tx.scalar(select(Delivery.state).where(Delivery.subject_id == job_id)) == "failed"


def test_a_deleted_batch_goes_with_all_of_its_jobs(
    api: Api, client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]]
) -> None:
    batch_id, job_ids = batch_of(7)
    other_id, (kept,) = batch_of(1)
    assert client.delete(f"/v1/batches/{batch_id}").status_code == 204
    for path in ("", "/jobs", "/results.zip", "/results.csv", "/results.ndjson", "/events"):
        problem(client.get(f"/v1/batches/{batch_id}{path}"), 404, "not_found")
    for call in ("cancel", "seal"):
        problem(client.post(f"/v1/batches/{batch_id}/{call}"), 404, "not_found")
    problem(client.delete(f"/v1/batches/{batch_id}"), 404, "not_found")
    assert [batch["id"] for batch in client.get("/v1/batches").json()["data"]] == [other_id]
    assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == [kept]
    purge_all()
    assert not [key for key in api.stored() for job_id in job_ids if job_id in key]
    assert client.get(f"/v1/jobs/{kept}/result").status_code == 200
    assert client.delete(f"/v1/batches/{other_id}").status_code == 204
    purge_all()
    assert NAME not in dump(batch_id, other_id, kept, *job_ids)


def test_what_a_request_has_no_time_for_is_left_to_the_sweep(
    client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(deletion, "PAGE", 2)
    batch_id, job_ids = batch_of(5)
    assert client.delete(f"/v1/batches/{batch_id}").status_code == 204
    with db.transaction() as tx:
        assert tx.scalars(deletion.unfinished()).all() == [batch_id]
    deletion.carry_on(batch_id, 60.0)
    with db.transaction() as tx:
        assert tx.scalars(deletion.unfinished()).all() == []
        marked = select(func.count()).where(Job.id.in_(job_ids), Job.deleted_at.is_not(None))
        assert tx.scalar(marked) == 5


@pytest.mark.parametrize("state", sorted(set(State) - TERMINAL))
def test_what_is_under_way_is_not_deleted(
    client: httpx.Client, made: Callable[..., str], batch_of: Callable[..., tuple[str, list[str]]], state: State
) -> None:
    job_id = made(state)
    problem(client.delete(f"/v1/jobs/{job_id}"), 409, "not_finished")
    assert client.get(f"/v1/jobs/{job_id}").json()["custom_id"] == NAME
    batch_id, _ = batch_of(1, finished_at=None)
    problem(client.delete(f"/v1/batches/{batch_id}"), 409, "not_finished")


def test_who_may_not_delete_changes_nothing(
    api: Api, client: httpx.Client, made: Callable[..., str], batch_of: Callable[..., tuple[str, list[str]]]
) -> None:
    for path in (f"/v1/jobs/{made()}", f"/v1/batches/{batch_of()[0]}"):
        with api.client() as stranger, api.client(Scope.READ) as reader, api.anonymous() as nobody:
            problem(stranger.delete(path), 404, "not_found")
            problem(reader.delete(path), 403, "forbidden_scope")
            problem(nobody.delete(path), 401, "missing_key")
        assert client.get(path).status_code == 200


def test_a_store_that_is_away_loses_no_deletion(
    api: Api, client: httpx.Client, made: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = made()
    client.delete(f"/v1/jobs/{job_id}")

    def away(*_: Any) -> None:
        raise StoreUnavailable("test")

    with monkeypatch.context() as patch:
        patch.setattr(type(api_store()), "delete", away)
        with pytest.raises(StoreUnavailable):
            purge_all()
    assert [key for key in api.stored() if job_id in key]
    purge_all()
    assert not [key for key in api.stored() if job_id in key]


def test_pictures_are_kept_for_so_many_days_and_the_rows_stay(
    api: Api, client: httpx.Client, made: Callable[..., str]
) -> None:
    old, new = made(days_ago=31), made(days_ago=29)
    assert not purge.purge(api_store(), 30.0)
    assert not [key for key in api.stored() if old in key]
    problem(client.get(f"/v1/jobs/{old}/result"), 410, "result_expired")
    assert client.get(f"/v1/jobs/{old}").json()["custom_id"] == NAME
    assert client.get(f"/v1/jobs/{new}/result").status_code == 200
    assert client.delete(f"/v1/jobs/{old}").status_code == 204
    assert client.delete(f"/v1/jobs/{new}").status_code == 204
    purge_all()
    assert NAME not in dump(old, new)


def test_a_picture_that_another_job_shares_stays_until_that_goes_too(
    client: httpx.Client, made: Callable[..., str]
) -> None:
    first = made()
    with db.transaction() as tx:
        row = tx.get_one(Job, first)
        shared = {name: getattr(row, name) for name in (*purge.INPUTS, "result_key")}
    second = made(**shared)
    assert client.delete(f"/v1/jobs/{first}").status_code == 204
    purge_all()
    assert client.get(f"/v1/jobs/{second}/result").status_code == 200
    assert api_store().stat(shared["image_key"]) is not None
    assert client.delete(f"/v1/jobs/{second}").status_code == 204
    purge_all()
    assert [api_store().stat(key) for key in set(shared.values())] == [None] * len(set(shared.values()))


def test_the_sweep_goes_on_with_deletions(
    api: Api, client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(sweep, "TIDY_EVERY_SECONDS", 0.01)
    batch_id, (job_id,) = batch_of(1)
    assert client.delete(f"/v1/batches/{batch_id}").status_code == 204
    sweeper = Sweeper(on_death=pytest.fail)
    sweeper.start()
    wait_until(lambda: not [key for key in api.stored() if job_id in key])
    sweeper.end()
    sweeper.join()


def test_nothing_is_written_of_items_into_a_batch_that_was_deleted_while_they_came(
    client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]]
) -> None:
    batch_id, _ = batch_of(1)
    assert client.delete(f"/v1/batches/{batch_id}").status_code == 204
    with pytest.raises(Problem) as refused, db.transaction() as tx:
        admission.finish(tx, batch_id, [intake.reject(NAME, "missing_mask", "")], seal=True)
    assert refused.value.status == 404
