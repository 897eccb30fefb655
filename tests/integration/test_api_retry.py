"""Retrying over REST: what failed goes again once, with the same inputs and other params if wanted."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from api import retry
from cleanplate import db
from cleanplate.client import Client
from cleanplate.models import Batch, Job
from cleanplate.retrying import NewParams, Retrying, RetryingBatch
from cleanplate.states import State
from tests import rows
from tests.api import Api, problem
from tests.seen import row
from tests.threads import at_once

Made = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def batch_of(tenant_id: str) -> Made:
    """Makes a batch of the client's with jobs in these states."""

    def make(*states: State, **columns: Any) -> tuple[str, list[str]]:
        with db.transaction() as tx:
            whose = {"tenant_id": tenant_id}
            batch_id = rows.batch(tx, len(states), **whose, **columns)
            params = {"dilate_pixels": 7, "output_format": "webp"}
            its = {**whose, "batch_id": batch_id}
            return batch_id, [
                rows.job(tx, state, **its, custom_id=f"item {number}", params={**params, "seed": number})
                for number, state in enumerate(states)
            ]

    return make


def children(batch_id: str) -> list[Job]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Job).where(Job.batch_id == batch_id).order_by(Job.id)))


def test_what_failed_goes_again_as_a_child_with_the_same_inputs(client: httpx.Client, batch_of: Made) -> None:
    parent, ids = batch_of(
        State.SUCCEEDED, State.FAILED, State.CANCELLED, State.INFLIGHT, State.FAILED, name="spring", priority=7
    )
    answer = client.post(f"/v1/batches/{parent}/retry")
    assert answer.status_code == 202
    child = answer.json()
    assert answer.headers["location"] == f"/v1/batches/{child['id']}"
    assert (child["parent_id"], child["name"], child["counts"]["total"]) == (parent, "spring", 2)
    assert child["sealed_at"] is not None
    for position, (new, old) in enumerate(zip(children(child["id"]), [row(ids[1]), row(ids[4])], strict=True)):
        assert [getattr(new, name) for name in retry.COPIED] == [getattr(old, name) for name in retry.COPIED]
        assert (new.parent_id, new.params["dilate_pixels"], new.params["output_format"]) == (old.id, 7, "webp")
        assert (new.state, new.attempts, new.cost_credits, new.error_code) == ("queued", 0, 0.0, None)
        assert new.position == position
    told = client.get(f"/v1/batches/{child['id']}/jobs").json()["data"]
    assert [job["parent_id"] for job in told] == [ids[1], ids[4]]
    with db.transaction() as tx:
        assert tx.get_one(Batch, child["id"]).priority == 7


def test_params_change_where_they_are_named(client: httpx.Client, batch_of: Made) -> None:
    parent, _ = batch_of(State.FAILED)
    child = client.post(f"/v1/batches/{parent}/retry", json={"params": {"dilate_pixels": 30}}).json()
    (job,) = children(child["id"])
    assert (job.params["dilate_pixels"], job.params["output_format"]) == (30, "webp")


@pytest.mark.parametrize("params", [{"mask_invert": True}, {"output_format": "png"}, {"dilate_pixels": 101}])
def test_params_that_the_check_depended_on_do_not_change(
    client: httpx.Client, batch_of: Made, params: dict[str, Any]
) -> None:
    parent, _ = batch_of(State.FAILED)
    assert client.post(f"/v1/batches/{parent}/retry", json={"params": params}).status_code == 422


def test_what_was_cancelled_goes_on_request(client: httpx.Client, batch_of: Made) -> None:
    parent, ids = batch_of(State.CANCELLED, State.FAILED, State.SUCCEEDED)
    child = client.post(f"/v1/batches/{parent}/retry", json={"cancelled": True}).json()
    assert [job.parent_id for job in children(child["id"])] == ids[:2]


def test_a_child_has_limits_of_its_own(client: httpx.Client, batch_of: Made) -> None:
    parent, _ = batch_of(*[State.FAILED] * 3, budget_credits=5.0)
    limits = {"canary": 1, "budget_credits": 90}
    child = client.post(f"/v1/batches/{parent}/retry", json=limits).json()
    assert (child["held"], child["options"]["budget_credits"], child["options"]["canary"]) == ("canary", 90.0, 1)
    assert [job.state for job in children(child["id"])] == ["queued", "held", "held"]


