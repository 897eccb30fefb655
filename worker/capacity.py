"""What the upstream account takes now: its cap, what a 429 taught, and who gets a slot.

All of it is one row in ``accounts``, so every conveyor sees the same and a person can read it in ``/v1/upstream``.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from cleanplate import accounts, jobs
from cleanplate.accounts import ACCOUNT
from cleanplate.db import Transaction
from cleanplate.jobs import Change, slots_held
from cleanplate.models import Account, Attempt, Job
from cleanplate.states import State
from worker import seating

DEFAULT_GATE_SECONDS: Final = 1.0


def ensure(tx: Transaction, cap: int) -> None:
    """Write the account's row, or bring its cap to what the settings say now."""
    statement = insert(Account).values(name=ACCOUNT, cap=cap, allowed=cap)
    changed = {"cap": cap, "allowed": cap}
    tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changed, where=Account.cap != cap))


@dataclass(frozen=True, slots=True)
class Turn:
    """What one transaction of a conveyor came to, in ids of jobs.

    ``granted`` were changed as wished, ``seated`` hold a slot now, each for the attempt of this number, ``lost`` stood
    in line and are no longer its own.
    """

    granted: AbstractSet[str]
    seated: Mapping[str, int]
    lost: AbstractSet[str]


def turn(
    tx: Transaction,
    worker: str,
    changes: Sequence[Change],
    effects: Sequence[Callable[[Transaction], None]],
    line: Mapping[str, str | None],
) -> Turn:
    """Make changes, then what follows from them for the account, then give the slots that are free to those in line.

    ``line`` holds ids of jobs in the order of their turn, each with the digest of the callback it will ask for.
    The account is locked before any job, by everybody, so that transactions cannot wait in a circle.
    """
    if line or effects:
        tx.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"cleanplate.slots.{ACCOUNT}"})
    granted = jobs.apply(tx, changes, worker=worker)
    for effect in effects:
        effect(tx)
    seated, lost = _seat(tx, worker, line) if line else ({}, set())
    return Turn(granted, seated, lost)


def _seat(tx: Transaction, worker: str, line: Mapping[str, str | None]) -> tuple[dict[str, int], set[str]]:
    """Move as many of ``line`` (claimed by ``worker``, in this order) to ``sending`` as the account has slots for them.

    Lock, count and move are separate statements on purpose: the count must see what others committed before the lock.
    Each job that moves gets its row in the money ledger.
    """
    chosen = seating.first_in_line(tx, worker, line, _free(tx))
    claimed = frozenset({State.CLAIMED})
    held = {"account": ACCOUNT, "owner": worker}
    moved = jobs.apply(
        tx, [Change(id_, claimed, State.SENDING, "sending", worker, held) for id_ in chosen], worker=worker
    )
    numbers: dict[str, int] = {}
    if moved:
        first = func.coalesce(Job.started_at, func.now())
        begun = update(Job).where(Job.id.in_(moved)).values(attempts=Job.attempts + 1, started_at=first)
        numbers = {row.id: row.attempts for row in tx.execute(begun.returning(Job.id, Job.attempts))}
        of_all = {"account": ACCOUNT, "worker": worker}
        tx.execute(
            insert(Attempt),
            [{"job_id": id_, "number": n, "callback_sha256": line[id_], **of_all} for id_, n in numbers.items()],
        )
    return numbers, set(chosen) - moved


def _free(tx: Transaction) -> int:
    opened = func.coalesce(Account.gate_until <= func.now(), text("true"))
    row = tx.execute(
        select(Account.allowed, Account.paused_reason, opened.label("open")).where(Account.name == ACCOUNT)
    ).one()
    if not row.open or row.paused_reason == accounts.BY_HAND:
        return 0
    held: int = tx.scalar(slots_held(ACCOUNT)) or 0
    free: int = max(0, row.allowed - held)
    if row.paused_reason is None or not free:
        return free
    gate = func.now() + timedelta(seconds=accounts.PROBE_SECONDS)
    tx.execute(update(Account).where(Account.name == ACCOUNT).values(gate_until=gate))
    return 1


def limit_hit(tx: Transaction, retry_after: float | None) -> None:
    """After a 429: allow what the upstream accepted, and wait for as long as it asked."""
    accepted = tx.scalar(slots_held(ACCOUNT)) or 0
    tx.execute(
        update(Account)
        .where(Account.name == ACCOUNT)
        .values(
            allowed=func.greatest(1, func.least(Account.allowed, accepted)),
            allowed_at=func.now(),
            gate_until=func.now() + timedelta(seconds=DEFAULT_GATE_SECONDS if retry_after is None else retry_after),
        )
    )


def keep_up(tx: Transaction, latency_seconds: float | None) -> bool:
    """Keep the learned latency where quotes and the next start find it, and regrow by it.

    One more task is allowed for each latency that has passed since the last change; returns whether one was.
    """
    if latency_seconds is not None:
        tx.execute(update(Account).where(Account.name == ACCOUNT).values(latency_seconds=latency_seconds))
    seconds = func.coalesce(Account.latency_seconds, 1.0)
    due = Account.allowed_at + func.make_interval(0, 0, 0, 0, 0, 0, seconds) <= func.now()
    grown = tx.scalar(
        update(Account)
        .where(Account.name == ACCOUNT, Account.allowed < Account.cap, due)
        .values(allowed=Account.allowed + 1, allowed_at=func.now())
        .returning(Account.allowed)
    )
    return grown is not None


def learned(tx: Transaction) -> float | None:
    """Return the latency that was learned last, in seconds."""
    return tx.scalar(select(Account.latency_seconds).where(Account.name == ACCOUNT))
