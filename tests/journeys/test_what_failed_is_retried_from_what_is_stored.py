"""A batch of which some failed is retried: nothing is uploaded, only those that failed are paid, all are there then."""

from pathlib import Path

from cleanplate.resources import BatchOptions
from cleanplate.retrying import NewParams, RetryingBatch
from tests.journeys.harness import all_jobs, chunks, stack
from tests.journeys.oracle import eventually

COUNT, REFUSED = 6, [2, 5]


def test_a_child_finishes_what_its_parent_could_not(tmp_path: Path, photos: list[Path]) -> None:
    with stack(tmp_path / "data", slots=4, latency=0.3, fast=True) as running, running.client() as client:
        running.faults({"where": "submit", "what": "status", "code": 422, "nth": REFUSED})
        parent = client.create_batch(BatchOptions(seal=False)).id
        for some in chunks(photos[:COUNT]):
            client.add_items(parent, some)
        client.seal(parent)
        eventually(lambda: client.batch(parent).finished_at)
        failed = {job.custom_id for job in all_jobs(client, parent) if job.error}
        assert (len(failed), running.paid()) == (len(REFUSED), COUNT - len(REFUSED))

        child = client.retry_batch(parent, RetryingBatch(params=NewParams(dilate_pixels=20)))
        eventually(lambda: client.batch(child.id).finished_at)
        made = all_jobs(client, child.id)
        assert {job.custom_id for job in made if job.result and job.params.dilate_pixels == 20} == failed
        assert running.paid() == COUNT
        for job in made:
            client.download(job, tmp_path / f"{job.custom_id}.png")
