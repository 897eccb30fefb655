"""Cancelling: what is unsent stops at once, what is in flight is finished or abandoned.

The wish is a column, committed before anything is done about it, so it survives whoever took it: a batch is stopped
page by page, by the request for as long as that may take and then by the sweep. A job in flight is marked, and every
transition heeds the mark, see :func:`cleanplate.states.heeding`.
"""

import time
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, exists, func, insert, literal, literal_column, or_, select, update

from cleanplate import batches, db, jobs
from cleanplate.db import Transaction
from cleanplate.jobs import Change
from cleanplate.models import Batch, Job, JobEvent
from cleanplate.states import HOLDS_SLOT, PROCESSING, UNSENT, InFlight, State

PAGE: Final = 100
"""Jobs that are stopped in one transaction: a conveyor that wants one of them waits for no longer than that takes."""
REASON: Final = "cancelled on request"
MARKS: Final = {
    InFlight.FINISH: "to be cancelled: it is in flight and is finished",
    InFlight.ABANDON: "to be cancelled: it is abandoned and ends when its slot is free",
}
"""Reasons of events that are no move."""
SUBMITTED: Final = HOLDS_SLOT | {State.READY}


@dataclass(frozen=True, slots=True)
class Stopped:
    """Ids of jobs: ``unsent`` will never be submitted, of ``abandoned`` the result was ready and is not stored."""

    unsent: AbstractSet[str]
    abandoned: AbstractSet[str]


def stop(tx: Transaction, job_ids: Collection[str], in_flight: InFlight) -> Stopped:
    """Cancel those of the jobs that can be at once, and mark those that the upstream has.

    Takes the jobs' locks in the order of their ids. What was abandoned before stays so.
    """
    tx.execute(select(Job.id).where(Job.id.in_(job_ids)).order_by(Job.id).with_for_update())
    unsent = jobs.apply(tx, [Change(id_, UNSENT, State.CANCELLED, REASON) for id_ in job_ids])
    abandoned: AbstractSet[str] = frozenset()
    if in_flight is InFlight.ABANDON:
        ready, reason = frozenset({State.READY}), f"{REASON}: abandoned"
        abandoned = jobs.apply(tx, [Change(id_, ready, State.CANCELLED, reason) for id_ in job_ids])
    mark = update(Job).where(Job.id.in_(job_ids), Job.state.in_(SUBMITTED), _untold(literal(in_flight.value)))
    marked = tx.execute(mark.values(cancelling=in_flight).returning(Job.id, Job.state)).all()
    if marked:
        told = {"reason": MARKS[in_flight]}
        tx.execute(insert(JobEvent), [{"job_id": id_, "state": state, **told} for id_, state in marked])
    return Stopped(unsent, abandoned)


def ask(tx: Transaction, batch: Batch, in_flight: InFlight) -> bool:
    """Write down that ``batch``, whose row the caller has locked, is to be cancelled; nothing more comes to it.

    What was to be abandoned stays so. Returns False when the batch has ended, and not as cancelled.
    """
    if batch.finished_at is not None:
        return batches.resource(tx, batch).status == "cancelled"
    wish = in_flight if in_flight is InFlight.ABANDON else func.coalesce(Batch.cancelling, in_flight)
    tx.execute(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(
            cancelling=wish,
            cancel_requested_at=func.coalesce(Batch.cancel_requested_at, func.now()),
            sealed_at=func.coalesce(Batch.sealed_at, func.now()),
        )
    )
    batches.settle(tx, batch.id)
    return True


def carry_on(batch_id: str, seconds: float) -> Stopped:
    """Do what the wish on a batch says, a page a transaction, for about so long at most; return what was done.

    Any number may do so at once; what is left when the time is over is found by :func:`unheeded`.
    """
    until = time.monotonic() + seconds
    unsent: set[str] = set()
    abandoned: set[str] = set()
    after = ""
    while time.monotonic() < until:
        with db.transaction() as tx:
            in_flight = InFlight(
                tx.scalars(select(Batch.cancelling).where(Batch.id == batch_id)).one() or InFlight.FINISH
            )
            page = tx.scalars(under_way(batch_id, in_flight)).all()
            if not page:
                page = tx.scalars(queued(batch_id, after)).all()
                after = max(page, default=after)
            if not page:
                break
            done = stop(tx, page, in_flight)
        unsent |= done.unsent
        abandoned |= done.abandoned
    return Stopped(unsent, abandoned)


def under_way(batch_id: str, in_flight: InFlight) -> Select[str]:
    """Return the query for a page of the batch's jobs that are claimed or in flight and have not been told."""
    untold = _untold(literal(in_flight.value))
    return select(Job.id).where(Job.batch_id == batch_id, _in(PROCESSING), untold).limit(literal_column(str(PAGE)))


def queued(batch_id: str, after: str) -> Select[str]:
    """Return the query for the next page of the batch's jobs that wait or are held, in the order of their ids."""
    waits = (Job.batch_id == batch_id, Job.id > after, _in(UNSENT - PROCESSING))
    return select(Job.id).where(*waits).order_by(Job.batch_id, Job.id).limit(literal_column(str(PAGE)))


@lru_cache
def unheeded() -> Select[str]:
    """Return the query for the batches that are to be cancelled and have jobs that have not been told.

    It reads no more jobs than are under way: how many are queued follows from the batch's counts.
    """
    mine = (Job.batch_id == Batch.id) & _in(PROCESSING)
    moving = select(func.count()).where(mine).scalar_subquery()
    left = Batch.total - Batch.succeeded - Batch.failed - Batch.cancelled
    untold = exists().where(mine, _untold(Batch.cancelling)).correlate(Batch)
    wished = (Batch.cancelling.is_not(None), Batch.finished_at.is_(None))
    return select(Batch.id).where(*wished, (left > moving) | untold)


def _untold(in_flight: Any) -> ColumnElement[bool]:
    """``in_flight``, the wish, is a value or a column of SQL."""
    stronger = (Job.cancelling == literal_column("'finish'")) & (in_flight == literal_column("'abandon'"))
    return or_(Job.cancelling.is_(None), stronger)


def _in(states: AbstractSet[State]) -> ColumnElement[bool]:
    """Name the states as literals: a partial index matches only what the planner can read."""
    return Job.state.in_([literal_column(f"'{state}'") for state in sorted(states)])
