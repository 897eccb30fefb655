"""What a worker leases, for as long as it lives: renewed, handed over, and rescued by others when it dies."""

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import delete, func, insert, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cleanplate import jobs
from cleanplate.db import Transaction
from cleanplate.jobs import Change
from cleanplate.models import Job, JobEvent, Worker
from cleanplate.states import LEASED, State


@lru_cache
def orphans(worker: str, limit: int) -> Any:
    """Return the query for leased jobs whose worker is gone: handed over (no owner), or its lease has ended.

    Those of ``worker``, who asks and so is alive, are none, even when it is late with its own lease. The order is the
    index's: with another the planner walks all jobs for the few orphans that it expects and never are.
    """
    gone = Job.owner.not_in(select(Worker.id).where(Worker.expires_at > func.now()))
    return (
        select(Job.id, Job.state)
        .where(Job.state.in_(jobs.literals(LEASED)), or_(Job.owner.is_(None), (Job.owner != worker) & gone))
        .order_by(Job.owner)
        .limit(literal_column(str(int(limit))))
        .with_for_update(skip_locked=True)
    )


def rescue(tx: Transaction, worker: str, *, hold_seconds: float, limit: int = 200) -> list[str]:
    """Take over what dead workers left: claimed goes back to the queue, sending becomes unconfirmed.

    Jobs in flight become ``worker``'s own; their ids are returned for it to poll.
    """
    adopted: list[str] = []
    changes = []
    for id_, state in tx.execute(orphans(worker, limit)).all():
        match State(state):
            case State.CLAIMED:
                changes.append(Change(id_, jobs.CLAIMED, State.QUEUED, "lease ended"))
            case State.SENDING:
                changes.append(jobs.unconfirmed(id_, "the worker died while the submit was on the wire", hold_seconds))
            case _:
                adopted.append(id_)
    jobs.apply(tx, changes, worker=worker)
    if adopted:
        tx.execute(update(Job).where(Job.id.in_(adopted)).values(owner=worker))
        tx.execute(
            insert(JobEvent),
            [{"job_id": i, "state": State.INFLIGHT, "reason": "adopted", "worker": worker} for i in adopted],
        )
    return adopted


class Held(NamedTuple):
    """How a job stands that a worker leases: its state, the number of its newest attempt, whose slot it has."""

    state: State
    attempts: int
    account: str | None


def held(tx: Transaction, worker: str) -> dict[str, Held]:
    """Return the jobs that ``worker`` leases."""
    mine = select(Job.id, Job.state, Job.attempts, Job.account)
    rows = tx.execute(mine.where(Job.owner == worker, Job.state.in_(jobs.literals(LEASED))))
    return {id_: Held(State(state), attempts, account) for id_, state, attempts, account in rows}


def regain(tx: Transaction, worker: str, strays: Mapping[str, Held]) -> list[str]:
    """Set jobs going again that ``worker`` leases and does not carry, since it never heard that it got them.

    ``strays`` are as :func:`held` told of them; one that has changed since is left alone, for it may be carried now.
    It has sent none that is ``sending``: it sends when it hears of its slot. Returns those in flight, for it to poll.
    """
    now = held(tx, worker)
    still = {id_: seen.state for id_, seen in strays.items() if now.get(id_) == seen}
    ids = {state: [id_ for id_ in still if still[id_] is state] for state in LEASED}
    never = {"outcome": "not_accepted", "detail": "never sent", "answered_at": 0.0}
    back = {"owner": worker, "account": None}
    reason = "its worker did not hear that it was its own"
    sending = frozenset({State.SENDING})
    unsent = [Change(i, sending, State.CLAIMED, reason, worker, back, never) for i in ids[State.SENDING]]
    jobs.apply(tx, unsent, worker=worker)
    queued = [Change(i, jobs.CLAIMED, State.QUEUED, reason, worker) for i in ids[State.CLAIMED] + ids[State.SENDING]]
    jobs.apply(tx, queued, worker=worker)
    return ids[State.INFLIGHT]


def hand_over(tx: Transaction, worker: str) -> None:
    """Let go of all that ``worker`` holds, as it stops: whoever is alive adopts what is in flight at once."""
    mine = select(Job.id).where(Job.owner == worker, Job.state == literal_column("'claimed'"))
    back = [Change(id_, jobs.CLAIMED, State.QUEUED, "worker stopped", worker) for id_ in tx.scalars(mine)]
    jobs.apply(tx, back, worker=worker)
    tx.execute(update(Job).where(Job.owner == worker, Job.state == literal_column("'inflight'")).values(owner=None))
    tx.execute(delete(Worker).where(Worker.id == worker))


def heartbeat(tx: Transaction, worker: str, ttl_seconds: float) -> None:
    """Renew the lease of ``worker``. After an interruption it lives again: what others took meanwhile stays theirs."""
    expires = func.now() + timedelta(seconds=ttl_seconds)
    row = upsert(Worker).values(id=worker, expires_at=expires)
    tx.execute(row.on_conflict_do_update(index_elements=["id"], set_={"expires_at": expires}))
