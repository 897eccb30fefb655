"""One look that tells the sweep what there is to do: mostly nothing, and then one statement was all."""

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, exists, func, literal_column, select

from cleanplate import cancel, deletion, holding
from cleanplate.models import Job
from cleanplate.states import State


class Look(NamedTuple):
    """Whether the caller is the one who sweeps, until its transaction ends, and of what there is any."""

    alone: bool
    unconfirmed: bool
    forgotten: bool
    importing: bool
    following: bool
    cancelling: bool
    deleting: bool
    held: bool


@lru_cache(maxsize=1)
def look() -> Select[Any]:
    """Return the query for a :class:`Look`, which takes the sweep's lock if it is free."""
    due = Job.due_at <= func.now()
    there = (
        func.pg_try_advisory_xact_lock(func.hashtext(literal_column("'cleanplate.sweep'"))),
        exists().where(_in(State.UNCONFIRMED)),
        exists().where(_in(State.READY), due),
        exists().where(_in(State.IMPORTING), due),
        exists().where(_in(State.FOLLOWING)),
        cancel.unheeded().exists(),
        deletion.unfinished().exists(),
        holding.pending().exists(),
    )
    return select(*(column.label(name) for column, name in zip(there, Look._fields, strict=True)))


def _in(state: State) -> ColumnElement[bool]:
    return Job.state == literal_column(f"'{state}'")
