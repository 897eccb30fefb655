"""A stack that is stopped in mid-batch keeps everything; the next one on the same directory finishes it."""

from pathlib import Path

from cleanplate.resources import BatchOptions
from tests.journeys.harness import Stack, all_jobs, pairs, stack, wait_until

PHOTOS = 24


def test_jobs_in_flight_at_the_stop_are_polled_by_the_next_stack_and_paid_once(tmp_path: Path) -> None:
    photos = pairs(tmp_path / "photos", PHOTOS)
    data = tmp_path / "data"
    with stack(data) as first:
        batch = _upload(first, photos)
        wait_until(lambda: first.paid() >= 10)
        key = first.running.api_key
    with stack(data) as second:
        assert second.running.api_key == key
        with second.client() as client:
            wait_until(lambda: client.batch(batch).finished_at is not None)
            jobs = all_jobs(client, batch)
        assert [job.status for job in jobs] == ["succeeded"] * PHOTOS
        assert second.paid() == PHOTOS


def _upload(running: Stack, photos: Path) -> str:
    files = [(path.name, path) for path in sorted(photos.iterdir())]
    with running.client() as client:
        batch = client.create_batch(BatchOptions(seal=False))
        client.add_items(batch.id, files)
        client.seal(batch.id)
    return batch.id
