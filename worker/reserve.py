"""A small reserve of slots for single jobs, so that one picture never waits behind ten thousand.

No slot is kept empty for who may come. While single jobs hold fewer slots than the reserve has, those that wait go
first to the next that frees; beyond it they take their turn like all others, so a flood of them delays batches by no
more than the reserve.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, func, literal_column, select

from cleanplate.db import Transaction
from cleanplate.models import Account, Job
from cleanplate.states import HOLDS_SLOT

PART: Final = 12
"""One slot of so many is the reserve's; an account has at least one."""


def size(slots: int) -> int:
    """Return how many of ``slots`` are the reserve."""
    return max(1, slots // PART)


def first_in_line(tx: Transaction, worker: str, line: Sequence[str], free: int) -> list[str]:
    """Return who of ``line``, which is in the order of turns, is to take the ``free`` slots.

    The caller holds the lock of the slots. A single job that another conveyor has claimed keeps its place before this
    line: that conveyor finds the slot at its next look.
    """
    if not free:
        return []
    mine = set(line)
    singles = tx.execute(singles_claimed()).all()
    waiting = [row.id for row in singles if row.id in mine or row.owner != worker]
    if waiting:
        slots = tx.scalar(select(func.sum(Account.allowed)).where(Account.paused_reason.is_(None)))
        if slots is None:  # the slot is for a probe, and who has it must use it
            waiting = [id_ for id_ in waiting if id_ in mine]
        held = tx.scalar(slots_of_singles()) or 0
        waiting = waiting[: max(0, size(slots or 0) - held)]
    order = [*waiting, *(id_ for id_ in line if id_ not in waiting)]
    return [id_ for id_ in order[:free] if id_ in mine]


def singles_claimed() -> Select[str, str | None]:
    """Return the query for the single jobs that wait for a slot, and their owners, in the order of their turns."""
    claimed = Job.state == literal_column("'claimed'")
    return select(Job.id, Job.owner).where(Job.batch_id.is_(None), claimed).order_by(Job.tag, Job.id)


def slots_of_singles() -> Select[Any]:
    """Return the query that counts the slots that single jobs hold."""
    holding: list[Any] = [literal_column(f"'{state}'") for state in sorted(HOLDS_SLOT)]
    return select(func.count()).where(Job.batch_id.is_(None), Job.state.in_(holding))
