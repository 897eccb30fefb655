"""The statement that moves jobs: it locks the rows, holds each wish against its row, and writes what follows from it.

It is one statement because most of what a statement costs is there before it begins: four of them, for lock, job, event
and ledger, were four times the CPU of this one for a single job.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import DateTime, Select, Table, TextClause, text
from sqlalchemy import Row as RowOf
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from cleanplate.models import Attempt, Base, Job, JobEvent

Row = Mapping[str, Any]


def wish(
    *,
    id_: str,
    sources: Iterable[str],
    owner: str | None,
    number: int | None,
    reason: str,
    unless: Iterable[str],
    job: Row,
    attempt: Row,
    submit: Row | None = None,
) -> Row:
    """Return a wish as :func:`move` takes it: columns of the job and of its newest attempt, times as seconds from now.

    With ``submit``, its ``account`` and ``callback_sha256``, the job gets a new attempt. A job
    that is marked with one of ``unless``, as to be cancelled, is cancelled instead of getting these columns.
    Raises KeyError when it names a column that there is not.
    """
    return {
        "id": id_,
        "sources": list(sources),
        "owner": owner,
        "number": number,
        "reason": reason,
        "unless": list(unless),
        "submit": submit,
        **_apart("job", Job, job),
        **_apart("attempt", Attempt, attempt),
    }


class Moved(NamedTuple):
    """Where a job stands now, and the number of its newest attempt."""

    state: str
    attempts: int


def move(tx: Session, wishes: list[Row], worker: str | None, *, cancelled: Row) -> dict[str, Moved]:
    """Make every wish whose job stands in one of its sources, and has the owner and attempt that it names, if any.

    ``cancelled`` are the columns of a job that is cancelled instead. Rows are locked in the order of their ids. Returns
    the jobs that moved, by id.
    """
    rows = tx.execute(MOVE, _given(wishes, worker, cancelled))
    return {id_: Moved(state, attempts) for id_, state, attempts in rows}


def move_found(
    tx: Session, statement: TextClause, wish_of_each: Row, worker: str | None, *, cancelled: Row
) -> Sequence[RowOf[Any]]:
    """Make the same wish of each job that the queries of ``statement`` find, which :func:`of_found` has made."""
    return tx.execute(statement, _given(wish_of_each, worker, cancelled)).all()


def _given(wishes: list[Row] | Row, worker: str | None, cancelled: Row) -> dict[str, str | None]:
    instead = {key: to_json(value).decode() for key, value in _apart("cancelled", Job, cancelled).items()}
    return {"wishes": to_json(wishes).decode(), "worker": worker, **instead}


def _apart(name: str, model: type[Base], row: Row) -> Row:
    """Return the columns of ``row`` and its times apart: these count from the database's clock, the only one here."""
    apart: dict[bool, dict[str, Any]] = {False: {}, True: {}}
    is_time = _TIMES[model]
    for key, value in row.items():
        apart[is_time[key]][key] = value
    return {name: apart[False], f"{name}_times": apart[True]}


_TIMES: Final[dict[type[Base], dict[str, bool]]] = {
    model: {column.name: isinstance(column.type, DateTime) for column in model.__table__.columns}
    for model in (Job, Attempt)
}


def _set(model: type[Base], name: str) -> str:
    """Return the SET clause that keeps every column but those that the wish names."""
    table: Table = model.__table__  # type: ignore[assignment]  # of a mapped class it is one
    columns = ", ".join(f'"{column.name}"' for column in table.columns if not column.primary_key)
    instants = f"""
        SELECT coalesce(jsonb_object_agg(key, now() + make_interval(secs => CAST(value AS float8))), '{{}}')
        FROM jsonb_each_text(found.{name}_times)
    """
    return (
        f"SET ({columns}) = (SELECT {columns} FROM jsonb_populate_record({table.name}.*, found.{name} || ({instants})))"
    )


