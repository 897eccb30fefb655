"""What the upstream accounts take now: their caps, what a 429 taught, and who gets a slot of which.

Each is one row in ``accounts``, so every conveyor sees the same and a person can read it in ``/v1/upstream``.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from heapq import nsmallest
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, cast, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from cleanplate import accounts, jobs
from cleanplate.access import Access
from cleanplate.db import Transaction
from cleanplate.jobs import Change, slots_held
from cleanplate.models import Account, Job
from cleanplate.states import State
from worker import budget, seating
from worker.latencies import Learned

DEFAULT_GATE_SECONDS: Final = 1.0


def ensure(tx: Transaction, given: Sequence[Access]) -> None:
    """Write the accounts' rows, or bring their caps to what the settings say now.

    One that the settings name no more has no slots: it gets no job, and what it has in flight still counts and ends.
    """
    accounts.lock(tx)
    rows = [{"name": one.name, "cap": one.slots, "allowed": one.slots} for one in given]
    statement = insert(Account).values(rows)
    caps = {"cap": statement.excluded.cap, "allowed": statement.excluded.cap}
    changed = Account.cap != statement.excluded.cap
    tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_=caps, where=changed))
    named = Account.name.in_([one.name for one in given])
    tx.execute(update(Account).where(~named, Account.cap > 0).values(cap=0, allowed=0))


class Seat(NamedTuple):
    """A slot that a job holds: of this account, for its attempt of this number."""

    account: str
    number: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What one transaction of a conveyor came to, in ids of jobs.

    ``granted`` were changed as wished, ``seated`` hold a slot now, ``lost`` stood in line and are no longer its own.
    """

    granted: AbstractSet[str]
    seated: Mapping[str, Seat]
    lost: AbstractSet[str]


def turn(
    tx: Transaction,
    worker: str,
    names: Collection[str],
    changes: Sequence[Change],
    effects: Sequence[Callable[[Transaction], None]],
    line: Mapping[str, str | None],
) -> Turn:
    """Make changes, then what follows from them for the accounts, then give the slots that are free to those in line.

    ``names`` are the accounts that the worker has keys of. ``line`` holds ids of jobs in the order of their turn, each
    with the digest of the callback it will ask for.
    """
    if line or effects:
        accounts.lock(tx)
    granted = jobs.apply(tx, changes, worker=worker)
    for effect in effects:
        effect(tx)
    seated, lost = _seat(tx, worker, names, line) if line else ({}, set())
    return Turn(granted, seated, lost)


def _seat(
    tx: Transaction, worker: str, names: Collection[str], line: Mapping[str, str | None]
) -> tuple[dict[str, Seat], set[str]]:
    """Move as many of ``line`` (claimed by ``worker``, in this order) to ``sending`` as the accounts have slots for.

    Lock, count and move are separate statements on purpose: the count must see what others committed before the lock.
    Each job that moves gets its row in the money ledger.
    """
    rooms, limited, crowded = _rooms(tx, worker, names)
    beyond = budget.beyond(tx, line) if limited and rooms else frozenset()
    line = {id_: callback for id_, callback in line.items() if id_ not in beyond}
    chosen = seating.first_in_line(tx, worker, line, sum(room.free for room in rooms), crowded=crowded)
    given = dict(zip(chosen, share_out(rooms, len(chosen)), strict=True))
    submits = {id_: {"account": name, "callback_sha256": line[id_]} for id_, name in given.items()}
    seated = {id_: Seat(given[id_], number) for id_, number in jobs.send(tx, worker, submits).items()}
    probed = {room.name for room in rooms if room.probe} & {seat.account for seat in seated.values()}
    if probed:
        gate = func.now() + timedelta(seconds=accounts.PROBE_SECONDS)
        tx.execute(update(Account).where(Account.name.in_(probed)).values(gate_until=gate))
    lost = set(chosen) - seated.keys()
    if lost:  # then more may be, of a batch that was cancelled: find them all before their turn
        mine = select(Job.id).where(Job.id.in_(line), Job.owner == worker, Job.state == State.CLAIMED)
        lost = line.keys() - seated.keys() - set(tx.scalars(mine))
    return seated, lost | budget.hold(tx, worker, beyond) if beyond else lost


