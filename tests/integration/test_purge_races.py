"""Pictures that are purged while their job is retried, or that several purges share: none is lost, none is left."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from api import retry
from api.store import store as api_store
from cleanplate import db, deletion, reuse
from cleanplate.models import Job
from cleanplate.states import State
from cleanplate.storage import StoreUnavailable
from tests import rows
from tests.api import problem
from tests.threads import at_once
from worker import purge

DAYS = 30.0


def failed(tenant_id: str, *, days_ago: float = DAYS + 1, **columns: Any) -> str:
    """Make a job that failed so long ago, with its pictures in the store."""
    ended = {"finished_at": func.now() - timedelta(days=days_ago)}
    with db.transaction() as tx:
        job_id = rows.job(tx, State.FAILED, tenant_id=tenant_id, **ended | columns)
        keys = inputs(tx.get_one(Job, job_id))
    for key in keys:
        api_store().put(key, bytes(100), media_type="image/png")
    return job_id


def inputs(job: Job) -> set[str]:
    return {getattr(job, name) for name in purge.INPUTS}


def stored(job_id: str) -> bool:
    """Tell whether all inputs of the job are in the store; none or all of them are."""
    with db.transaction() as tx:
        keys = inputs(tx.get_one(Job, job_id))
    (answer,) = {api_store().stat(key) is not None for key in keys}
    return answer


def test_a_job_whose_purge_has_begun_is_not_retried(
    client: httpx.Client, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = failed(tenant_id)

    def away(*_: Any) -> None:
        problem(client.post(f"/v1/jobs/{job_id}/retry"), 409, "nothing_to_retry")
        raise StoreUnavailable("test")

    with monkeypatch.context() as patch:
        patch.setattr(type(api_store()), "delete", away)
        with pytest.raises(StoreUnavailable):
            purge.purge(api_store(), DAYS)
    assert stored(job_id)
    purge.purge(api_store(), DAYS)
    assert not stored(job_id)


def test_a_result_whose_purge_has_begun_is_reused_by_nobody(tenant_id: str) -> None:
    def shared() -> bool:
        with db.transaction() as tx:
            return bool(reuse.twins(tx, ["print"]))

    ended = {"finished_at": func.now(), "fingerprint": "print"}
    with db.transaction() as tx:
        job_id = rows.job(tx, State.SUCCEEDED, tenant_id=tenant_id, **ended)
    assert shared()
    with db.transaction() as tx:
        tx.get_one(Job, job_id).purge_begun_at = datetime.now(UTC)
    assert not shared()


@pytest.mark.parametrize("of", ["jobs", "batches"])
def test_a_job_that_is_being_retried_keeps_its_pictures(
    client: httpx.Client, tenant_id: str, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    with db.transaction() as tx:
        batch_id = rows.batch(tx, tenant_id=tenant_id)
    job_id = failed(tenant_id, batch_id=batch_id)
    insert = retry._insert

    def purged_before(*given: Any) -> list[str]:
        purge.purge(api_store(), DAYS)
        return insert(*given)

    monkeypatch.setattr(retry, "_insert", purged_before)
    client.post(f"/v1/{of}/{job_id if of == 'jobs' else batch_id}/retry").raise_for_status()
    with db.transaction() as tx:
        child = tx.scalars(select(Job.id).where(Job.parent_id == job_id)).one()
    purge.purge(api_store(), DAYS)
    assert stored(child)


def test_a_batch_that_is_retried_and_deleted_at_once_is_retried_whole_or_not_at_all(
    client: httpx.Client, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "PAGE", 2)
    monkeypatch.setattr(deletion, "PAGE", 2)
    with db.transaction() as tx:
        columns = {"tenant_id": tenant_id, "finished_at": func.now()}
        batch_id = rows.batch(tx, 9, failed=9, **columns)
    job_ids = [failed(tenant_id, days_ago=0.0, batch_id=batch_id) for _ in range(9)]
    retried, deleted = at_once(
        [lambda: client.post(f"/v1/batches/{batch_id}/retry"), lambda: client.delete(f"/v1/batches/{batch_id}")]
    )
    assert deleted.status_code == 204
    assert retried.status_code in {202, 404}
    while purge.purge(api_store(), None):
        pass
    with db.transaction() as tx:
        children = tx.scalars(select(Job.id).where(Job.parent_id.in_(job_ids))).all()
    assert len(children) == (9 if retried.status_code == 202 else 0)
    assert all(stored(child) for child in children)


def test_of_two_purges_at_once_one_deletes_what_their_jobs_share(
    tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = failed(tenant_id, days_ago=DAYS + 2)
    with db.transaction() as tx:
        shared = {name: getattr(tx.get_one(Job, first), name) for name in purge.INPUTS}
    second = failed(tenant_id, **shared)
    delete = type(api_store()).delete

    def overtaken(store: Any, keys: Iterable[str]) -> None:
        monkeypatch.setattr(type(store), "delete", delete)
        with db.transaction() as tx:
            tx.get_one(Job, first, with_for_update=True)
            purge.purge(store, DAYS, limit=1)
        delete(store, keys)

    monkeypatch.setattr(type(api_store()), "delete", overtaken)
    purge.purge(api_store(), DAYS, limit=1)
    with db.transaction() as tx:
        assert {tx.get_one(Job, job_id).purged_at is not None for job_id in (first, second)} == {True}
    assert not stored(second)
