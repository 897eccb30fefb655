"""What the rows of jobs and the ledger say, each looked at in a transaction of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from cleanplate import db
from cleanplate.models import Attempt, Job
from cleanplate.states import State
from tests import rows


def row(job_id: str) -> Job:
    """The job as it is now."""
    with db.transaction() as tx:
        return tx.get_one(Job, job_id)


def state(job_id: str) -> State:
    """Where it stands."""
    return State(row(job_id).state)


def states() -> dict[str, State]:
    """Where all jobs stand."""
    with db.transaction() as tx:
        return rows.states(tx)


def all_in(*among: State) -> bool:
    """Whether all jobs are in these states."""
    return set(states().values()) <= set(among)


def ledger() -> list[str]:
    """What came of every submit, job by job."""
    with db.transaction() as tx:
        return list(tx.scalars(select(Attempt.outcome).order_by(Attempt.job_id, Attempt.number)))


def due_in(job_id: str) -> float:
    """In how many seconds somebody has to look at it."""
    left = func.extract("epoch", Job.due_at - func.now())
    with db.transaction() as tx:
        return float(tx.scalar(select(left).where(Job.id == job_id)) or 0.0)


@dataclass
class Span:
    """A stretch of time by the database's clock."""

    began: datetime
    ended: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.began <= moment <= self.ended


@contextmanager
def passing() -> Iterator[Span]:
    """Yield the time that the block takes: what is set in it lies in it, however long the machine lets it take."""

    def now() -> datetime:
        with db.transaction() as tx:
            return tx.execute(select(func.clock_timestamp())).scalar_one()

    began = now()
    span = Span(began, began)
    yield span
    span.ended = now()
