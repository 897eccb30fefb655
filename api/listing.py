"""Lists: filters, and pages by cursor. A cursor is the id that the last page ended with, for ids sort by time."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Select, literal_column, select, tuple_

from cleanplate import ids
from cleanplate.db import Transaction
from cleanplate.models import ApiKey, Batch, Delivery, Endpoint, Job
from cleanplate.moments import Moment
from cleanplate.outcomes import ErrorCode
from cleanplate.states import TERMINAL, Status, states_of
from cleanplate.webhooks import DeliveryStatus, EventType

Row = TypeVar("Row", Job, Batch, Endpoint, Delivery, ApiKey)
Listed = TypeVar("Listed", Job, Batch)

APART_SECONDS: Final = 86400.0
"""More than an id and its row can be apart: a request may last for hours, and clocks may differ."""


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


def filtered(query: Select[Delivery], wanted: DeliveryFilters) -> Select[Delivery]:
    """Return the query for deliveries with what was asked for in it.

    A time bounds their ids, too: what is outside it is not walked through.
    """
    if wanted.created_after is not None:
        least = ids.least(ids.Kind.DELIVERY, wanted.created_after, plus_seconds=-APART_SECONDS)
        query = query.where(Delivery.created_at > wanted.created_after, Delivery.id > least)
    if wanted.created_before is not None:
        most = ids.least(ids.Kind.DELIVERY, wanted.created_before, plus_seconds=APART_SECONDS)
        query = query.where(Delivery.created_at < wanted.created_before, Delivery.id < most)
    # Constants of the statement and not its parameters, for which the planner would not know that some are rare.
    known = {Delivery.event_type: wanted.event_type, Delivery.state: wanted.status}
    return query.where(*(column == literal_column(f"'{value}'") for column, value in known.items() if value))


def page(
    tx: Transaction, query: Select[Row], model: type[Row], wanted: Paging, *, newest_first: bool
) -> tuple[list[Row], str | None]:
    """Return one page of rows and the cursor of the next, or None when this is the last. For short lists."""
    if wanted.cursor is not None:
        query = query.where(model.id < wanted.cursor if newest_first else model.id > wanted.cursor)
    order = model.id.desc() if newest_first else model.id
    return cut(tx.scalars(query.order_by(order).limit(wanted.limit + 1)).all(), wanted)


def cut(rows: Sequence[Row], wanted: Paging) -> tuple[list[Row], str | None]:
    """Return the rows of a page, without the one that tells that there is a next, and the cursor of that."""
    found = list(rows[: wanted.limit])
    return found, found[-1].id if len(rows) > wanted.limit else None


def of_tenant(model: type[Listed], tenant_id: str, wanted: BatchFilters) -> Select[Listed]:
    """Return the query for a page of a tenant's rows, the newest first, and one row more."""
    few = isinstance(wanted, JobFilters) and wanted.status is Status.PROCESSING
    its = _under_way(tenant_id, wanted) if few else _along(model, tenant_id, wanted)
    order = (model.tenant_id.desc(), model.id.desc())
    return select(model).where(*_met(model, wanted), *its).order_by(*order).limit(wanted.limit + 1)


def _along(model: type[Listed], tenant_id: str, wanted: BatchFilters) -> Iterator[ColumnElement[bool]]:
    """Yield what makes the page a walk along an index by tenant, which looks at no row that is not on it.

    Hence the words: were the tenant named by ``=``, the planner would take its rows for spread evenly and walk all ids
    for them, past whatever others have sent since. And a walk ends where the index's first columns are bounded, not
    the id alone.
    """
    columns = _columns(wanted)
    along = tuple_(model.tenant_id, *columns, model.id)
    above, below = _bounds(model, wanted, newest_first=True)
    yield model.tenant_id.between(tenant_id, tenant_id)
    yield from (along > tuple_(tenant_id, *columns.values(), id_) for id_ in above)
    yield from (along < tuple_(tenant_id, *columns.values(), id_) for id_ in below)


def _under_way(tenant_id: str, wanted: BatchFilters) -> Iterator[ColumnElement[bool]]:
    """Yield what finds first all that is under way, of which there is little and an index, and then the page of it."""
    its = select(Job.id).where(Job.tenant_id == tenant_id, Job.state.in_(_named(Status.PROCESSING)))
    above, below = _bounds(Job, wanted, newest_first=True)
    yield Job.id.in_(select(its.cte("under_way").prefix_with("MATERIALIZED").c.id))
    yield from (Job.id > id_ for id_ in above)
    yield from (Job.id < id_ for id_ in below)


def of_batch(batch_id: str, wanted: JobFilters) -> Select[Job]:
    """Return the query for a page of a batch's jobs, in the order in which they came, and one more."""
    above, below = _bounds(Job, wanted, newest_first=False)
    its = select(Job).where(Job.batch_id == batch_id, *_met(Job, wanted))
    its = its.where(*(Job.id > id_ for id_ in above), *(Job.id < id_ for id_ in below))
    return its.order_by(Job.batch_id, Job.id).limit(wanted.limit + 1)


def _met(model: type[Listed], wanted: BatchFilters) -> Iterator[ColumnElement[bool]]:
    """Yield what must hold."""
    yield model.deleted_at.is_(None)
    if wanted.created_after is not None:
        yield model.created_at > wanted.created_after
    if wanted.created_before is not None:
        yield model.created_at < wanted.created_before
    if isinstance(wanted, JobFilters):
        if wanted.status is not None:
            yield Job.state.in_(_named(wanted.status))
        if wanted.error_code is not None:
            yield Job.error_code == wanted.error_code
        if wanted.custom_id is not None:
            yield Job.custom_id == wanted.custom_id


def _columns(wanted: BatchFilters) -> dict[Any, Any]:
    """Return the columns that stand between the tenant and the id in the index for this, with their values."""
    if not isinstance(wanted, JobFilters):
        return {}
    if wanted.custom_id is not None:
        return {Job.custom_id: wanted.custom_id}
    if wanted.error_code is not None:
        return {Job.error_code: wanted.error_code}
    if wanted.status is not None and states_of(wanted.status) <= TERMINAL:
        return {Job.state: _named(wanted.status)[0]}
    return {}


def _named(status: Status) -> list[Any]:
    """Return the states as literals: a partial index matches only what the planner can read."""
    return [literal_column(f"'{state}'") for state in sorted(states_of(status))]


def _bounds(model: type[Listed], wanted: BatchFilters, *, newest_first: bool) -> tuple[list[str], list[str]]:
    """Return which ids those of the page are above and below: the cursor's, and those of the times asked for."""
    kind = ids.Kind.BATCH if model is Batch else ids.Kind.JOB
    above: list[str] = []
    below: list[str] = []
    if wanted.cursor is not None:
        (below if newest_first else above).append(wanted.cursor)
    if wanted.created_after is not None:
        above.append(ids.least(kind, wanted.created_after, plus_seconds=-APART_SECONDS))
    if wanted.created_before is not None:
        below.append(ids.least(kind, wanted.created_before, plus_seconds=APART_SECONDS))
    return above, below
