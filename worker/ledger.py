"""The money ledger apart from the course of its job: what was paid for after the job had gone on without it."""

from sqlalchemy import select, update

from cleanplate import costs
from cleanplate.db import Transaction
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Batch, Job
from cleanplate.records import update_from


def paid_late(tx: Transaction, acceptance: Change) -> None:
    """Write down an acceptance that came too late for its job, sent again or ended by now: it costs all the same.

    One that the job could use is in the ledger already. The job is locked first: whoever ended it meanwhile would add
    up what it cost without this one.
    """
    this = Job.id == acceptance.job_id
    job = tx.execute(select(Job.finished_at, Job.cost_credits).where(this).with_for_update()).one()
    told = {**acceptance.attempt, "detail": "the answer came after the job had gone on without it"}
    row = {"job_id": acceptance.job_id, "number": acceptance.number, **told}
    update_from(tx, Attempt, ("job_id", "number"), [row], Attempt.outcome != "accepted")
    if job.finished_at is None:
        return
    costs.add_up(tx, [acceptance.job_id])
    more = select(Job.cost_credits - job.cost_credits).where(this).scalar_subquery()
    batch_id = select(Job.batch_id).where(this).scalar_subquery()
    tx.execute(update(Batch).where(Batch.id == batch_id).values(cost_credits=Batch.cost_credits + more))
