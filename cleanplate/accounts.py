"""Whether each upstream account is submitted to, and why not: by what it answers, or because a person says so."""

from collections.abc import Iterable
from datetime import timedelta
from statistics import harmonic_mean
from typing import Final

from sqlalchemy import func, select, text, update

from cleanplate import outbox, settings
from cleanplate.db import Transaction
from cleanplate.models import Account, Tenant

BY_HAND: Final = "manual"
"""The reason of a pause that only a person ends."""
UNANSWERED: Final = "unanswered"
PROBE_SECONDS: Final = 5.0
UNANSWERED_ALLOWED: Final = 5
"""A submit without an answer may be paid for nothing, so after so many in a row only one at a time is tried."""

IS_PAUSED: Final = Account.paused_reason.is_not(None)


def lock(tx: Transaction) -> None:
    """Lock the slots of all accounts until the transaction ends, before any row of an account or a job.

    One lock for all: whoever writes to several accounts would else wait in a circle with whoever does it the other way.
    """
    tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('cleanplate.slots'))"))


def in_use(tx: Transaction) -> list[str]:
    """Return the names of the accounts that the settings name."""
    return list(tx.scalars(select(Account.name).where(Account.cap > 0).order_by(Account.name)))


def latency(rows: Iterable[Account]) -> float | None:
    """Return the seconds of a task at which all slots allowed are as fast as these accounts are together."""
    known = [(row.latency_seconds, row.allowed) for row in rows if row.latency_seconds and row.allowed]
    if not known:
        return None
    return round(harmonic_mean([seconds for seconds, _ in known], [allowed for _, allowed in known]), 3)


def price(tx: Transaction) -> float:
    """Return the credits that a task is expected to cost at most: by the setting, or what the newest ones did cost."""
    learned = tx.scalar(select(func.max(Account.price_credits)).where(Account.cap > 0))
    return max(settings.get().cost_credits, learned or 0.0)


def pause(tx: Transaction, account: str, reason: str, detail: str) -> None:
    """Stop submitting to ``account`` and say why; what a person has paused stays as it is.

    Unless a person paused it, a single job is let through every few seconds to see whether it is mended.
    """
    was_open = tx.scalar(
        update(Account)
        .where(Account.name == account, ~IS_PAUSED)
        .values(paused_at=func.now(), paused_reason=reason)
        .returning(Account.name)
    )
    by_hand = Account.paused_reason == BY_HAND
    tx.execute(
        update(Account)
        .where(Account.name == account, ~by_hand if reason != BY_HAND else IS_PAUSED)
        .values(paused_reason=reason, paused_detail=detail, gate_until=func.now() + timedelta(seconds=PROBE_SECONDS))
    )
    if was_open is not None:
        _tell(tx, "upstream.paused", {"account": account, "reason": reason, "detail": detail})


def resume(tx: Transaction, account: str) -> bool:
    """Go on submitting to ``account``, whoever paused it; return whether it was paused."""
    resumed = tx.scalar(
        update(Account)
        .where(Account.name == account, IS_PAUSED)
        .values(paused_reason=None, paused_detail=None, paused_at=None, gate_until=None, unanswered=0)
        .returning(Account.name)
    )
    if resumed is not None:
        _tell(tx, "upstream.resumed", {"account": account})
    return resumed is not None


def answered(tx: Transaction, account: str, cost: float | None = None) -> None:
    """Take in that a submit was answered as it should be: what was in the way is mended, and it costs so many credits.

    ``cost`` is None when the answer told none.
    """
    told = (Account.paused_reason, Account.unanswered, Account.price_credits)
    row = tx.execute(select(*told).where(Account.name == account)).one()
    if cost is not None and cost != row.price_credits:
        tx.execute(update(Account).where(Account.name == account).values(price_credits=cost))
    if row.paused_reason not in {None, BY_HAND}:
        resume(tx, account)
    elif row.unanswered:
        tx.execute(update(Account).where(Account.name == account).values(unanswered=0))


def admitted(tx: Transaction, account: str) -> None:
    """Take in that a key which was refused is taken again."""
    if tx.scalar(select(Account.paused_reason).where(Account.name == account)) == "access":
        resume(tx, account)


def unanswered(tx: Transaction, account: str) -> None:
    """Count a submit that nobody knows to be accepted or not; after a few in a row, pause."""
    count = tx.scalar(
        update(Account)
        .where(Account.name == account)
        .values(unanswered=Account.unanswered + 1)
        .returning(Account.unanswered)
    )
    if (count or 0) >= UNANSWERED_ALLOWED:
        detail = f"{count} submits in a row had no answer that says whether they were accepted"
        pause(tx, account, UNANSWERED, detail)


def _tell(tx: Transaction, event_type: str, data: dict[str, str]) -> None:
    for tenant_id in tx.scalars(select(Tenant.id).order_by(Tenant.id)):
        outbox.publish(tx, tenant_id, event_type, data)