@dataclass(frozen=True, slots=True)
class Room:
    """The slots of an account that are free, and what share of all that it is allowed each of them is.

    Of a paused account a ``probe`` has the one slot.
    """

    name: str
    free: int
    share: float
    probe: bool = False


def share_out(rooms: Sequence[Room], wanted: int) -> list[str]:
    """Return the accounts that the next ``wanted`` jobs go to: each to the one of which the largest share is free."""
    slots = [(-left * room.share, room.name) for room in rooms for left in range(room.free, 0, -1)[:wanted]]
    return [name for _, name in nsmallest(wanted, slots)]


@lru_cache
def open_accounts(worker: str, names: frozenset[str]) -> Select[Any]:
    """Return the query for those of these accounts that may be submitted to now, each with the slots it holds.

    It also tells, with each, whether any batch under way has a budget, and whether a slot may have to be left.
    """
    opened = func.coalesce(Account.gate_until <= func.now(), text("true"))
    held = slots_held(Account.name).scalar_subquery().label("held")
    asked = (budget.any_limited(), seating.crowded(worker))
    return select(Account.name, Account.allowed, Account.paused_reason, held, *asked).where(
        Account.name.in_(names), opened, Account.paused_reason.is_distinct_from(accounts.BY_HAND)
    )


def _rooms(tx: Transaction, worker: str, names: Collection[str]) -> tuple[list[Room], bool, bool]:
    rows = tx.execute(open_accounts(worker, frozenset(names))).all()
    rooms = [_room(row.name, row.allowed, row.held, row.paused_reason) for row in rows if row.held < row.allowed]
    return rooms, any(row.limited for row in rows), any(row.crowded for row in rows)


def _room(name: str, allowed: int, held: int, paused_reason: str | None) -> Room:
    if paused_reason is None:
        return Room(name, allowed - held, 1 / allowed)
    # A probe that costs nothing goes first, for it takes a moment; one that may cost money only if no other has a slot.
    return Room(name, 1, 0.0 if paused_reason == accounts.UNANSWERED else 1.0, probe=True)


def limit_hit(tx: Transaction, account: str, retry_after: float | None) -> None:
    """After a 429: allow what the upstream accepted, and wait for as long as it asked."""
    accepted = tx.scalar(slots_held(account)) or 0
    tx.execute(
        update(Account)
        .where(Account.name == account)
        .values(
            allowed=func.least(Account.cap, func.greatest(1, func.least(Account.allowed, accepted))),
            allowed_at=func.now(),
            gate_until=func.now() + timedelta(seconds=DEFAULT_GATE_SECONDS if retry_after is None else retry_after),
        )
    )


def keep_up(tx: Transaction, learned: Mapping[str, Learned]) -> bool:
    """Keep the learned latencies where quotes and the next start find them, and regrow by them.

    An account is allowed one more task for each latency that has passed since the last change; returns whether one was.
    """
    accounts.lock(tx)
    for name, latency in learned.items():
        by_size = Account.latencies.op("||")(cast(latency.by_size, JSONB))
        tx.execute(
            update(Account).where(Account.name == name).values(latency_seconds=latency.seconds, latencies=by_size)
        )
    seconds = func.coalesce(Account.latency_seconds, 1.0)
    due = Account.allowed_at + func.make_interval(0, 0, 0, 0, 0, 0, seconds) <= func.now()
    grown = tx.scalars(
        update(Account)
        .where(Account.allowed < Account.cap, due)
        .values(allowed=Account.allowed + 1, allowed_at=func.now())
        .returning(Account.name)
    )
    return bool(grown.all())


def learned(tx: Transaction) -> dict[str, Learned]:
    """Return the latencies that were learned last, by account."""
    known = select(Account).where(Account.latency_seconds.is_not(None))
    return {row.name: Learned(row.latency_seconds or 0.0, row.latencies) for row in tx.scalars(known)}
