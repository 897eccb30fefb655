"""Who takes the slots that are free: by turn, but for two whom a turn alone would leave waiting.

Single jobs have a small reserve, so that one picture never waits behind ten thousand. It is not kept empty for who may
come: while they hold fewer slots than the reserve has, those that wait go first to the next that frees, and beyond it
they take their turn, so a flood of them delays batches by no more than the reserve.

A conveyor that has come later than others has jobs in line and no slot: each of the others gives what it frees to its
own line in the same transaction. While one has less than half of an even part, the others leave it one slot at a time.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Label, Select, func, literal_column, or_, select

from cleanplate.db import Transaction
from cleanplate.jobs import literals
from cleanplate.models import Account, Job, Worker
from cleanplate.states import HOLDS_SLOT, LEASED

PART: Final = 12
"""One slot of so many is the reserve's; there is at least one."""
LEFT_FREE: Final = ""


def reserve(slots: int) -> int:
    """Return how many of ``slots`` are the reserve."""
    return max(1, slots // PART)


def first_in_line(tx: Transaction, worker: str, line: Collection[str], free: int, *, crowded: bool) -> list[str]:
    """Return who of ``line``, which is in the order of turns, is to take the ``free`` slots.

    The caller holds the lock of the slots; ``crowded`` is what :func:`crowded` tells. A slot that is left to another
    conveyor is found by it at its next look.
    """
    if not free:
        return []
    if not crowded:
        return list(line)[:free]
    claimed, conveyors = tx.execute(singles_claimed()).all(), tx.execute(others(worker)).all()
    slots = tx.scalar(select(func.sum(Account.allowed)).where(Account.paused_reason.is_(None)))
    singles = [row.id for row in claimed if row.id in line or (row.owner != worker and slots)]
    if singles:
        singles = singles[: max(0, reserve(slots or 0) - (tx.scalar(slots_of_singles()) or 0))]
    few = (slots or 0) / (len(conveyors) + 1) / 2  # of a paused account nobody has few, so who may probe it does
    waits = any(row.waiting and row.held < few for row in conveyors)
    left = [LEFT_FREE] if waits and (tx.scalar(slots_of(worker)) or 0) >= few else []
    order = [*singles, *left, *(id_ for id_ in line if id_ not in singles)]
    return [id_ for id_ in order[:free] if id_ in line]


def crowded(worker: str) -> Label[bool]:
    """Return the column that tells whether there is anybody to leave a slot to: a single job, or another conveyor."""
    return or_(singles_claimed().exists(), others(worker).exists()).label("crowded")


def singles_claimed() -> Select[str, str | None]:
    """Return the query for the single jobs that wait for a slot, and their owners, in the order of their turns."""
    claimed = Job.state == literal_column("'claimed'")
    return select(Job.id, Job.owner).where(Job.batch_id.is_(None), claimed).order_by(Job.tag, Job.id)


def slots_of_singles() -> Select[Any]:
    """Return the query that counts the slots that single jobs hold."""
    return select(func.count()).where(Job.batch_id.is_(None), Job.state.in_(literals(HOLDS_SLOT)))


def slots_of(worker: Any) -> Select[Any]:
    """Return the query that counts the slots that a conveyor holds."""
    return select(func.count()).where(Job.owner == worker, Job.state.in_(literals(HOLDS_SLOT & LEASED)))


def others(worker: str) -> Select[Any]:
    """Return the query for what each other conveyor that is alive has: jobs that wait for a slot, and slots."""
    claimed: Any = literal_column("'claimed'")
    waiting = select(func.count()).where(Job.owner == Worker.id, Job.state == claimed).scalar_subquery()
    held = slots_of(Worker.id).scalar_subquery()
    return select(waiting.label("waiting"), held.label("held")).where(
        Worker.id != worker, Worker.expires_at > func.now()
    )
