"""``batch.completed`` is one event, however the finals race, and nobody sees it before that of the last job."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from cleanplate import batches, db, jobs
from cleanplate.jobs import Change
from cleanplate.models import Batch, Delivery
from cleanplate.states import State
from tests import rows
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("database")

JOBS, RACERS, ROUNDS = 24, 8, 4
FLYING = frozenset({State.INFLIGHT})


def end(*job_ids: str) -> None:
    failed = {"error_code": "upstream_error", "error_detail": ""}
    with db.transaction() as tx:
        jobs.apply(tx, [Change(id_, FLYING, State.FAILED, "", values=failed) for id_ in job_ids])


def seal(batch_id: str) -> None:
    with db.transaction() as tx:
        tx.execute(update(Batch).where(Batch.id == batch_id).values(sealed_at=func.now()))
        batches.settle(tx, batch_id)


def told() -> Counter[tuple[str, str | None]]:
    """What a receiver has been told, as one look at the outbox shows it."""
    with db.transaction() as tx:
        return Counter(tuple(row) for row in tx.execute(select(Delivery.event_type, Delivery.subject_id)))


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed before", "sealed meanwhile"])
def test_by_whoever_ends_the_last_job_and_never_before_it(sealed: bool) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    over = threading.Event()
    seen: list[Counter[tuple[str, str | None]]] = []

    def watch() -> None:
        while not over.is_set():
            seen.append(told())

    with ThreadPoolExecutor(1) as watchers:
        watching = watchers.submit(watch)
        try:
            finished = [race(sealed=sealed) for _ in range(ROUNDS)]
        finally:
            over.set()
        watching.result()
    expected = Counter([("batch.completed", batch_id) for batch_id, _ in finished])
    expected += Counter([("job.failed", job_id) for _, job_ids in finished for job_id in job_ids])
    assert told() == expected
    for look in seen:
        for batch_id, job_ids in finished:
            if look["batch.completed", batch_id]:
                assert all(look["job.failed", job_id] for job_id in job_ids)


def race(*, sealed: bool) -> tuple[str, list[str]]:
    """End the jobs of a batch from many sides at once, each from two of them."""
    with db.transaction() as tx:
        batch_id = rows.batch(tx, JOBS, sealed=sealed)
        job_ids = rows.jobs(tx, JOBS, State.INFLIGHT, batch_id=batch_id)
    shares = [job_ids[n : n + 6] for n in range(0, JOBS, JOBS // RACERS)]
    racers = [lambda share=share: end(*share) for share in shares]
    at_once(racers + [lambda: seal(batch_id)] * (0 if sealed else 2))
    seal(batch_id)  # who comes late ends nothing
    return batch_id, job_ids
