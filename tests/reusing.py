"""The same pair sent to the API by one request and by another, and what came of it."""

import json
from typing import Any

import httpx

from api.store import store
from cleanplate import db
from cleanplate.states import State
from tests import pictures, rows
from tests.intake import pairs
from tests.pictures import IMAGE, MASK
from worker import twins

OTHER = pictures.encoded(pictures.scene(seed=1), "JPEG")
RESULT = b"the erased picture".ljust(rows.RESULT["bytes"])
PRICE = 5.0


def send(client: httpx.Client, image: bytes = IMAGE, **fields: str) -> dict[str, Any]:
    """Send one pair; return the job."""
    answer = client.post("/v1/jobs", files={"image": ("sofa.jpg", image), "mask": ("m.png", MASK)}, data=fields)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def send_batch(client: httpx.Client, *stems: str, dry_run: bool = False, **options: Any) -> dict[str, Any]:
    """Send a batch of one and the same pair under these names; return it, or the plan of a dry run."""
    query = {"dry_run": "true"} if dry_run else {}
    answer = client.post("/v1/batches", files=pairs(*stems), data={"options": json.dumps(options)}, params=query)
    assert answer.status_code in {200, 202}, answer.text
    return dict(answer.json())


def told(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """What a client sees of the job."""
    return dict(client.get(f"/v1/jobs/{job_id}").json())


def jobs_of(client: httpx.Client, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """What a client sees of the batch's jobs, in their order."""
    return list(client.get(f"/v1/batches/{batch['id']}/jobs").json()["data"])


def stages(client: httpx.Client, batch: dict[str, Any]) -> list[str]:
    """Where the batch's jobs stand, in their order."""
    return [job["stage"] for job in jobs_of(client, batch)]


def see_to_twins() -> None:
    """Do what the sweep does for those that follow, as often as there is something to do."""
    with db.transaction() as tx:
        rows.due_now(tx)
    watch = twins.Watch()
    while watch.see_to():
        pass


def end(job_id: str, state: State = State.SUCCEEDED) -> None:
    """End a queued job as the workers would; what succeeds was paid for."""
    with db.transaction() as tx:
        rows.carry(tx, job_id, state)
    if state is State.SUCCEEDED:
        store().put(f"results/{job_id}.png", RESULT, media_type="image/png")
    see_to_twins()


def reused(client: httpx.Client, job_id: str, source: str) -> None:
    """Hold a job against all that a reused one tells."""
    job = told(client, job_id)
    assert (job["status"], job["cost_credits"], job["attempts"]) == ("succeeded", 0.0, 0)
    assert job["result"]["reused_from"] == source
    its_own: dict[str, Any] = {"url": "", "reused_from": None}
    assert job["result"] | its_own == told(client, source)["result"] | its_own
    assert client.get(f"/v1/jobs/{job_id}/result").content == RESULT
    history = client.get(f"/v1/jobs/{job_id}/history").json()
    assert history["attempts"] == []
    assert (history["events"][-1]["stage"], source in history["events"][-1]["reason"]) == ("succeeded", True)
