"""``/v1/jobs/{id}/history``: all that happened to a job, and what was paid for it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from api import examples
from api.auth import Authenticated, caller
from api.documentation import answers, example
from api.errors import not_found
from cleanplate import db, resources
from cleanplate.models import Attempt, Job, JobEvent
from cleanplate.resources import History
from cleanplate.states import State

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(caller)], responses=answers(401, 422, 500, 503)
)


class HistoryPaging(BaseModel):
    """Which page of the events."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, pattern=r"^[0-9]{1,18}$", description="`next_cursor` of the last page.")
    limit: int = Field(50, ge=1, le=200)


@router.get(
    "/{job_id}/history",
    responses=example(200, "One page of events, all attempts.", examples.HISTORY) | answers(400, 404),
)
def get_job_history(who: Authenticated, job_id: str, wanted: Annotated[HistoryPaging, Query()]) -> History:
    """Return every state the job came to, with the reason, oldest first, and every submit that was made for it.

    Events come in pages; the attempts, of which there are few, are all in each.
    """
    mine = select(Job.id).where(Job.id == job_id, Job.tenant_id == who.tenant_id, Job.deleted_at.is_(None))
    told = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > int(wanted.cursor or 0))
    with db.transaction() as tx:
        if tx.scalar(mine) is None:
            raise not_found("job")
        events = tx.scalars(told.order_by(JobEvent.id).limit(wanted.limit + 1)).all()
        attempts = tx.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()
    page = events[: wanted.limit]
    return History(
        events=[resources.Event(at=row.at, stage=State(row.state), reason=row.reason) for row in page],
        attempts=[resources.Attempt.model_validate(row, from_attributes=True) for row in attempts],
        next_cursor=str(page[-1].id) if len(events) > len(page) else None,
    )
