"""``/v1/batches/{id}/retry`` and ``/v1/jobs/{id}/retry``: what failed goes again, with the inputs that are stored."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select, func, insert, literal_column, select, text
from sqlalchemy.orm import aliased

from api import examples, idempotency
from api.auth import Authenticated, caller
from api.documentation import answer, answers, example
from api.errors import Problem, not_found
from api.idempotency import Once
from api.links import BaseUrl
from cleanplate import batches, db, deletion, holding, ids, resources, shown
from cleanplate.models import Batch, Job, JobEvent
from cleanplate.resources import BatchOptions
from cleanplate.retrying import Retrying, RetryingBatch
from cleanplate.reuse import Newcomer, fingerprint
from cleanplate.states import Hold, State

PAGE: Final = 200
COPIED: Final = (
    *("custom_id", "endpoint_id", "meta", "warnings", "reuse"),
    *("image_key", "image", "mask_key", "mask", "send_image_key", "send_mask_key"),
)
"""Columns of a job that its retry has, too: the objects are shared, and kept as long as any job names them."""
NOTHING: Final = Problem(
    409, "nothing_to_retry", "There is nothing to retry: what failed, if anything, has been retried already."
)

router = APIRouter(prefix="/v1", dependencies=[Depends(caller)], responses=answers(400, 401, 403, 404, 422, 500, 503))


def _made(description: str, one: BaseModel) -> dict[int | str, dict[str, Any]]:
    made = example(202, description, one, {"Location": "Where it is."})
    return made | answers(408, 413) | idempotency.ANSWERS_OF_WORK | answer(NOTHING)


@router.post(
    "/batches/{batch_id}/retry",
    status_code=202,
    tags=["batches"],
    responses=_made("The child batch.", examples.RETRIED_BATCH),
)
def retry_batch(
    who: Authenticated, batch_id: str, once: Once, response: Response, how: RetryingBatch | None = None
) -> resources.Batch:
    """Make a child batch of the jobs that have failed; nothing is uploaded again, and good results stay where they are.

    Each job is retried once: what fails again is retried by its child. The child has the parent's name, priority and
    webhook, and limits of its own.
    """
    how = how or RetryingBatch()
    with db.transaction() as tx:
        _one_at_a_time(tx, batch_id)
        mine = select(Batch).where(Batch.id == batch_id, Batch.tenant_id == who.tenant_id, Batch.deleted_at.is_(None))
        parent = tx.scalars(mine.with_for_update(read=True, key_share=True)).first()  # nobody deletes it meanwhile
        if parent is None:
            raise not_found("batch")
        child = _child(parent, how)
        tx.add(child)
        tx.flush()
        for page in _pages(tx, batch_id, how):
            if len(page) == PAGE:
                holding.line_up_later(tx, child)
            _insert(tx, page, how, child)
            child.total += len(page)
        if not child.total:
            raise NOTHING
        response.headers["Location"] = f"/v1/batches/{child.id}"
        return once.keep(tx, batches.resource(tx, child))


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    tags=["jobs"],
    responses=_made("The new job.", examples.RETRIED_JOB),
)
def retry_job(
    who: Authenticated, job_id: str, once: Once, response: Response, base: BaseUrl, how: Retrying | None = None
) -> resources.Job:
    """Make a new single job of one that has failed, with the same inputs. Each job is retried once."""
    how = how or Retrying()
    with db.transaction() as tx:
        row = tx.scalars(
            select(Job).where(Job.id == job_id, Job.tenant_id == who.tenant_id, Job.deleted_at.is_(None))
        ).first()
        if row is None:
            raise not_found("job")
        _one_at_a_time(tx, row.batch_id or job_id)
        if not tx.scalars(select(Job).where(Job.id == job_id, *_retriable(how)).with_for_update(read=True)).first():
            raise NOTHING
        (new,) = _insert(tx, [row], how, None)
        response.headers["Location"] = f"/v1/jobs/{new}"
        return once.keep(tx, shown.job(tx.get_one(Job, new), base))


def _one_at_a_time(tx: db.Transaction, id_: str) -> None:
    """Let nobody else retry the same batch, or single job, until the transaction ends."""
    tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('cleanplate.retry'), hashtext(:id))"), {"id": id_})


def _child(parent: Batch, how: RetryingBatch) -> Batch:
    changed = {"canary": how.canary, "budget_credits": how.budget_credits, "seal": True}
    options = BatchOptions(**parent.options | changed | {"params": how.changed(parent.params)})
    return Batch(
        id=ids.new(ids.Kind.BATCH),
        parent_id=parent.id,
        tenant_id=parent.tenant_id,
        name=parent.name,
        params=options.params.model_dump(),
        options=options.model_dump(mode="json"),
        rejected=[],
        endpoint_id=parent.endpoint_id,
        priority=parent.priority,
        total=0,
        hold=Hold.CANARY if how.canary is not None else None,
        budget_credits=how.budget_credits,
        sealed_at=func.now(),
    )


def _retriable(how: Retrying) -> tuple[ColumnElement[bool], ...]:
    states = [State.FAILED, State.CANCELLED] if how.cancelled else [State.FAILED]
    child = aliased(Job)
    retried = select(child.id).where(child.parent_id == Job.id).exists()
    failed = Job.state.in_([literal_column(f"'{state}'") for state in states])
    return failed, ~retried, Job.image.is_not(None), *deletion.stored()


def _pages(tx: db.Transaction, batch_id: str, how: Retrying) -> Iterator[Sequence[Job]]:
    after = ""
    while page := tx.scalars(retriable(batch_id, after, how)).all():
        after = page[-1].id
        yield page


def retriable(batch_id: str, after: str, how: Retrying) -> Select[Job]:
    """Return the query for the next page of the batch's jobs to retry, locked, in the order of their ids."""
    here = (Job.batch_id == batch_id, Job.id > after, *_retriable(how))
    page = select(Job).where(*here).order_by(Job.batch_id, Job.id).limit(literal_column(str(PAGE)))
    return page.with_for_update(read=True)


def _insert(tx: db.Transaction, page: Sequence[Job], how: Retrying, child: Batch | None) -> list[str]:
    """Write the jobs that retry those of ``page``, which are read no more. Return ids."""
    rows: list[dict[str, Any]] = [
        {
            **{name: getattr(old, name) for name in COPIED},
            "id": ids.new(ids.Kind.JOB),
            "parent_id": old.id,
            "tenant_id": old.tenant_id,
            "batch_id": child and child.id,
            "position": position,
            "params": (params := how.changed(old.params)),
            "fingerprint": fingerprint(old.tenant_id, old.image or {}, old.mask or {}, params),
        }
        for position, old in enumerate(page, child.total if child else 0)
    ]
    newcomers = [Newcomer(row["id"], row["fingerprint"], row["reuse"]) for row in rows]
    events = []
    for row, place in zip(rows, holding.places(tx, page[0].tenant_id, child, newcomers), strict=True):
        row |= {"state": place.state, "tag": place.tag, "due_at": place.due_at}
        reason = place.told(f"retries {row['parent_id']}")
        events.append({"job_id": row["id"], "state": row["state"], "reason": reason})
    tx.execute(insert(Job), rows)
    tx.execute(insert(JobEvent), events)
    for old in page:
        tx.expunge(old)
    return [row["id"] for row in rows]