def test_each_job_is_retried_once_and_what_fails_again_by_its_child(client: httpx.Client, batch_of: Made) -> None:
    parent, _ = batch_of(State.FAILED, State.SUCCEEDED)
    path = f"/v1/batches/{parent}/retry"
    answers = at_once([lambda: client.post(path)] * 5)
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 4}
    problem(client.post(path), 409, "nothing_to_retry")
    (first,) = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    (job,) = children(first)
    problem(client.post(f"/v1/jobs/{job.id}/retry"), 409, "nothing_to_retry")
    client.post(f"/v1/batches/{first}/cancel")
    grandchild = client.post(f"/v1/batches/{first}/retry", json={"cancelled": True}).json()
    assert (grandchild["parent_id"], children(grandchild["id"])[0].image_key) == (first, job.image_key)


def test_a_retry_of_a_job_and_of_its_batch_at_once_make_one_of_it(client: httpx.Client, batch_of: Made) -> None:
    parent, (job_id,) = batch_of(State.FAILED)
    answers = at_once(
        [lambda: client.post(f"/v1/batches/{parent}/retry"), lambda: client.post(f"/v1/jobs/{job_id}/retry")]
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409]


def test_one_job_becomes_a_single_job(client: httpx.Client, batch_of: Made) -> None:
    _, (failed, succeeded) = batch_of(State.FAILED, State.SUCCEEDED)
    answer = client.post(f"/v1/jobs/{failed}/retry", json={"params": {"fidelity": "raw"}})
    new = answer.json()
    assert (answer.status_code, new["batch_id"], new["parent_id"], new["status"]) == (202, None, failed, "queued")
    assert (new["params"]["fidelity"], new["params"]["dilate_pixels"]) == ("raw", 7)
    problem(client.post(f"/v1/jobs/{succeeded}/retry"), 409, "nothing_to_retry")


def test_more_than_a_page_is_retried_in_one_go(client: httpx.Client, batch_of: Made) -> None:
    parent, ids = batch_of(*[State.FAILED] * (retry.PAGE + 3))
    child = client.post(f"/v1/batches/{parent}/retry").json()
    made = children(child["id"])
    assert [job.parent_id for job in made] == ids
    assert [job.position for job in made] == list(range(len(ids)))
    assert len({job.tag for job in made}) == len(ids)


def test_the_client_retries(api: Api, client: httpx.Client, batch_of: Made) -> None:
    parent, (_, single) = batch_of(State.FAILED, State.FAILED)
    with Client(api.url, client.headers["authorization"].removeprefix("Bearer ")) as mine:
        assert mine.retry_job(single, Retrying()).parent_id == single
        child = mine.retry_batch(parent, RetryingBatch(params=NewParams(dilate_pixels=50)))
    assert (child.counts.total, child.options.params.dilate_pixels) == (1, 50)


@pytest.mark.parametrize("columns", [{"image": None, "mask": None}, {"purged_at": func.now()}])
def test_what_has_no_inputs_that_are_stored_is_not_retried(
    client: httpx.Client, batch_of: Made, columns: dict[str, Any]
) -> None:
    parent, (job_id, _) = batch_of(State.FAILED, State.FAILED)
    with db.transaction() as tx:
        tx.execute(update(Job).where(Job.id == job_id).values(columns))
    problem(client.post(f"/v1/jobs/{job_id}/retry"), 409, "nothing_to_retry")
    assert client.post(f"/v1/batches/{parent}/retry").json()["counts"]["total"] == 1


def test_what_is_deleted_is_neither_retried_nor_released(client: httpx.Client, batch_of: Made) -> None:
    parent, (job_id,) = batch_of(State.FAILED, failed=1, finished_at=func.now())
    assert client.delete(f"/v1/batches/{parent}").status_code == 204
    for path in (f"/v1/batches/{parent}/retry", f"/v1/batches/{parent}/release", f"/v1/jobs/{job_id}/retry"):
        problem(client.post(path), 404, "not_found")


def test_what_is_another_tenants_is_not_there(api: Api, batch_of: Made) -> None:
    parent, (job_id,) = batch_of(State.FAILED)
    with api.client() as stranger:
        problem(stranger.post(f"/v1/batches/{parent}/retry"), 404, "not_found")
        problem(stranger.post(f"/v1/jobs/{job_id}/retry"), 404, "not_found")
