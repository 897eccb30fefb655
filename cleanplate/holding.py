"""Jobs that are held, so that nothing claims them: the rest of a canary, or of a batch at its budget.

So are, for a moment, very many that are written at once. A held job has no place in its tenant's line: it gets one when
it is released, page by page, by the request that asks for it and then by the sweep. The wish is a column of the batch
(``Batch.hold``), so it survives whoever took it.

Locks are taken as intake does, batch before tenant, and of the jobs only those that nobody else holds.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import starmap
from typing import Final

from sqlalchemy import ColumnElement, Select, func, literal_column, select

from cleanplate import db, jobs, reuse
from cleanplate.db import Transaction
from cleanplate.jobs import Change
from cleanplate.models import Batch, Job
from cleanplate.reuse import Newcomer, Place
from cleanplate.states import Hold, State

PAGE: Final = 100
"""Jobs that are released or held in one transaction."""
REASON: Final = "held until its batch is released"
AT_ONCE_SECONDS: Final = 2.0
"""How long whoever wrote very many releases them itself; the sweep goes on with the rest."""
HELD: Final = frozenset({State.HELD})


def going(batch: Batch | None, count: int) -> int:
    """Return how many of the next ``count`` jobs of ``batch`` may go; the others are held for its canary or release."""
    if batch is None or batch.hold not in {Hold.CANARY, Hold.RELEASE}:
        return count
    canary: int = batch.options["canary"] if batch.hold == Hold.CANARY else 0
    return min(count, max(0, canary - batch.total))


def places(tx: Transaction, tenant_id: str, batch: Batch | None, newcomers: Sequence[Newcomer]) -> list[Place]:
    """Return the places of new jobs, in their order; ``batch`` is locked by the caller and has not counted them yet."""
    count = going(batch, len(newcomers))
    beyond = [Place(State.HELD, because=REASON)] * (len(newcomers) - count)
    return reuse.places(tx, tenant_id, batch, newcomers[:count]) + beyond


def line_up_later(tx: Transaction, batch: Batch) -> None:
    """Hold the jobs that ``tx`` writes next into ``batch``, whose row is locked; release them when it has committed.

    For thousands in one transaction: turns are given out under the lock of the tenant's row, and all else that the
    tenant sends would wait for the commit.
    """
    if batch.hold is None:
        batch.hold = Hold.RELEASE
        tx.after_commit(partial(_carry_on_if_possible, batch.id))


def _carry_on_if_possible(batch_id: str) -> None:
    with suppress(*db.AWAY):
        carry_on(batch_id, AT_ONCE_SECONDS)


def is_beyond(batch: Batch | None, position: int) -> bool:
    """Return whether the job at this position of ``batch``, whose row is locked, is held for its canary."""
    return batch is not None and batch.hold == Hold.CANARY and position >= batch.options["canary"]


def ask(tx: Transaction, batch: Batch, budget_credits: float | None) -> None:
    """Write down that what is held of ``batch``, whose row the caller has locked, is to go, with this budget if any."""
    if budget_credits is not None:
        batch.budget_credits, batch.budget_reached_at = budget_credits, None
    if batch.hold is not None:
        batch.hold = Hold.RELEASE
    tx.flush()


def carry_on(batch_id: str, seconds: float) -> None:
    """Release what is held of a batch that is to be released, a page a transaction, for about so long at most."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with db.transaction() as tx:
            batch = tx.scalars(locked(batch_id)).one()
            if batch.hold != Hold.RELEASE or batch.cancelling is not None:
                return
            if let_go(tx, batch, PAGE):
                continue
            if not count(tx, batch_id):
                batch.hold = None
            return


def let_go(tx: Transaction, batch: Batch, most: int) -> int:
    """Let up to ``most`` held jobs of ``batch``, whose row is locked, go or follow their twins; return how many."""
    page = list(starmap(Newcomer, tx.execute(held(batch.id, most))))
    places = reuse.places(tx, batch.tenant_id, batch, page)
    released = [
        Change(one.id, HELD, place.state, place.told("released"), values={"tag": place.tag}, due_in=place.due_in)
        for one, place in zip(page, places, strict=True)
    ]
    return len(jobs.apply(tx, released))


def count(tx: Transaction, batch_id: str) -> int:
    """Return how many jobs of the batch are held."""
    return tx.scalar(select(func.count()).where(Job.batch_id == batch_id, _is(State.HELD))) or 0


def pending() -> Select[str, str | None]:
    """Return the query for the batches of which something is to be released, or may be, and which it is."""
    holds = Batch.hold.in_([literal_column(f"'{hold}'") for hold in (Hold.BUDGET, Hold.RELEASE)])
    return select(Batch.id, Batch.hold).where(holds, Batch.finished_at.is_(None), Batch.cancelling.is_(None))


def locked(batch_id: str) -> Select[Batch]:
    """Return the query that locks the batch's row, as intake does."""
    return (
        select(Batch)
        .where(Batch.id == batch_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def held(batch_id: str, limit: int) -> Select[str, str | None, bool]:
    """Return the query that locks the next held jobs of the batch that nobody else has locked."""
    page = (
        select(Job.id, Job.fingerprint, Job.reuse)
        .where(Job.batch_id == batch_id, _is(State.HELD))
        .order_by(Job.batch_id, Job.id)
    )
    return page.limit(literal_column(str(int(limit)))).with_for_update(skip_locked=True)


def _is(state: State) -> ColumnElement[bool]:
    return Job.state == literal_column(f"'{state}'")
