"""Cancelling over REST: what the answer says, again and again, and who is refused."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api import cancel as calls
from cleanplate import cancel, db, ids, jobs
from cleanplate.api_keys import Scope
from cleanplate.cancelled import CancelledBatch, CancelledJob
from cleanplate.jobs import Change
from cleanplate.states import HOLDS_SLOT, State
from tests import rows
from tests.api import Api, problem
from tests.pictures import IMAGE, MASK
from tests.threads import at_once


@pytest.fixture
def made(tenant_id: str) -> Callable[..., str]:
    """Makes a single job of the client's in a state."""

    def make(state: State = State.QUEUED, **columns: Any) -> str:
        with db.transaction() as tx:
            return rows.job(tx, state, tenant_id=tenant_id, **columns)

    return make


@pytest.fixture
def batch_of(tenant_id: str) -> Callable[..., tuple[str, list[str]]]:
    """Makes a batch of the client's with jobs in these states."""

    def make(*states: State, **columns: Any) -> tuple[str, list[str]]:
        with db.transaction() as tx:
            batch_id = rows.batch(tx, len(states), tenant_id=tenant_id, **columns)
            return batch_id, [rows.job(tx, state, tenant_id=tenant_id, batch_id=batch_id) for state in states]

    return make


def cancel_job(client: httpx.Client, job_id: str, **how: str) -> CancelledJob:
    response = client.post(f"/v1/jobs/{job_id}/cancel", params=how)
    assert response.status_code == 200, response.text
    return CancelledJob.model_validate_json(response.content)


def cancel_batch(client: httpx.Client, batch_id: str, **how: str) -> CancelledBatch:
    response = client.post(f"/v1/batches/{batch_id}/cancel", params=how)
    assert response.status_code == 200, response.text
    return CancelledBatch.model_validate_json(response.content)


def saved(answer: CancelledJob | CancelledBatch) -> tuple[int, float, int, str]:
    return answer.saved.stopped, answer.saved.credits, answer.saved.in_flight, answer.saved.in_flight_policy


def fail(job_id: str) -> None:
    values = {"error_code": "upstream_error", "error_detail": "test"}
    with db.transaction() as tx:
        assert jobs.apply(tx, [Change(job_id, frozenset({State.INFLIGHT}), State.FAILED, "test", values=values)])


def test_a_queued_job_is_cancelled_for_nothing_and_again_saves_nothing_more(
    client: httpx.Client, made: Callable[..., str]
) -> None:
    job_id = made()
    first, again = cancel_job(client, job_id), cancel_job(client, job_id)
    assert (first.status, first.stage, first.cost_credits) == ("cancelled", "cancelled", 0.0)
    assert saved(first) == (1, 5.0, 0, "finish")
    assert saved(again) == (0, 0.0, 0, "finish")
    problem(client.get(f"/v1/jobs/{job_id}/result"), 409, "no_result")


@pytest.mark.parametrize("state", [*sorted(HOLDS_SLOT), State.READY])
def test_a_job_in_flight_is_finished_and_again_says_the_same(
    client: httpx.Client, made: Callable[..., str], state: State
) -> None:
    job_id = made(state)
    for _ in range(2):
        answer = cancel_job(client, job_id)
        assert (answer.stage, *saved(answer)) == (state, 0, 0.0, 1, "finish")


def test_a_job_that_was_finished_after_it_was_cancelled_may_be_cancelled_again(
    client: httpx.Client, made: Callable[..., str]
) -> None:
    job_id = made(State.INFLIGHT)
    cancel_job(client, job_id)
    fail(job_id)
    answer = cancel_job(client, job_id, in_flight="abandon")
    assert (answer.status, *saved(answer)) == ("failed", 0, 0.0, 0, "finish")


def test_an_abandoned_job_goes_on_until_its_slot_is_free_and_one_that_is_ready_ends_at_once(
    client: httpx.Client, made: Callable[..., str]
) -> None:
    flying, ready = made(State.INFLIGHT), made(State.READY)
    answer = cancel_job(client, flying, in_flight="abandon")
    assert (answer.stage, *saved(answer)) == ("inflight", 0, 0.0, 1, "abandon")
    answer = cancel_job(client, ready, in_flight="abandon")
    assert (answer.status, answer.cost_credits, *saved(answer)) == ("cancelled", 5.0, 0, 0.0, 1, "abandon")


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
def test_a_job_that_ended_by_itself_cannot_be_cancelled(
    client: httpx.Client, made: Callable[..., str], state: State
) -> None:
    told = problem(client.post(f"/v1/jobs/{made(state)}/cancel"), 409, "already_finished")
    assert "job" in told["detail"]


