"""The API is killed while it takes an archive in: what was committed stays, and sending it again brings the rest."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cleanplate.resources import BatchOptions
from tests.bench.archive import write
from tests.journeys.harness import stack
from tests.servers import wait_until

PAIRS = 600


def test_an_archive_survives_the_death_of_the_api(tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    write(archive, PAIRS)
    with stack(tmp_path / "data", slots=1, latency=60.0, fast=True) as running, running.client() as client:
        batch_id = client.create_batch(BatchOptions(seal=False)).id
        with ThreadPoolExecutor(1) as other:
            sending = other.submit(client.add_archive, batch_id, archive)
            wait_until(lambda: client.batch(batch_id).counts.total)
            os.kill(running.pid("api"), signal.SIGKILL)
            answer = sending.result()
        assert {one.code for one in answer.rejected} == {"duplicate_custom_id"}
        assert answer.accepted_count + len(answer.rejected) == PAIRS
        batch = client.seal(batch_id)
        assert (batch.counts.total, batch.rejected) == (PAIRS, [])
        rows = running.rows(
            "SELECT custom_id, position, image_key, mask_key, send_mask_key FROM jobs ORDER BY position"
        )
        assert len({custom_id for custom_id, *_ in rows}) == PAIRS
        assert [position for _, position, *_ in rows] == list(range(PAIRS))
        objects = Path(running.running.environment["STORAGE_URL"].removeprefix("file://"))
        assert all((objects / key).is_file() for _, _, *keys in rows for key in keys)
