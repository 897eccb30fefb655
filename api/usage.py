"""``/v1/usage``: what came of how much, by day or by batch."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Date, Float, Select, cast, func, literal_column, select

from api.auth import Authenticated, caller
from api.documentation import answer, answers, example
from api.errors import Problem
from cleanplate import db
from cleanplate.models import Job
from cleanplate.resources import Page, Usage
from cleanplate.states import State

DAYS: Final = 92
USUAL_DAYS: Final = 30
FIRST, LAST = date(2000, 1, 1), date(9000, 1, 1)
SINGLE: Final = "single"
"""The cursor after the line of the jobs without a batch."""
EXAMPLE: Final = Page[Usage](
    data=[Usage(date=date(2026, 3, 2), batch_id=None, jobs=12, images=11, megapixels=11.9, credits=55.0)],
    next_cursor=None,
)
INVALID: Final = Problem(422, "invalid_period", f"Ask for 1 to {DAYS} days, the first one first.")

router = APIRouter(
    prefix="/v1",
    tags=["usage"],
    dependencies=[Depends(caller)],
    responses=answers(400, 401, 500, 503) | answer(INVALID),
)


class Period(BaseModel):
    """Which days, by UTC, and how they are added up."""

    model_config = ConfigDict(extra="forbid")

    since: date | None = Field(
        None, ge=FIRST, le=LAST, description=f"First day; if not given, {USUAL_DAYS} days end with the last one."
    )
    until: date | None = Field(None, ge=FIRST, le=LAST, description="Last day; today, if not given.")
    by: Literal["day", "batch"] = Field("day", description="What a line is about.")
    batch_id: str | None = Field(None, description="Of this batch alone.")
    cursor: str | None = Field(
        None, pattern=rf"^(bat_[0-9a-f]{{32}}|{SINGLE})$", description="`next_cursor` of the last page."
    )
    limit: int = Field(50, ge=1, le=200, description="Lines a page, by batch; days come all at once.")


@router.get("/usage", responses=example(200, "A line for each day or batch in which a job ended.", EXAMPLE))
def get_usage(who: Authenticated, wanted: Annotated[Period, Query()]) -> Page[Usage]:
    """Return how many jobs ended, how many images came of them, of how many megapixels, and what they cost.

    A job counts on the day on which it ended, also when it was deleted since; credits are those paid for it, whatever
    became of it. Jobs without a batch are one line, the first, whose `batch_id` is null.
    """
    until = wanted.until or datetime.now(UTC).date()
    since = wanted.since or until - timedelta(USUAL_DAYS - 1)
    if not 0 <= (until - since).days < DAYS:
        raise INVALID
    query = ended(who.tenant_id, since, until, wanted.batch_id)
    query = by_day(query) if wanted.by == "day" else by_batch(query, wanted.cursor, wanted.limit + 1)
    with db.transaction() as tx:
        lines = [Usage(**row) for row in tx.execute(query).mappings()]
    more = wanted.by == "batch" and len(lines) > wanted.limit
    lines = lines[: wanted.limit] if more else lines
    return Page(data=lines, next_cursor=(lines[-1].batch_id or SINGLE) if more else None)


def ended(tenant_id: str, since: date, until: date, batch_id: str | None) -> Select[Any]:
    """Return the query for the sums of the tenant's jobs that ended on these days, both included."""
    first = datetime.combine(since, time(tzinfo=UTC))
    last = datetime.combine(until, time(tzinfo=UTC)) + timedelta(days=1)
    done = Job.state == literal_column(f"'{State.SUCCEEDED}'")
    pixels = cast(Job.image["width"].astext, Float) * cast(Job.image["height"].astext, Float)
    sums: dict[str, Any] = {
        "jobs": func.count(),
        "images": func.count().filter(done),
        "megapixels": func.coalesce(func.sum(pixels).filter(done) / 1e6, 0.0),
        "credits": func.coalesce(func.sum(Job.cost_credits), 0.0),
    }
    its = [Job.batch_id == batch_id] if batch_id is not None else []
    mine = (Job.tenant_id == tenant_id, Job.finished_at >= first, Job.finished_at < last)
    return select(*(value.label(name) for name, value in sums.items())).where(*mine, *its)


def by_day(query: Select[Any]) -> Select[Any]:
    day = cast(func.timezone("UTC", Job.finished_at), Date)
    return query.add_columns(day.label("date")).group_by(day).order_by(day)


def by_batch(query: Select[Any], after: str | None, limit: int) -> Select[Any]:
    if after is not None:
        query = query.where(Job.batch_id.is_not(None) if after == SINGLE else Job.batch_id > after)
    return query.add_columns(Job.batch_id).group_by(Job.batch_id).order_by(Job.batch_id.nulls_first()).limit(limit)
