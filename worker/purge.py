"""Purge: the pictures of what was deleted, or has been kept for long enough, go from the store, and then from the rows.

That it begins is committed before the first object goes, so no retry takes inputs that are about to go; who dies in
between leaves rows that name objects which are gone, and those are purged again.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ARRAY, Select, Text, cast, delete, func, literal_column, select, text, update
from sqlalchemy.orm import InstrumentedAttribute

from cleanplate import db, deletion, settings
from cleanplate.models import Attempt, Job, JobEvent
from cleanplate.storage import Store
from worker.store import store

PAGE: Final = 100
DAY_SECONDS: Final = 86_400.0
INPUTS: Final = ("image_key", "mask_key", "send_image_key", "send_mask_key")


def purge_more() -> bool:
    """Purge a page by the settings, as :func:`purge` does."""
    return purge(store(), settings.get().retention_days)


def purge(store: Store, retention_days: float | None, limit: int = PAGE) -> bool:
    """Purge up to ``limit`` jobs of either kind; return whether there were as many, and so may be more."""
    with db.transaction() as tx:
        found = _begin(tx, retention_days, limit)
        keys = _unshared(tx, found)
    if not found:
        return False
    store.delete(keys)
    with db.transaction() as tx:
        tx.execute(update(Job).where(Job.id.in_([job.id for job in found])).values(purged_at=func.now()))
        _forget(tx, [job.id for job in found if job.deleted_at is not None])
    return len(found) >= limit


def _begin(tx: db.Transaction, retention_days: float | None, limit: int) -> Sequence[Job]:
    """Choose the jobs, but none that is being retried, and mark them.

    One at a time: of jobs that share objects the last to begin deletes them.
    """
    tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('cleanplate.purge'))"))
    found = list(tx.scalars(deleted(limit)))
    if retention_days is not None and len(found) < limit:
        found += [job for job in tx.scalars(outlived(retention_days, limit - len(found))) if job not in found]
    begun = update(Job).where(Job.id.in_([job.id for job in found])).values(purge_begun_at=func.now())
    tx.execute(begun.execution_options(synchronize_session=False))
    return found


@lru_cache
def deleted(limit: int) -> Select[Job]:
    """Return the query for deleted jobs, locked, that still have their pictures."""
    of_these = (Job.deleted_at.is_not(None), Job.purged_at.is_(None))
    return _free(select(Job).where(*of_these).order_by(Job.id), limit)


def outlived(days: float, limit: int) -> Select[Job]:
    """Return the query for the jobs, locked, oldest first, that ended ``days`` ago and still have their pictures."""
    ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, days * DAY_SECONDS)
    of_these = (Job.finished_at < ago, Job.purged_at.is_(None))
    return _free(select(Job).where(*of_these).order_by(Job.finished_at), limit)


def _free(jobs: Select[Job], limit: int) -> Select[Job]:
    return jobs.limit(literal_column(str(int(limit)))).with_for_update(skip_locked=True, key_share=True)


def _unshared(tx: db.Transaction, jobs: Sequence[Job]) -> list[str]:
    """Return the keys of the jobs' objects, less those that others, which share them, still need."""
    shared: set[str] = set()
    for column in (Job.image_key, Job.result_key):
        keys = [getattr(job, column.key) for job in jobs]
        shared |= {key for key in tx.scalars(users(column, keys)) if key}
    found: set[str] = set()
    for job in jobs:
        found |= set() if job.image_key in shared else {getattr(job, name) for name in INPUTS}
        found |= set() if job.result_key is None or job.result_key in shared else {job.result_key}
    return sorted(found)


def users(column: InstrumentedAttribute[Any], keys: Sequence[str]) -> Select[Any]:
    """Return the query for those of the keys that jobs name in ``column`` and need."""
    return select(column).where(column == func.any(cast(keys, ARRAY(Text))), *deletion.stored())


def _forget(tx: db.Transaction, job_ids: Sequence[str]) -> None:
    """Delete what else was told of deleted jobs: reasons, the upstream's words, webhooks. What was paid stays."""
    tx.execute(delete(JobEvent).where(JobEvent.job_id.in_(job_ids)))
    tx.execute(update(Attempt).where(Attempt.job_id.in_(job_ids)).values(detail=None, polling_url=None))
    deletion.forget_deliveries(tx, job_ids)
