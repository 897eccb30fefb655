"""The claim and a batch's live counts among a thousand, a hundred thousand and a million rows."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cleanplate import batches, db, jobs, leases
from tests import rows
from tests.servers import fresh_database, running_postgres

SIZES = (1_000, 100_000, 1_000_000)
QUEUED = 10_000
CLAIMED = 24
WARM_UP = 20
"""Calls after which statements are compiled, prepared and planned, as they are in a worker that has just begun."""
REPEATS = 1000

FILL = """
    INSERT INTO jobs (id, tenant_id, batch_id, image_key, image, mask_key, mask, send_image_key, send_mask_key, state,
        result_key)
    SELECT 'job_' || lpad((%(start)s + n)::text, 12, '0'), 'ten_1', %(batch)s, 'k', '{}', 'k', '{}', 'k', 'k',
        CASE WHEN n <= %(queued)s THEN 'queued' ELSE 'succeeded' END, 'k'
    FROM generate_series(1, %(count)s) n
"""


def run(folder: Path) -> list[dict[str, Any]]:
    """Return a row of figures for each size; times are those of the whole call, without the commit."""
    with running_postgres(folder) as admin_url, fresh_database(admin_url) as url:
        db.migrate(url)
        engine = db.connect(url)
        with Session(engine) as session, session.begin():
            rows.tenant(session)
            rows.account(session)
            batch = rows.batch(session)
        found, there = [], 0
        for size in SIZES:
            queued = min(QUEUED, size // 2) if not there else 0
            with psycopg.connect(url, autocommit=True) as connection:
                given = {"start": there, "count": size - there, "queued": queued, "batch": batch}
                connection.execute(FILL, given)
                connection.execute("VACUUM ANALYZE jobs")
            there = size
            query = _times(engine, lambda tx: tx.execute(jobs.next_queued(CLAIMED)).all())
            claim = _times(engine, lambda tx: jobs.claim(tx, "w1", CLAIMED), lambda tx: leases.hand_over(tx, "w1"))
            counts = _times(engine, lambda tx: tx.execute(batches.processing([batch])).all())
            said = [("whose turn it is", query), (f"whole claim of {CLAIMED}", claim), ("live counts", counts)]
            found.append({"rows": size} | {name: value for one in said for name, value in _said(*one).items()})
        engine.dispose()
    return found


def _times(
    engine: Engine, call: Callable[[db.Transaction], object], undo: Callable[[db.Transaction], object] | None = None
) -> list[float]:
    """Return the milliseconds of each call. They are committed: after a rollback statements are prepared anew."""
    taken = []
    for _ in range(WARM_UP + REPEATS):
        with db.Transaction(engine) as tx, tx.begin():
            began = time.perf_counter()
            call(tx)
            taken.append((time.perf_counter() - began) * 1000)
        if undo:
            with db.Transaction(engine) as tx, tx.begin():
                undo(tx)
    return taken[WARM_UP:]


def _said(name: str, milliseconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(milliseconds, n=100)
    return {f"{name} p50, ms": cuts[49], f"{name} p99, ms": cuts[98]}
