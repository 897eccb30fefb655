"""``/v1/batches/{id}/release``: what is held of a batch goes, beyond its canary or at its budget."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from api import examples
from api.auth import Authenticated, caller
from api.documentation import answer, answers, example
from api.errors import Problem, not_found
from cleanplate import batches, db, holding, resources
from cleanplate.models import Batch

REQUEST_SECONDS: Final = 2.0
"""How long a request releases jobs itself; the sweep goes on with the rest."""

router = APIRouter(
    prefix="/v1/batches",
    tags=["batches"],
    dependencies=[Depends(caller)],
    responses=answers(400, 401, 403, 404, 422, 500, 503),
)


class Releasing(BaseModel):
    """How to release."""

    model_config = ConfigDict(extra="forbid")

    budget_credits: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="The budget from now on, in place of the one it had, if any."
    )


def _over(what: str) -> Problem:
    return Problem(409, "already_finished", f"The batch {what}: nothing of it can be released.")


@router.post(
    "/{batch_id}/release",
    responses=example(200, "The batch.", examples.NEW_BATCH.model_copy(update={"webhook_secret": None}))
    | answer(_over("has ended")),
)
def release_batch(who: Authenticated, batch_id: str, how: Annotated[Releasing, Query()]) -> resources.Batch:
    """Let the rest of a canary go, or the rest of a batch that reached its budget, with a higher one.

    Of a large batch the last jobs may go after the answer. What the budget still does not allow is held again. To
    release what is not held changes nothing but the budget.
    """
    mine = select(Batch.id).where(Batch.id == batch_id, Batch.tenant_id == who.tenant_id, Batch.deleted_at.is_(None))
    with db.transaction() as tx:
        if tx.scalar(mine) is None:
            raise not_found("batch")
        row = tx.scalars(holding.locked(batch_id)).one()
        if row.finished_at is not None or row.cancelling is not None:
            raise _over("has ended" if row.finished_at is not None else "is cancelled")
        holding.ask(tx, row, how.budget_credits)
    holding.carry_on(batch_id, REQUEST_SECONDS)
    with db.transaction() as tx:
        return batches.resource(tx, tx.get_one(Batch, batch_id))
