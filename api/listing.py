"""Lists: filters, and pages by cursor. A cursor is the id that the last page ended with, for ids sort by time."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, literal_column

from cleanplate.db import Transaction
from cleanplate.models import ApiKey, Batch, Delivery, Endpoint, Job
from cleanplate.moments import Moment
from cleanplate.outcomes import ErrorCode
from cleanplate.states import Status, states_of
from cleanplate.webhooks import DeliveryStatus, EventType

Row = TypeVar("Row", Job, Batch, Endpoint, Delivery, ApiKey)


class Paging(BaseModel):
    """Which page; parameters that are not known are refused."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, pattern=r"^[a-z]{3}_[0-9a-f]{32}$", description="`next_cursor` of the last page.")
    limit: int = Field(50, ge=1, le=200)


class BatchFilters(Paging):
    """Which batches."""

    created_after: Moment | None = None
    created_before: Moment | None = None


class JobFilters(BatchFilters):
    """Which jobs; all that is given must hold."""

    status: Status | None = None
    custom_id: str | None = None
    error_code: ErrorCode | None = None


class DeliveryFilters(BatchFilters):
    """Which deliveries; all that is given must hold."""

    status: DeliveryStatus | None = None
    event_type: EventType | None = None


def filtered(query: Select[Row], model: type[Batch | Job | Delivery], wanted: BatchFilters) -> Select[Row]:
    """Return the query with what was asked for in it."""
    if wanted.created_after is not None:
        query = query.where(model.created_at > wanted.created_after)
    if wanted.created_before is not None:
        query = query.where(model.created_at < wanted.created_before)
    if isinstance(wanted, JobFilters):
        given: dict[Any, Any] = {Job.custom_id: wanted.custom_id, Job.error_code: wanted.error_code}
        query = query.where(*(column == value for column, value in given.items() if value is not None))
        if wanted.status is not None:
            query = query.where(Job.state.in_(states_of(wanted.status)))
    if isinstance(wanted, DeliveryFilters):
        # Constants of the statement and not its parameters, for which the planner would not know that some are rare.
        known = {Delivery.event_type: wanted.event_type, Delivery.state: wanted.status}
        query = query.where(*(column == literal_column(f"'{value}'") for column, value in known.items() if value))
    return query


def page(
    tx: Transaction, query: Select[Row], model: type[Row], wanted: Paging, *, newest_first: bool
) -> tuple[list[Row], str | None]:
    """Return one page of rows and the cursor of the next, or None when this is the last."""
    if wanted.cursor is not None:
        query = query.where(model.id < wanted.cursor if newest_first else model.id > wanted.cursor)
    order = model.id.desc() if newest_first else model.id
    rows = list(tx.scalars(query.order_by(order).limit(wanted.limit + 1)))
    more = len(rows) > wanted.limit
    rows = rows[: wanted.limit]
    return rows, rows[-1].id if more else None