_WISH: Final = """
    sources text[], owner text, number integer, reason text, unless text[],
    job jsonb, job_times jsonb, attempt jsonb, attempt_times jsonb, submit jsonb
"""
_WISHES: Final = f"SELECT * FROM jsonb_to_recordset(CAST(:wishes AS jsonb)) AS given (id text, {_WISH})"


def _statement(wishes: str, told: str) -> TextClause:
    jobs, attempts, events = (model.__tablename__ for model in (Job, Attempt, JobEvent))
    ends = f"{jobs}.cancelling = ANY (wish.unless)"
    return text(
        f"""
        WITH wish AS (
            {wishes}
        ), found AS (
            SELECT {jobs}.id, wish.attempt, wish.attempt_times,
                CASE WHEN {ends} THEN 'cancelled on request: ' || wish.reason ELSE wish.reason END AS reason,
                CASE WHEN NOT {ends} THEN wish.submit END AS submit,
                CASE WHEN {ends} THEN CAST(:cancelled AS jsonb)
                    WHEN wish.submit IS NULL THEN wish.job
                    ELSE wish.job || jsonb_build_object(
                        'attempts', {jobs}.attempts + 1, 'started_at', coalesce({jobs}.started_at, now())
                    )
                END AS job,
                CASE WHEN {ends} THEN CAST(:cancelled_times AS jsonb) ELSE wish.job_times END AS job_times
            FROM {jobs} JOIN wish ON {jobs}.id = wish.id
            WHERE {jobs}.state = ANY (wish.sources) AND (wish.owner IS NULL OR {jobs}.owner = wish.owner)
                AND (wish.number IS NULL OR {jobs}.attempts = wish.number)
            ORDER BY {jobs}.id FOR UPDATE OF {jobs}
        ), moved AS (
            UPDATE {jobs} {_set(Job, "job")}
            FROM found WHERE {jobs}.id = found.id
            RETURNING {jobs}.id, {jobs}.attempts, {jobs}.state, found.reason
        ), paid AS (
            UPDATE {attempts} {_set(Attempt, "attempt")}
            FROM moved JOIN found ON moved.id = found.id
            WHERE {attempts}.job_id = moved.id AND {attempts}.number = moved.attempts
                AND (found.attempt <> '{{}}' OR found.attempt_times <> '{{}}')
        ), sent AS (
            INSERT INTO {attempts} (job_id, number, worker, account, callback_sha256)
            SELECT moved.id, moved.attempts, CAST(:worker AS text), submit ->> 'account', submit ->> 'callback_sha256'
            FROM moved JOIN found ON moved.id = found.id WHERE submit IS NOT NULL
        ), told AS (
            INSERT INTO {events} (job_id, state, reason, worker)
            SELECT id, state, reason, CAST(:worker AS text) FROM moved ORDER BY id
        )
        {told}
        """
    )


MOVE: Final = _statement(_WISHES, "SELECT id, state, attempts FROM moved")


def of_found(queries: Sequence[Select[str]], told: Sequence[str]) -> TextClause:
    """Return the statement that makes one wish of each job that these queries find and lock.

    It tells these columns, that do not change with it, of each job that moved, then its state and attempts.
    """
    dialect = make_url("postgresql+psycopg://").get_dialect()()
    compiled = (query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}) for query in queries)
    found = " UNION ".join(f"SELECT id FROM ({query}) AS found_{place}" for place, query in enumerate(compiled))
    wishes = f"""
        SELECT next.id, given.* FROM ({found}) AS next
        CROSS JOIN jsonb_to_record(CAST(:wishes AS jsonb)) AS given ({_WISH})
    """
    columns = ", ".join(f"{Job.__tablename__}.{name}" for name in told)
    return _statement(
        wishes, f"SELECT {columns}, moved.state, moved.attempts FROM moved JOIN {Job.__tablename__} USING (id)"
    )
