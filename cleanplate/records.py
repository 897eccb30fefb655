"""Change many rows of one table in one statement."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import DateTime, Float, Select, Text, Update, bindparam, cast, column, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from cleanplate.models import Base


def update_from(
    tx: Session, model: type[Base], keys: Sequence[str], rows: Sequence[Mapping[str, Any]], *where: ColumnElement[bool]
) -> None:
    """Set in ``model``'s table, for each of ``rows``, the columns it names; ``keys`` are those that find the row.

    All rows must name the same columns. A time is given as seconds from now (or None), since only the database's clock
    counts. One parameter carries all rows, so the statement's text does not change with their number.
    """
    statement = _statement(model, tuple(keys), tuple(sorted(rows[0])))
    tx.execute(statement.where(*where) if where else statement, {"rows": to_json(list(rows)).decode()})


def page(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Return the query for what a limited, locking ``query`` finds, to be named in a statement that changes it.

    Such a subquery may be run anew for every row that it is joined to, and lock as many more each time; this runs once.
    """
    found = query.cte("page")
    return select(*found.c)


@lru_cache(maxsize=64)
def _statement(model: type[Base], keys: Sequence[str], names: Sequence[str]) -> Update:
    """Return the statement, made once: SQLAlchemy takes longer to put it together than PostgreSQL to execute it."""
    table = model.__table__
    instants = {name for name in names if isinstance(table.c[name].type, DateTime)}
    source = (
        func.jsonb_to_recordset(cast(bindparam("rows", type_=Text()), JSONB()))
        .table_valued(*(column(name, Float() if name in instants else table.c[name].type) for name in names))
        .render_derived("given", with_types=True)
    )
    values = {
        name: func.now() + func.make_interval(0, 0, 0, 0, 0, 0, source.c[name]) if name in instants else source.c[name]
        for name in names
        if name not in keys
    }
    found = [table.c[key] == source.c[key] for key in keys]
    return update(model).where(*found).values(values).execution_options(synchronize_session=False)
