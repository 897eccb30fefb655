"""Rows as the resources of the REST contract: what the API answers and what webhooks carry."""

from cleanplate import models
from cleanplate.outcomes import ErrorCode
from cleanplate.resources import (
    Batch,
    BatchOptions,
    BatchStatus,
    Counts,
    Held,
    Job,
    JobError,
    Mask,
    Params,
    Picture,
    Rejection,
    Result,
)
from cleanplate.states import RULES, State


def job(row: models.Job, base_url: str) -> Job:
    """Return the resource of a job's row; ``base_url`` starts the links."""
    state = State(row.state)
    url = f"{base_url.rstrip('/')}/v1/jobs/{row.id}/result"
    result = None if row.result is None else Result(**row.result, url=url)
    return Job(
        id=row.id,
        batch_id=row.batch_id,
        custom_id=row.custom_id,
        status=RULES[state].status,
        stage=state,
        error=JobError(code=ErrorCode(row.error_code), detail=row.error_detail or "") if row.error_code else None,
        warnings=row.warnings,
        params=Params(**row.params),
        image=None if row.image is None else Picture(**row.image),
        mask=None if row.mask is None else Mask(**row.mask),
        result=result,
        cost_credits=row.cost_credits,
        attempts=row.attempts,
        position=row.position,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        metadata=row.meta,
        parent_id=row.parent_id,
    )


def batch(
    row: models.Batch, *, processing: int, held: Held | None, quote_credits: float, eta_seconds: float | None
) -> Batch:
    """Return the resource of a batch's row and of what is counted beside it."""
    ended = row.succeeded + row.failed + row.cancelled
    status: BatchStatus = "processing"
    if row.finished_at is not None:
        status = "cancelled" if row.cancelling or 0 < row.cancelled == row.total else "completed"
    elif row.sealed_at is None:
        status = "open"
    return Batch(
        id=row.id,
        name=row.name,
        status=status,
        counts=Counts(
            total=row.total,
            queued=max(0, row.total - ended - processing),
            processing=processing,
            succeeded=row.succeeded,
            failed=row.failed,
            cancelled=row.cancelled,
        ),
        rejected=[Rejection(**item) for item in row.rejected],
        reused=row.reused,
        cost_credits=row.cost_credits,
        quote_credits=quote_credits,
        eta_seconds=eta_seconds,
        parent_id=row.parent_id,
        created_at=row.created_at,
        sealed_at=row.sealed_at,
        finished_at=row.finished_at,
        cancel_requested_at=row.cancel_requested_at,
        held=held,
        budget_reached_at=row.budget_reached_at,
        options=BatchOptions(**row.options | {"budget_credits": row.budget_credits}),
    )
