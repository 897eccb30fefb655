"""Every change of a job's state, and the queries that find whose turn it is.

:func:`apply` is the one guarded function: it takes the rows' locks in the order of their ids, checks each change
against the state machine and the row, writes rows, events, attempts, batch counts and outbox in one transaction, and
returns what it really changed. Times are the database's clock: callers give seconds from now, never instants.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, TextClause, func, literal_column, select

from cleanplate import batches, costs, moves, outbox, queue
from cleanplate.db import Transaction
from cleanplate.models import Job
from cleanplate.states import HOLDS_SLOT, LEASED, TERMINAL, InFlight, State, heeding, require


@dataclass(frozen=True, slots=True)
class Change:
    """A wish: bring ``job_id`` to ``target`` if it stands in one of ``sources`` (and belongs to ``owner``, when given).

    ``number`` is the attempt that it is about, when it is about one: by now there may be a newer one. ``values`` are
    columns of the job, ``attempt`` columns of its newest attempt; ``due_in`` and ``window_in`` are seconds from now for
    ``due_at`` and ``window_ends``. ``submit`` is as in :func:`send`.
    """

    job_id: str
    sources: frozenset[State]
    target: State
    reason: str
    owner: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    attempt: Mapping[str, Any] = field(default_factory=dict)
    due_in: float | None = None
    window_in: float | None = None
    number: int | None = None
    submit: Mapping[str, str | None] | None = None


CLAIMED: Final = frozenset({State.CLAIMED})


def apply(tx: Transaction, changes: Iterable[Change], *, worker: str | None = None) -> set[str]:
    """Make every change whose guard holds and return the ids of the jobs that moved; the others are left as they are.

    A job that is to be cancelled ends where the change would have sent it again, or carried on what was abandoned.
    Raises :class:`cleanplate.states.IllegalMoveError` when a wish is no move of the state machine at all.
    """
    return set(_apply(tx, changes, worker))


def send(tx: Transaction, worker: str, submits: Mapping[str, Mapping[str, str | None]]) -> dict[str, int]:
    """Bring jobs that ``worker`` has claimed to ``sending``, each with its row in the money ledger.

    ``submits`` are ``account`` and ``callback_sha256`` by job. Returns the numbers of the attempts of those that moved.
    """
    changes = [
        Change(id_, CLAIMED, State.SENDING, "sending", worker, {"account": one["account"], "owner": worker}, submit=one)
        for id_, one in submits.items()
    ]
    moved = _apply(tx, changes, worker)
    return {id_: now.attempts for id_, now in moved.items() if now.state == State.SENDING}


def _apply(tx: Transaction, changes: Iterable[Change], worker: str | None) -> dict[str, moves.Moved]:
    wishes = {change.job_id: change for change in changes}
    if not wishes:
        return {}
    for change in wishes.values():
        for source in change.sources:
            require(source, change.target)
    moved = moves.move(tx, [_wish(change) for change in wishes.values()], worker, cancelled=CANCELLED)
    _follow_up(tx, moved)
    return moved


def _follow_up(tx: Transaction, moved: Mapping[str, moves.Moved]) -> None:
    """Do what follows from jobs having moved."""
    ended = [job_id for job_id, now in moved.items() if now.state in TERMINAL]
    if ended:
        finals = costs.add_up(tx, ended)
        outbox.jobs_ended(tx, finals)
        batches.count_finals(tx, finals)
    for job_id, now in moved.items():
        if now.state == State.READY:
            tx.after_commit(partial(queue.send, "finalize", job_id))


def _wish(change: Change) -> moves.Row:
    return moves.wish(
        id_=change.job_id,
        sources=change.sources,
        owner=change.owner,
        number=change.number,
        reason=change.reason,
        unless=[mark for mark in InFlight if heeding(change.target, mark) is not change.target],
        job=_columns(change),
        attempt=change.attempt,
        submit=change.submit,
    )


def _columns(change: Change) -> dict[str, Any]:
    row: dict[str, Any] = {**change.values, "state": change.target}
    if change.target not in LEASED:
        row["owner"] = None
    if change.target in TERMINAL:
        row |= {"finished_at": 0.0, "sample_url": None, "sources": None}
    if change.target in TERMINAL or change.due_in is not None:
        row["due_at"] = change.due_in
    if change.window_in is not None:
        row["window_ends"] = change.window_in
    return row


CANCELLED: Final = _columns(Change("", frozenset(), State.CANCELLED, ""))
"""What becomes of a job that is to be cancelled and was to be sent again, or carried on though it is abandoned."""


# -- whose turn it is --------------------------------------------------------------------------------------------------


class Claimed(NamedTuple):
    """A job as the conveyor needs it to send it; nothing of this changes any more."""

    id: str
    tag: int
    batch_id: str | None
    image: dict[str, Any]
    params: dict[str, Any]
    send_image_key: str
    send_mask_key: str


@lru_cache
def next_queued(limit: int) -> Select[str]:
    """Return the query for the next ``limit`` jobs to claim, locked, past those that others are claiming.

    The limit is a literal: with a parameter the planner may choose a plan for a tenth of the table.
    """
    return (
        select(Job.id)
        .where(Job.state == literal_column("'queued'"))
        .order_by(Job.tag, Job.id)
        .limit(literal_column(str(int(limit))))
        .with_for_update(skip_locked=True)
    )


@lru_cache
def next_single(limit: int) -> Select[str]:
    """Return the same query for single jobs alone: those of no batch."""
    return next_queued(limit).where(Job.batch_id.is_(None))


def claim(tx: Transaction, worker: str, limit: int, *, singles: int = 0) -> list[Claimed]:
    """Lease up to ``limit`` queued jobs to ``worker``, and up to ``singles`` single ones whose turn may not be yet.

    Returns them in the order of their turns.
    """
    if limit <= 0 and singles <= 0:
        return []
    claims = Change("", frozenset({State.QUEUED}), State.CLAIMED, "claimed", values={"owner": worker})
    rows = moves.move_found(tx, claiming(limit, singles), _wish(claims), worker, cancelled=CANCELLED)
    _follow_up(tx, {row.id: moves.Moved(row.state, row.attempts) for row in rows})
    claimed = [Claimed._make(row[: len(Claimed._fields)]) for row in rows if row.state == State.CLAIMED]
    return sorted(claimed, key=lambda job: (job.tag, job.id))


@lru_cache
def claiming(limit: int, singles: int) -> TextClause:
    """Return the statement that claims, whole: to find, lock and move is one round trip."""
    queries = ([next_queued(limit)] if limit > 0 else []) + ([next_single(singles)] if singles > 0 else [])
    return moves.of_found(queries, Claimed._fields)


def slots_held(account: Any) -> Select[Any]:
    """Return the query that counts the slots of ``account``, a name or a column, that are in use."""
    return select(func.count()).where(Job.account == account, Job.state.in_(literals(HOLDS_SLOT)))


def literals(states: Iterable[State]) -> list[Any]:
    """Return the states as SQL literals: a partial index matches only what the planner can read."""
    return [literal_column(f"'{state}'") for state in sorted(states)]


def unconfirmed(job_id: str, detail: str, hold_seconds: float, owner: str | None = None) -> Change:
    """Return the change for a submit whose answer is not known."""
    return Change(
        job_id,
        frozenset({State.SENDING}),
        State.UNCONFIRMED,
        detail,
        owner,
        attempt={"outcome": "unconfirmed", "detail": detail},
        due_in=hold_seconds,
    )


@lru_cache
def due(state: State, limit: int) -> Any:
    """Return the query for jobs in ``state`` whose rescuer is due, oldest first."""
    return (
        select(Job)
        .where(Job.state == literal_column(f"'{state}'"), Job.due_at <= func.now())
        .order_by(Job.due_at)
        .limit(literal_column(str(int(limit))))
        .with_for_update(skip_locked=True)
    )
