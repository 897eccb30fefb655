"""``/v1/jobs/{id}/cancel`` and ``/v1/batches/{id}/cancel``: what is unsent stops; the answer says what that saves."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from api import examples
from api.auth import Authenticated, caller
from api.documentation import answer, answers, example
from api.errors import Problem, not_found
from api.links import BaseUrl
from cleanplate import batches, cancel, db, settings, shown
from cleanplate.cancelled import CancelledBatch, CancelledJob, Saved
from cleanplate.models import Batch, Job
from cleanplate.states import TERMINAL, InFlight, State

REQUEST_SECONDS: Final = 2.0
"""How long a request stops the jobs of a batch itself; the sweep goes on with the rest."""

router = APIRouter(prefix="/v1", dependencies=[Depends(caller)], responses=answers(400, 401, 403, 404, 422, 500, 503))


class Cancelling(BaseModel):
    """How to cancel."""

    model_config = ConfigDict(extra="forbid")

    in_flight: InFlight = Field(
        InFlight.FINISH,
        description="What becomes of jobs that were submitted, and so are paid: `finish` stores their results, "
        "`abandon` does not.",
    )


def _finished(what: str) -> Problem:
    return Problem(409, "already_finished", f"The {what} has ended already: there is nothing to cancel.")


@router.post(
    "/jobs/{job_id}/cancel",
    tags=["jobs"],
    responses=example(200, "The job, and what was saved.", examples.CANCELLED_JOB) | answer(_finished("job")),
)
def cancel_job(who: Authenticated, job_id: str, how: Annotated[Cancelling, Query()], base: BaseUrl) -> CancelledJob:
    """Stop a job that was not submitted yet; finish or abandon one that was. Cancelling twice changes nothing.

    An abandoned job ends as `cancelled` when the upstream has ended its task, which holds a slot until then.
    """
    with db.transaction() as tx:
        if not tx.scalar(
            select(Job.id).where(Job.id == job_id, Job.tenant_id == who.tenant_id, Job.deleted_at.is_(None))
        ):
            raise not_found("job")
        done = cancel.stop(tx, [job_id], how.in_flight)
        row = tx.get_one(Job, job_id, populate_existing=True)
    ended = State(row.state) in TERMINAL
    if ended and row.cancelling is None and row.state != State.CANCELLED:
        raise _finished("job")
    saved = _saved(len(done.unsent), len(done.abandoned) + (not ended), row.cancelling or how.in_flight)
    return CancelledJob(**dict(shown.job(row, base)), saved=saved)


@router.post(
    "/batches/{batch_id}/cancel",
    tags=["batches"],
    responses=example(200, "The batch, and what was saved.", examples.CANCELLED_BATCH) | answer(_finished("batch")),
)
def cancel_batch(who: Authenticated, batch_id: str, how: Annotated[Cancelling, Query()]) -> CancelledBatch:
    """Stop all jobs that were not submitted yet; finish or abandon those that were. Nothing more comes to the batch.

    It is `cancelled` when its last job has ended. Of a large batch the last jobs may stop after the answer, in which
    they are counted. Cancelling twice changes nothing; `abandon` after `finish` abandons what is still in flight.
    """
    mine = select(Batch).where(Batch.id == batch_id, Batch.tenant_id == who.tenant_id, Batch.deleted_at.is_(None))
    with db.transaction() as tx:
        row = tx.scalars(mine.with_for_update(key_share=True)).first()
        if row is None:
            raise not_found("batch")
        if not cancel.ask(tx, row, how.in_flight):
            raise _finished("batch")
    done = cancel.carry_on(batch_id, REQUEST_SECONDS)
    with db.transaction() as tx:
        row = tx.scalars(mine).first()
        if row is None:  # it has ended, and somebody deleted it meanwhile
            raise not_found("batch")
        batch = batches.resource(tx, row)
    counts = batch.counts
    saved = _saved(
        len(done.unsent) + counts.queued,
        len(done.abandoned) + counts.processing,
        row.cancelling or how.in_flight,
    )
    return CancelledBatch(**dict(batch), saved=saved)


def _saved(stopped: int, in_flight: int, policy: str) -> Saved:
    return Saved(
        stopped=stopped,
        credits=stopped * settings.get().cost_credits,
        in_flight=in_flight,
        in_flight_policy=InFlight(policy),
    )
