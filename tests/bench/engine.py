"""The conveyor alone, with tiny pictures: from rows in the queue to results that are known.

With many slots nothing is stored meanwhile, since that is CPU work of other processes: finalizers stand still, and the
results are kept from the sweep, which would store them itself.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg

from cleanplate.storage import open_store
from tests import pictures
from tests.bench import figures
from tests.journeys.harness import Stack, stack
from tests.servers import wait_until

SIZE, BOX = (16, 16), (4, 4, 12, 12)
SERVICES = ("conveyor", "postgres", "redis", "simulator")

QUEUE = """
    WITH batch AS (
        INSERT INTO batches (id, tenant_id, total) SELECT 'bat_bench', min(id), %(jobs)s FROM tenants
        RETURNING id, tenant_id
    )
    INSERT INTO jobs (id, tenant_id, batch_id, tag, image_key, image, mask_key, mask, send_image_key, send_mask_key)
    SELECT 'job_bench' || lpad(n::text, 8, '0'), tenant_id, batch.id, n,
        'inputs/bench/image', '{"width": 16, "height": 16}', 'inputs/bench/mask', '{}',
        'inputs/bench/image', 'inputs/bench/mask'
    FROM batch, generate_series(1, %(jobs)s) n
"""
KEEP = "UPDATE jobs SET due_at = now() + interval '1 h' WHERE state = 'ready' AND due_at < now() + interval '1 min'"
SEEN = """
    SELECT attempts.task_id, extract(epoch FROM job_events.at)::float8
    FROM job_events JOIN attempts USING (job_id) WHERE job_events.state = 'ready'
"""


def run(
    folder: Path, *, jobs: int, slots: int, latency: float, stored: bool = True, called_back: bool = False
) -> dict[str, Any]:
    """Carry so many jobs to a known result and return what was measured."""
    with (
        stack(folder, slots=slots, latency=latency, fast=True, called_back=called_back) as running,
        nullcontext() if stored else _nothing_stored(running),
    ):
        environment, url = running.running.environment, str(running.running.simulator_url)
        store = open_store(environment["STORAGE_URL"])
        store.put("inputs/bench/image", pictures.encoded(pictures.scene(*SIZE), "JPEG"), media_type="image/jpeg")
        store.put("inputs/bench/mask", pictures.encoded(pictures.mask_image(SIZE, BOX)), media_type="image/png")
        with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
            with figures.metered({name: running.pid(name) for name in SERVICES}, jobs) as spent:
                connection.execute(QUEUE, {"jobs": jobs})
                seconds = 60 + 3 * latency * jobs / slots
                wait_until(lambda: _known(connection, stored=stored) == jobs, seconds)
            seen = dict(connection.execute(SEEN).fetchall())
        tasks = figures.ledger(url)
        return {
            "tasks": f"{jobs} on {slots} slots x {latency:g} s",
            **figures.throughput(tasks, slots, figures.stats(url)),
            **figures.quantiles("ready -> seen", [seen[task["id"]] - task["ends_at"] for task in tasks]),
            **spent,
        }


@contextmanager
def _nothing_stored(running: Stack) -> Iterator[None]:
    pid = running.pid("finalizer")
    os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(pid, signal.SIGCONT)


def _known(connection: psycopg.Connection[Any], *, stored: bool) -> int:
    if not stored:
        connection.execute(KEEP)
        time.sleep(1.0)  # asked more often, the question would be part of the figures
    row = connection.execute("SELECT count(*) FROM job_events WHERE state = 'ready'").fetchone()
    assert row is not None
    return int(row[0])
