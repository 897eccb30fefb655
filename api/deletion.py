"""``DELETE /v1/jobs/{id}`` and ``/v1/batches/{id}``: what has ended is forgotten, and its pictures are deleted."""

from typing import Final

from fastapi import APIRouter, Depends
from sqlalchemy import select

from api.auth import Authenticated, caller
from api.documentation import answer, answers
from api.errors import Problem, not_found
from cleanplate import db, deletion
from cleanplate.models import Batch, Job
from cleanplate.states import TERMINAL, State

REQUEST_SECONDS: Final = 2.0
"""How long a request deletes the jobs of a batch itself; the sweep goes on with the rest."""

router = APIRouter(prefix="/v1", dependencies=[Depends(caller)], responses=answers(401, 403, 404, 422, 500, 503))


def _unfinished(what: str) -> Problem:
    return Problem(409, "not_finished", f"The {what} has not ended: cancel it first, or wait for its end.")


@router.delete("/jobs/{job_id}", status_code=204, tags=["jobs"], responses=answer(_unfinished("job")))
def delete_job(who: Authenticated, job_id: str) -> None:
    """Forget a job that has ended: its names, metadata and history, and soon after its pictures in the store.

    From then on it is 404 everywhere. It stays in the counts of its batch and in the usage.
    """
    mine = select(Job).where(Job.id == job_id, Job.tenant_id == who.tenant_id, Job.deleted_at.is_(None))
    with db.transaction() as tx:
        row = tx.scalars(mine.with_for_update()).first()
        if row is None:
            raise not_found("job")
        if State(row.state) not in TERMINAL:
            raise _unfinished("job")
        deletion.mark_job(tx, job_id, row.batch_id)


@router.delete("/batches/{batch_id}", status_code=204, tags=["batches"], responses=answer(_unfinished("batch")))
def delete_batch(who: Authenticated, batch_id: str) -> None:
    """Forget a batch that has ended, with all of its jobs, and soon after their pictures in the store.

    From then on it is 404 everywhere; of a large batch the last jobs may be gone a moment after the answer. They stay
    in the usage.
    """
    mine = select(Batch).where(Batch.id == batch_id, Batch.tenant_id == who.tenant_id, Batch.deleted_at.is_(None))
    with db.transaction() as tx:
        row = tx.scalars(mine.with_for_update()).first()
        if row is None:
            raise not_found("batch")
        if row.finished_at is None:
            raise _unfinished("batch")
        deletion.mark_batch(tx, batch_id)
    deletion.carry_on(batch_id, REQUEST_SECONDS)
