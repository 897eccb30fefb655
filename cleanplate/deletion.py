"""Deleting what has ended: rows lose what they tell of pictures and people at once, the objects go after.

A deleted row is nobody's any more (404), but it stays: it counts in the usage, and it names the objects until the
sweep has deleted them. So whatever dies in between, the mark is there and the rest is done again.
"""

import time
from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONB

from cleanplate import db
from cleanplate.db import Transaction
from cleanplate.idempotency import withhold
from cleanplate.models import Batch, Delivery, DeliveryAttempt, Job

PAGE: Final = 200
FORGOTTEN: Final = "{}"
"""What a delivery says of what is deleted."""


def stored() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a job's objects are in the store to stay.

    Who gives them to another job finds the first one by these, locked ``FOR SHARE``: then none of them is deleted, or
    begins to be purged, before the other's row is there to keep the objects.
    """
    return Job.deleted_at.is_(None), Job.purge_begun_at.is_(None), Job.purged_at.is_(None)


def mark_jobs(tx: Transaction, job_ids: Collection[str]) -> None:
    """Delete jobs, all of which have ended; of the pictures only the sizes stay, which the usage counts.

    What was purged because it had been kept for long enough is purged once more: there is more to forget now. Takes the
    jobs' locks in the order of their ids, as retries do.
    """
    tx.execute(select(Job.id).where(Job.id.in_(job_ids)).order_by(Job.id).with_for_update())
    size = func.jsonb_build_object("width", Job.image["width"], "height", Job.image["height"], type_=JSONB)
    nothing: dict[str, Any] = {
        "custom_id": None,
        "meta": {},
        "warnings": [],
        "error_detail": None,
        "result": None,
        "mask": {},
        "fingerprint": None,
    }
    tx.execute(
        update(Job)
        .where(Job.id.in_(job_ids))
        .values({**nothing, "image": size, "deleted_at": func.now(), "purged_at": None})
        .execution_options(synchronize_session=False)
    )


def mark_batch(tx: Transaction, batch_id: str) -> None:
    """Delete a batch, which has ended; :func:`carry_on` deletes its jobs."""
    nothing: dict[str, Any] = {"name": None, "params": {}, "options": {}, "rejected": []}
    tx.execute(update(Batch).where(Batch.id == batch_id).values(**nothing, deleted_at=func.now()))
    forget_deliveries(tx, [batch_id])
    tx.execute(withhold(batch_id))


def mark_job(tx: Transaction, job_id: str, batch_id: str | None) -> None:
    """Delete a job, which has ended, alone, and what callers of its batch would be told of it again."""
    mark_jobs(tx, [job_id])
    tx.execute(withhold(job_id))
    if batch_id is not None:
        tx.execute(withhold(batch_id, told=job_id))


def forget_deliveries(tx: Transaction, subject_ids: Collection[str]) -> None:
    """Delete what webhooks told of these jobs or batches; what was not delivered yet is not any more."""
    pending = case((Delivery.state == "pending", "failed"), else_=Delivery.state)
    told = update(Delivery).where(Delivery.subject_id.in_(subject_ids)).execution_options(synchronize_session=False)
    tx.execute(told.values(body=FORGOTTEN, state=pending))
    its = select(Delivery.id).where(Delivery.subject_id.in_(subject_ids))
    answers = update(DeliveryAttempt).where(DeliveryAttempt.delivery_id.in_(its))
    tx.execute(answers.values(answer=None).execution_options(synchronize_session=False))


def carry_on(batch_id: str, seconds: float) -> None:
    """Delete the jobs of a deleted batch, a page a transaction, for about so long at most.

    What is left when the time is over is found by :func:`unfinished`.
    """
    until, after = time.monotonic() + seconds, ""
    while time.monotonic() < until:
        with db.transaction() as tx:
            page = tx.execute(jobs_of(batch_id, after)).all()
            mark_jobs(tx, [row.id for row in page if row.deleted_at is None])
            if len(page) < PAGE:
                tx.execute(update(Batch).where(Batch.id == batch_id).values(purged_at=func.now()))
                return
            after = page[-1].id


def jobs_of(batch_id: str, after: str) -> Select[str, datetime | None]:
    """Return the query for the next page of the batch's jobs, in the order of their ids."""
    its = (Job.batch_id == batch_id, Job.id > after)
    return select(Job.id, Job.deleted_at).where(*its).order_by(Job.batch_id, Job.id).limit(literal_column(str(PAGE)))


@lru_cache(maxsize=1)
def unfinished() -> Select[str]:
    """Return the query for the deleted batches of which jobs may be left."""
    return select(Batch.id).where(Batch.deleted_at.is_not(None), Batch.purged_at.is_(None))
