"""A batch as a whole: its counts, and the one moment at which it ends."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    Integer,
    Select,
    Text,
    Update,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)

from cleanplate import accounts, outbox, resources, settings, shown
from cleanplate.db import Transaction
from cleanplate.models import Account, Batch, BatchEnd, Job
from cleanplate.states import PROCESSING, TERMINAL, Hold, State

REJECTED_TOLD = 20
"""Rejections that a webhook carries, so that it stays small; the batch itself lists them all."""
LEFT: Final[ColumnElement[int]] = Batch.total - Batch.succeeded - Batch.failed - Batch.cancelled


def count_finals(tx: Transaction, finals: Sequence[Job]) -> None:
    """Add jobs that have just ended to the counts and ends of their batches; end each batch whose last job this was.

    The batch's row lock is taken after the jobs' and in the order of ids, so transactions cannot wait in a circle, and
    whichever is last sees a total that nobody else can still change: the end happens once.
    """
    states = Counter((job.batch_id, job.state) for job in finals if job.batch_id)
    for batch_id in sorted({batch_id for batch_id, _ in states if batch_id}):
        here = [job for job in finals if job.batch_id == batch_id]
        given = {
            "batch_id": batch_id,
            "job_ids": [job.id for job in here],
            "more_cost": sum(job.cost_credits for job in here),
            "more_reused": sum(bool((job.result or {}).get("reused_from")) for job in here),
            **{f"more_{state}": states[batch_id, state] for state in TERMINAL},
        }
        left = tx.scalar(_count(), given)
        if left == 0:
            settle(tx, batch_id)


@lru_cache(maxsize=1)
def _count() -> Select[int]:
    """Return the statement that counts and numbers what has ended of ``batch_id``, and tells how many jobs are left."""
    more = {state: bindparam(f"more_{state}", type_=Integer) for state in TERMINAL}
    counted = (
        update(Batch)
        .where(Batch.id == bindparam("batch_id"))
        .values(
            succeeded=Batch.succeeded + more[State.SUCCEEDED],
            failed=Batch.failed + more[State.FAILED],
            cancelled=Batch.cancelled + more[State.CANCELLED],
            reused=Batch.reused + bindparam("more_reused", type_=Integer),
            cost_credits=Batch.cost_credits + bindparam("more_cost", type_=Double),
        )
        .returning(Batch.id, LEFT.label("left"), (Batch.total - LEFT).label("ended"))
        .cte("counted")
    )
    job_ids = bindparam("job_ids", type_=ARRAY(Text))
    given = func.unnest(job_ids).table_valued("job_id", with_ordinality="place").render_derived()
    number = counted.c.ended - func.cardinality(job_ids) + cast(given.c.place, Integer)
    numbered = select(counted.c.id, number, given.c.job_id).select_from(counted.join(given, true()))
    written = insert(BatchEnd).from_select(["batch_id", "number", "job_id"], numbered).cte("numbered")
    return select(counted.c.left).add_cte(written)


def settle(tx: Transaction, batch_id: str) -> bool:
    """End the batch if it is sealed, has not ended and no job of it is left; tell its webhooks. Return whether it did.

    The caller holds the batch's row lock, by having updated it in this transaction.
    """
    ended = tx.scalar(_end(batch_id).returning(Batch.id))
    if ended is None:
        return False
    row = tx.get_one(Batch, batch_id, populate_existing=True)
    whole = resource(tx, row)
    thin = whole.model_copy(update={"rejected": whole.rejected[:REJECTED_TOLD]})
    outbox.publish(tx, row.tenant_id, f"batch.{whole.status}", thin.model_dump(mode="json"), {row.endpoint_id})
    return True


def _end(batch_id: str) -> Update:
    return (
        update(Batch)
        .where(Batch.id == batch_id, Batch.sealed_at.is_not(None), Batch.finished_at.is_(None), LEFT == 0)
        .values(finished_at=func.now())
    )


def processing(batch_ids: Sequence[str]) -> Select[str | None, int]:
    """Return the query that counts, by batch, the jobs under way: never more than hold a slot or wait for storing."""
    states: list[Any] = [literal_column(f"'{state}'") for state in sorted(PROCESSING)]
    return (
        select(Job.batch_id, func.count())
        .where(Job.batch_id.in_(batch_ids), Job.state.in_(states))
        .group_by(Job.batch_id)
    )


def resource(tx: Transaction, row: Batch, *, secret: str | None = None) -> resources.Batch:
    """Return the batch as clients see it, with live counts and the time it should still take."""
    return page(tx, [row])[0].model_copy(update={"webhook_secret": secret})


def working(tx: Transaction) -> Sequence[Account]:
    """Return the upstream accounts that the settings name."""
    return tx.scalars(select(Account).where(Account.cap > 0)).all()


def page(tx: Transaction, rows: Sequence[Batch]) -> list[resources.Batch]:
    """Return many batches as clients see them, counted in one query."""
    under_way = dict(tx.execute(processing([row.id for row in rows])).all())
    upstream = working(tx)
    return [
        shown.batch(
            row,
            processing=under_way.get(row.id, 0),
            held=held(row),
            quote_credits=(row.total - row.reused) * settings.get().cost_credits,
            eta_seconds=eta(row.total - row.succeeded - row.failed - row.cancelled, upstream),
        )
        for row in rows
    ]


def held(row: Batch) -> resources.Held | None:
    """Return why jobs of the batch wait for its release, if they do."""
    if row.finished_at is not None or row.cancelling is not None:
        return None
    if row.hold == Hold.BUDGET:
        return "budget"
    canary: int = row.options.get("canary") or 0
    if row.hold == Hold.CANARY and row.total > canary:
        return "canary_failed" if row.failed >= canary else "canary"
    return None


def eta(left: int, upstream: Sequence[Account]) -> float | None:
    """Return the seconds that ``left`` jobs take these accounts if nothing else is to be done; None when unknown."""
    if not left:
        return 0.0
    able = [account for account in upstream if account.paused_reason is None] or upstream
    seconds = accounts.latency(able)
    if seconds is None:
        return None
    return round(left * seconds / sum(account.allowed for account in able) + seconds, 1)
