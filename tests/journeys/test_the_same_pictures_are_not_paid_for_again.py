"""A folder that is sent twice, and a batch of one pair ten times, whose conveyor is killed: what the ledger says."""

import os
import signal
from pathlib import Path

from cleanplate.resources import BatchOptions
from tests.journeys.harness import all_jobs, chunks, finish, stack, stored
from tests.journeys.oracle import eventually

PHOTOS, COPIES = 6, 10
PRICE = 5.0


def test_a_folder_that_is_sent_twice_and_a_pair_that_is_sent_ten_times_are_paid_once(
    tmp_path: Path, photos: list[Path]
) -> None:
    folder, first, second, third = (tmp_path / name for name in ("photos", "first", "second", "third"))
    linked(folder, {path.stem: path for path in photos[:PHOTOS]})
    copies = linked(tmp_path / "copies", {f"copy {number}": photos[PHOTOS] for number in range(COPIES)})
    with stack(tmp_path / "data", slots=4, latency=2.0, fast=True) as running, running.client() as client:
        told = [finish(running.erase(folder, out, reuse=True))[-1] for out in (first, second)]
        assert [summary["cost_credits"] for summary in told] == [PRICE * PHOTOS, 0.0]
        assert running.paid() == PHOTOS
        assert stored(second) == stored(first)
        assert all((first / path.name).read_bytes() == path.read_bytes() for path in second.glob("*.png"))

        batch_id = client.create_batch(BatchOptions(seal=False)).id
        for chunk in chunks(copies):
            client.add_items(batch_id, chunk)
        client.seal(batch_id)
        eventually(lambda: running.rows("SELECT id FROM jobs WHERE state = 'inflight'"))
        os.killpg(running.pid("conveyor"), signal.SIGKILL)
        eventually(lambda: client.batch(batch_id).finished_at)
        batch = client.batch(batch_id)
        assert (batch.counts.succeeded, batch.reused, batch.cost_credits) == (COPIES, COPIES - 1, PRICE)
        assert running.paid() == PHOTOS + 1
        (paid,) = [job.id for job in all_jobs(client, batch_id) if job.attempts]
        sources = {job.result.reused_from for job in all_jobs(client, batch_id) if job.result and not job.attempts}
        assert sources == {paid}

        finish(running.erase(folder, third))
        assert running.paid() == PHOTOS + 1 + PHOTOS, "who does not want to share is paid for anew"


def linked(folder: Path, photos: dict[str, Path]) -> list[Path]:
    """Make a folder of these photographs and their masks, under new names; return the photographs."""
    folder.mkdir()
    made = [folder / f"{name}{photo.suffix}" for name, photo in photos.items()]
    for copy, photo in zip(made, photos.values(), strict=True):
        copy.symlink_to(photo)
        copy.with_name(f"{copy.stem}_mask.png").symlink_to(photo.with_name(f"{photo.stem}_mask.png"))
    return made
