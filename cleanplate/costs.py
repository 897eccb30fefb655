"""What the upstream charged for a job."""

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from cleanplate import settings
from cleanplate.db import Transaction
from cleanplate.models import Attempt, Job


def add_up(tx: Transaction, ids: Sequence[str]) -> list[Job]:
    """Write the sum of what each job's submits cost into it, and return the jobs in the order of their ids.

    A task that named no price counts with the expected one.
    """
    jobs = tx.scalars(_with_costs(settings.get().cost_credits), {"ids": ids})
    return sorted(jobs, key=lambda job: job.id)


@lru_cache(maxsize=1)
def _with_costs(expected: float) -> ReturningUpdate[Job]:
    price = func.coalesce(Attempt.cost_credits, expected)
    paid = (Attempt.job_id == Job.id) & Attempt.task_id.is_not(None)
    total = select(func.coalesce(func.sum(price), 0.0)).where(paid).scalar_subquery()
    these = update(Job).where(Job.id.in_(bindparam("ids", expanding=True))).values(cost_credits=total)
    return these.returning(Job).execution_options(populate_existing=True, synchronize_session=False)
