"""What a client sees of a job that goes on and ends, and its result."""

import hashlib
from typing import Any

import httpx
import pytest

from api.store import store
from cleanplate import db
from cleanplate.models import Job
from cleanplate.states import State
from tests.api import Api, problem
from tests.intake import send

RESULT = b"the erased picture"
SHA256 = hashlib.sha256(RESULT).hexdigest()


def bring(job_id: str, *states: str, **values: Any) -> None:
    """Bring a queued job through states as the workers would; ``values`` are columns of the last."""
    with db.transaction() as tx:
        row = tx.get_one(Job, job_id)
        for state in states:
            row.state, row.owner = state, "worker"
            if state == states[-1]:
                for name, value in values.items():
                    setattr(row, name, value)
            tx.flush()


def succeed(job_id: str) -> None:
    facts = {"width": 96, "height": 64, "format": "png", "bytes": len(RESULT), "sha256": SHA256}
    result = {**facts, "outside_mask_max_delta": 0}
    store().put(f"results/{job_id}.png", RESULT, media_type="image/png")
    path = ("claimed", "sending", "inflight", "ready", "succeeded")
    bring(job_id, *path, result_key=f"results/{job_id}.png", result=result)


def test_a_result_is_served_once_it_is_there(client: httpx.Client) -> None:
    job_id = send(client, custom_id="sofa/grün").json()["id"]
    problem(client.get(f"/v1/jobs/{job_id}/result"), 409, "not_finished")
    succeed(job_id)
    response = client.get(f"/v1/jobs/{job_id}/result")
    assert response.status_code == 200
    assert response.content == RESULT
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-length"] == str(len(RESULT))
    assert response.headers["etag"] == f'"{SHA256}"'
    assert response.headers["content-disposition"].startswith('attachment; filename="sofa_gr')
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert job["status"] == "succeeded"
    assert client.get(job["result"]["url"]).content == RESULT


def test_a_result_that_the_client_has_is_not_sent_again(client: httpx.Client) -> None:
    job_id = send(client).json()["id"]
    succeed(job_id)
    response = client.get(f"/v1/jobs/{job_id}/result", headers={"If-None-Match": f'W/"x", "{SHA256}"'})
    assert (response.status_code, response.content) == (304, b"")


def test_a_result_that_was_removed_has_expired(api: Api, client: httpx.Client) -> None:
    job_id = send(client).json()["id"]
    succeed(job_id)
    (api.objects / f"results/{job_id}.png").unlink()
    problem(client.get(f"/v1/jobs/{job_id}/result"), 410, "result_expired")


def test_a_failed_job_has_an_error_and_no_result(client: httpx.Client) -> None:
    job_id = send(client).json()["id"]
    bring(job_id, "claimed", "failed", error_code="input_missing", error_detail="gone")
    problem(client.get(f"/v1/jobs/{job_id}/result"), 409, "no_result")
    assert client.get(f"/v1/jobs/{job_id}").json()["error"] == {"code": "input_missing", "detail": "gone"}


def test_a_store_with_addresses_is_where_the_client_is_sent(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = send(client).json()["id"]
    succeed(job_id)
    kind = type(store())
    monkeypatch.setattr(
        kind, "presign", lambda _self, key, *, filename, ttl_seconds: f"https://s3/{key}?{filename}&{ttl_seconds}"
    )
    response = client.get(f"/v1/jobs/{job_id}/result")
    assert response.status_code == 302
    assert response.headers["location"] == f"https://s3/results/{job_id}.png?{job_id}.png&3600"
    store().delete([f"results/{job_id}.png"])
    problem(client.get(f"/v1/jobs/{job_id}/result"), 410, "result_expired")


def test_states_are_seen_as_the_contract_names_them(client: httpx.Client) -> None:
    job_id = send(client).json()["id"]
    bring(job_id, "claimed", "sending", "unconfirmed")
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["stage"]) == ("processing", State.UNCONFIRMED)
