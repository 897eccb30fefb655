"""A batch as a whole: its counts, and the one moment at which it ends."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, Update, func, literal_column, select, update

from cleanplate import outbox, resources, settings
from cleanplate.db import Transaction
from cleanplate.models import Account, Batch, Job
from cleanplate.states import PROCESSING


def count_finals(tx: Transaction, finals: Sequence[Job]) -> None:
    """Add jobs that have just ended to the counts of their batches, and end each batch whose last job this was.

    The batch's row lock is taken after the jobs' and in the order of ids, so transactions cannot wait in a circle, and
    whichever is last sees a total that nobody else can still change: the end happens once.
    """
    states = Counter((job.batch_id, job.state) for job in finals if job.batch_id)
    for batch_id in sorted({batch_id for batch_id, _ in states if batch_id}):
        here = [job for job in finals if job.batch_id == batch_id]
        tx.execute(
            update(Batch)
            .where(Batch.id == batch_id)
            .values(
                succeeded=Batch.succeeded + states[batch_id, "succeeded"],
                failed=Batch.failed + states[batch_id, "failed"],
                cancelled=Batch.cancelled + states[batch_id, "cancelled"],
                cost_credits=Batch.cost_credits + sum(job.cost_credits for job in here),
            )
        )
        settle(tx, batch_id)


def settle(tx: Transaction, batch_id: str) -> bool:
    """End the batch if it is sealed, has not ended and no job of it is left; tell its webhooks. Return whether it did.

    The caller holds the batch's row lock, by having updated it in this transaction.
    """
    ended = tx.scalar(_end(batch_id).returning(Batch.id))
    if ended is None:
        return False
    row = tx.get_one(Batch, batch_id, populate_existing=True)
    kind = "batch.cancelled" if row.cancelled and row.cancelled == row.total else "batch.completed"
    outbox.publish(tx, row.tenant_id, kind, resource(tx, row).model_dump(mode="json"), {row.endpoint_id})
    return True


def _end(batch_id: str) -> Update:
    left = Batch.total - Batch.succeeded - Batch.failed - Batch.cancelled
    return (
        update(Batch)
        .where(Batch.id == batch_id, Batch.sealed_at.is_not(None), Batch.finished_at.is_(None), left == 0)
        .values(finished_at=func.now())
    )


def processing(batch_id: str) -> Select[Any]:
    """Return the query that counts the batch's jobs under way: never more than there are slots and results waiting."""
    states: list[Any] = [literal_column(f"'{state}'") for state in sorted(PROCESSING)]
    return select(func.count()).where(Job.batch_id == batch_id, Job.state.in_(states))


def resource(tx: Transaction, row: Batch, *, secret: str | None = None) -> resources.Batch:
    """Return the batch as clients see it, with live counts and the time it should still take."""
    config = settings.get()
    under_way = tx.scalar(processing(row.id)) or 0
    left = row.total - row.succeeded - row.failed - row.cancelled
    account = tx.scalars(select(Account).limit(1)).first()
    eta = None
    if left and account is not None and account.latency_seconds and account.allowed:
        eta = round(left * account.latency_seconds / account.allowed + account.latency_seconds, 1)
    return resources.batch(
        row,
        processing=under_way,
        quote_credits=row.total * config.cost_credits,
        eta_seconds=eta if left else 0.0,
        secret=secret,
    )
