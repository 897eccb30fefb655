"""The budget of a batch: no submit of it may be paid from more than that, whatever the answers turn out to be.

What is spent or may be is, by the rows: the cost of the jobs that have ended, the price of each that is with the
upstream (told, or expected), and the expected price of each earlier submit that nobody knows to be billed. Who gives
slots asks under the lock of the slots, so no two can spend the same credits. What the budget does not allow is held:
until it is raised, or until a submit turns out to cost less than was expected.
"""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from itertools import starmap
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Double, Label, Select, case, exists, func, literal_column, select, update

from cleanplate import accounts, db, holding, jobs
from cleanplate.db import Transaction
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Batch, Job
from cleanplate.states import PROCESSING, Hold, State

SLIGHTLY: Final = 1e-6
"""Sums of credits are floats."""
REASON: Final = "held: the next submit could pass the budget of the batch"
WAITS: Final = frozenset({State.QUEUED, State.CLAIMED})


class Standing(NamedTuple):
    """How a batch stands: credits ``left`` of its budget, and jobs that are ``claimed``."""

    batch_id: str
    left: float
    claimed: int

    def affords(self, price: float) -> float:
        """Return how many submits at ``price`` are within the budget."""
        return max(0, (self.left + SLIGHTLY) // price) if price > 0 else float("inf")


def any_limited() -> Label[bool]:
    """Return the column ``limited``: whether any batch under way has a budget. One probe of a small index."""
    return exists().where(Batch.budget_credits.is_not(None), Batch.finished_at.is_(None)).label("limited")


def beyond(tx: Transaction, line: Collection[str]) -> AbstractSet[str]:
    """Return those of ``line``, in the order of turns, whose submit could pass the budget of their batch.

    The caller holds the lock of the slots.
    """
    limited = select(Job.id, Batch.id).join(Batch, Batch.id == Job.batch_id)
    batch_of = dict(tx.execute(limited.where(Job.id.in_(line), Batch.budget_credits.is_not(None))).all())
    if not batch_of:
        return frozenset()
    price = accounts.price(tx)
    rows = starmap(Standing, tx.execute(standings(sorted(set(batch_of.values())), price)))
    room = {standing.batch_id: standing.affords(price) for standing in rows}
    taken: Counter[str] = Counter()
    refused = set()
    for job_id in line:
        if (batch_id := batch_of.get(job_id)) is not None:
            taken[batch_id] += 1
            if taken[batch_id] > room[batch_id]:
                refused.add(job_id)
    return refused


def hold(tx: Transaction, worker: str, refused: Collection[str]) -> AbstractSet[str]:
    """Hold those of ``refused``, claimed by ``worker``, that nobody else has locked, nor their batch; return them.

    Whoever waits for one of these rows is never waited for. The others stay in line and are refused again.
    """
    mine = select(Job.id, Job.batch_id).where(Job.id.in_(refused), Job.owner == worker, Job.state == State.CLAIMED)
    found = dict(tx.execute(mine.order_by(Job.id).with_for_update(skip_locked=True)).all())
    theirs = select(Batch.id).where(Batch.id.in_(set(found.values()))).order_by(Batch.id)
    free = set(tx.scalars(theirs.with_for_update(key_share=True, skip_locked=True)))
    held = [id_ for id_, batch_id in found.items() if batch_id in free]
    if held:
        _reached(tx, free)
    claimed = frozenset({State.CLAIMED})
    return jobs.apply(tx, [Change(id_, claimed, State.HELD, REASON, worker) for id_ in held], worker=worker)


def _reached(tx: Transaction, batch_ids: Collection[str]) -> None:
    """Write down that these batches, which are locked, have reached their budgets; a canary stays one."""
    canary: ColumnElement[str] = literal_column(f"'{Hold.CANARY}'")
    tx.execute(
        update(Batch)
        .where(Batch.id.in_(batch_ids))
        .values(
            hold=case((Batch.hold == canary, canary), else_=literal_column(f"'{Hold.BUDGET}'")),
            budget_reached_at=func.coalesce(Batch.budget_reached_at, func.now()),
        )
    )


def tend(batch_id: str, seconds: float) -> None:
    """See to a batch that has reached its budget, for about so long at most.

    As long as it affords nothing more, what still waits in line is held, page by page. When a submit turned out to cost
    less, as many are released as are affordable again.
    """
    until = time.monotonic() + seconds
    after = ""
    while time.monotonic() < until:
        with db.transaction() as tx:
            batch = tx.scalars(holding.locked(batch_id)).one()
            if batch.hold != Hold.BUDGET or batch.cancelling is not None:
                return
            price = accounts.price(tx)
            standing = Standing(*tx.execute(standings([batch_id], price)).one())
            affordable = standing.affords(price) - standing.claimed
            if affordable > 0:
                _resume(tx, batch, affordable)
                return
            page = tx.scalars(queued(batch_id, after)).all()
            if not page:
                return
            waits = frozenset({State.QUEUED})
            jobs.apply(tx, [Change(id_, waits, State.HELD, REASON) for id_ in page])
            after = max(page)


def _resume(tx: Transaction, batch: Batch, affordable: float) -> None:
    if not holding.count(tx, batch.id):
        batch.hold = batch.budget_reached_at = None
        return
    more = int(min(affordable, holding.PAGE)) - len(tx.scalars(queued(batch.id, "")).all())
    if more > 0:
        holding.let_go(tx, batch, more)


def doubt(tx: Transaction, undecided: Collection[str]) -> None:
    """Count the submits of these jobs, which are locked, as billed: they were never answered and are given up now.

    So they are of batches without a budget: one may be given to them later. Locks the batches in the order of their
    ids, as whoever ends jobs does.
    """
    theirs = select(Batch.id).join(Job, Batch.id == Job.batch_id).where(Job.id.in_(undecided))
    counts = Counter(tx.scalars(theirs)) if undecided else Counter()
    if not counts:
        return
    price = accounts.price(tx)
    for batch_id in sorted(counts):
        more = Batch.doubtful_credits + counts[batch_id] * price
        tx.execute(update(Batch).where(Batch.id == batch_id).values(doubtful_credits=more))


def standings(batch_ids: Sequence[str], price: float) -> Select[str, float, int]:
    """Return the query for the :class:`Standing` of each of these batches.

    It reads no more jobs than are under way.
    """
    claimed = Job.state == literal_column(f"'{State.CLAIMED}'")
    newest = (Attempt.job_id == Job.id) & (Attempt.number == Job.attempts)
    spends = func.sum(case((claimed, 0.0), else_=func.coalesce(Attempt.cost_credits, price)))
    under_way = (
        select(
            Job.batch_id,
            spends.label("spends"),
            func.count().filter(claimed).label("claimed"),
        )
        .outerjoin(Attempt, newest)
        .where(Job.batch_id.in_(batch_ids), Job.state.in_([literal_column(f"'{one}'") for one in sorted(PROCESSING)]))
        .group_by(Job.batch_id)
        .subquery()
    )
    spent = Batch.cost_credits + Batch.doubtful_credits + func.coalesce(under_way.c.spends, 0.0)
    budget: ColumnElement[float] = func.coalesce(Batch.budget_credits, literal_column("'infinity'", Double()))
    return (
        select(Batch.id, budget - spent, func.coalesce(under_way.c.claimed, 0))
        .outerjoin(under_way, under_way.c.batch_id == Batch.id)
        .where(Batch.id.in_(batch_ids))
    )


def queued(batch_id: str, after: str) -> Select[str]:
    """Return the query that locks the next queued jobs of the batch that nobody else has locked."""
    waits: ColumnElement[bool] = Job.state == literal_column(f"'{State.QUEUED}'")
    page = select(Job.id).where(Job.batch_id == batch_id, Job.id > after, waits).order_by(Job.batch_id, Job.id)
    return page.limit(literal_column(str(holding.PAGE))).with_for_update(skip_locked=True)