def test_a_batch_stops_and_says_what_that_saves(
    client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]]
) -> None:
    batch_id, (*_, flying, _) = batch_of(State.QUEUED, State.QUEUED, State.CLAIMED, State.INFLIGHT, State.READY)
    first = cancel_batch(client, batch_id)
    assert (first.status, first.counts.cancelled, first.counts.processing) == ("processing", 3, 2)
    assert first.cancel_requested_at is not None
    assert saved(first) == (3, 15.0, 2, "finish")
    assert saved(cancel_batch(client, batch_id)) == (0, 0.0, 2, "finish")
    assert saved(cancel_batch(client, batch_id, in_flight="abandon")) == (0, 0.0, 2, "abandon")
    assert saved(cancel_batch(client, batch_id)) == (0, 0.0, 1, "abandon")
    fail(flying)
    last = cancel_batch(client, batch_id)
    assert (last.status, last.counts.cancelled, last.cost_credits) == ("cancelled", 5, 10.0)
    assert last.cancel_requested_at == first.cancel_requested_at
    assert client.get(f"/v1/batches/{batch_id}").json()["status"] == "cancelled"


def test_what_the_request_has_no_time_for_is_counted_in_its_answer_and_left_to_the_sweep(
    client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "REQUEST_SECONDS", 0.0)
    batch_id, _ = batch_of(*[State.QUEUED] * 7, State.INFLIGHT)
    answer = cancel_batch(client, batch_id)
    assert (answer.counts.queued, *saved(answer)) == (7, 7, 35.0, 1, "finish")
    with db.transaction() as tx:
        assert batch_id in tx.scalars(cancel.unheeded()).all()
    assert len(cancel.carry_on(batch_id, 60.0).unsent) == 7


def test_nothing_more_comes_to_a_cancelled_batch(client: httpx.Client) -> None:
    options = {"options": (None, json.dumps({"seal": False}))}
    batch_id = client.post("/v1/batches", files=options).json()["id"]
    files = [("files", ("a.jpg", IMAGE)), ("files", ("a_mask.png", MASK))]
    assert client.post(f"/v1/batches/{batch_id}/items", files=files).status_code == 202
    answer = cancel_batch(client, batch_id)
    assert (answer.status, saved(answer)[0]) == ("cancelled", 1)
    late = [("files", ("b.jpg", IMAGE)), ("files", ("b_mask.png", MASK))]
    problem(client.post(f"/v1/batches/{batch_id}/items", files=late), 409, "batch_cancelled")
    assert client.post(f"/v1/batches/{batch_id}/seal").json()["status"] == "cancelled"


def test_a_batch_that_completed_cannot_be_cancelled(
    client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]]
) -> None:
    batch_id, (job_id,) = batch_of(State.INFLIGHT)
    fail(job_id)
    problem(client.post(f"/v1/batches/{batch_id}/cancel"), 409, "already_finished")
    assert client.get(f"/v1/batches/{batch_id}").json()["status"] == "completed"


def test_a_batch_whose_jobs_were_cancelled_one_by_one_is_cancelled(
    client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]]
) -> None:
    batch_id, job_ids = batch_of(State.QUEUED, State.CLAIMED)
    for job_id in job_ids:
        cancel_job(client, job_id)
    answer = cancel_batch(client, batch_id)
    assert (answer.status, answer.cancel_requested_at, *saved(answer)) == ("cancelled", None, 0, 0.0, 0, "finish")


@pytest.mark.parametrize(("what", "kind"), [("jobs", ids.Kind.JOB), ("batches", ids.Kind.BATCH)])
def test_who_may_not_cancel_changes_nothing(
    api: Api,
    client: httpx.Client,
    made: Callable[..., str],
    batch_of: Callable[..., tuple[str, list[str]]],
    what: str,
    kind: ids.Kind,
) -> None:
    id_ = made() if what == "jobs" else batch_of(State.QUEUED)[0]
    path = f"/v1/{what}/{id_}/cancel"
    with api.client() as stranger, api.client(Scope.READ) as reader, api.anonymous() as nobody:
        problem(stranger.post(path), 404, "not_found")
        problem(reader.post(path), 403, "forbidden_scope")
        problem(nobody.post(path), 401, "missing_key")
    problem(client.post(f"/v1/{what}/{ids.new(kind)}/cancel"), 404, "not_found")
    problem(client.post(path, params={"in_flight": "stop"}), 422, "validation_failed")
    problem(client.post(path, params={"inflight": "abandon"}), 400, "unknown_parameter")
    assert saved(cancel_job(client, id_) if what == "jobs" else cancel_batch(client, id_))[0] == 1


def test_ten_at_once_stop_each_job_once(client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]]) -> None:
    batch_id, _ = batch_of(*[State.QUEUED] * 40)
    answers = at_once([lambda: cancel_batch(client, batch_id)] * 10)
    assert {answer.saved.in_flight for answer in answers} == {0}
    assert cancel_batch(client, batch_id).counts.cancelled == 40


def test_a_batch_that_is_deleted_while_it_is_cancelled_is_there_no_more(
    client: httpx.Client, batch_of: Callable[..., tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id, _ = batch_of(State.QUEUED)
    carry_on = cancel.carry_on

    def overtaken(*given: Any) -> cancel.Stopped:
        done = carry_on(*given)
        assert client.delete(f"/v1/batches/{batch_id}").status_code == 204
        return done

    monkeypatch.setattr(cancel, "carry_on", overtaken)
    problem(client.post(f"/v1/batches/{batch_id}/cancel"), 404, "not_found")
