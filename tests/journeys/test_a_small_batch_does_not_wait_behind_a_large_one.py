"""One team has 5,000 pictures in the queue when another sends 10: its first starts within two task durations."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from cleanplate import db, order, tenants
from cleanplate.client import Client
from cleanplate.models import Batch
from cleanplate.resources import BatchOptions
from tests.journeys.harness import all_jobs, chunks, stack
from tests.journeys.oracle import eventually, told

LARGE, SMALL = 5000, 10
SLOTS = 24
LATENCY_SECONDS = 8.0

COPIES = text("""
    INSERT INTO jobs (id, tenant_id, batch_id, position, tag, params,
        image_key, image, mask_key, mask, send_image_key, send_mask_key)
    SELECT id || lpad(n::text, 8, '0'), tenant_id, batch_id, n, given.tag, params,
        image_key, image, mask_key, mask, send_image_key, send_mask_key
    FROM jobs, unnest(CAST(:tags AS bigint[])) WITH ORDINALITY AS given (tag, n) WHERE batch_id = :batch
""")


@pytest.mark.chaos(26)
def test_the_first_of_ten_starts_within_two_tasks(tmp_path: Path, photos: list[Path]) -> None:
    with stack(tmp_path / "data", slots=SLOTS, latency=LATENCY_SECONDS, fast=True) as running:
        engine = db.connect(running.running.environment["DATABASE_URL"])
        with running.client() as large:
            _multiply(engine, _upload(large, photos[:1]), LARGE - 1)
        eventually(lambda: running.paid() > 2 * SLOTS)
        with db.Transaction(engine) as tx, tx.begin():
            _, key = tenants.create_key(tx, "small", "chaos")
        with Client(running.running.url, key) as small:
            batch_id = _upload(small, photos[:SMALL])
            small.seal(batch_id)
            eventually(lambda: small.batch(batch_id).finished_at)
            waits = [job.started_at - job.created_at for job in all_jobs(small, batch_id) if job.started_at]
        ((left,),) = running.rows("SELECT count(*) FROM jobs WHERE state = 'queued'")
        engine.dispose()
    first, last = min(waits).total_seconds(), max(waits).total_seconds()
    told.append(
        f"26: {SMALL} pictures behind {left} of another team's, {LATENCY_SECONDS:g} s each: "
        f"the first started after {first:.1f} s, the last after {last:.1f} s"
    )
    assert first <= 2 * LATENCY_SECONDS
    assert left > LARGE / 2


def _upload(client: Client, photos: list[Path]) -> str:
    batch_id = client.create_batch(BatchOptions(seal=False)).id
    for some in chunks(photos):
        client.add_items(batch_id, some)
    return batch_id


def _multiply(engine: Engine, batch_id: str, count: int) -> None:
    """Put so many copies of a batch's one job in the line, each with the turn that the intake would give it."""
    with db.Transaction(engine) as tx, tx.begin():
        batch = tx.get_one(Batch, batch_id, with_for_update=True)
        tags = order.line_up(tx, batch.tenant_id, batch, count)
        tx.execute(COPIES, {"batch": batch_id, "tags": tags})
        batch.total += count
