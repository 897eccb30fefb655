"""Whether the upstream account is being submitted to, and why not: by what it answers, or because a person says so."""

from datetime import timedelta
from typing import Final

from sqlalchemy import func, select, update

from cleanplate import outbox
from cleanplate.db import Transaction
from cleanplate.models import Account, Tenant

ACCOUNT: Final = "default"
BY_HAND: Final = "manual"
"""The reason of a pause that only a person ends."""
PROBE_SECONDS: Final = 5.0
UNANSWERED_ALLOWED: Final = 5
"""A submit without an answer may be paid for nothing, so after so many in a row only one at a time is tried."""

IS_PAUSED: Final = Account.paused_reason.is_not(None)


def pause(tx: Transaction, reason: str, detail: str) -> None:
    """Stop submitting and say why; what a person has paused stays as it is.

    Unless a person paused it, a single job is let through every few seconds to see whether it is mended.
    """
    was_open = tx.scalar(
        update(Account)
        .where(Account.name == ACCOUNT, ~IS_PAUSED)
        .values(paused_at=func.now(), paused_reason=reason)
        .returning(Account.name)
    )
    by_hand = Account.paused_reason == BY_HAND
    tx.execute(
        update(Account)
        .where(Account.name == ACCOUNT, ~by_hand if reason != BY_HAND else IS_PAUSED)
        .values(paused_reason=reason, paused_detail=detail, gate_until=func.now() + timedelta(seconds=PROBE_SECONDS))
    )
    if was_open is not None:
        _tell(tx, "upstream.paused", {"account": ACCOUNT, "reason": reason, "detail": detail})


def resume(tx: Transaction) -> bool:
    """Go on submitting, whoever paused it; return whether it was paused."""
    resumed = tx.scalar(
        update(Account)
        .where(Account.name == ACCOUNT, IS_PAUSED)
        .values(paused_reason=None, paused_detail=None, paused_at=None, gate_until=None, unanswered=0)
        .returning(Account.name)
    )
    if resumed is not None:
        _tell(tx, "upstream.resumed", {"account": ACCOUNT})
    return resumed is not None


def answered(tx: Transaction) -> None:
    """Take in that a submit was answered as it should be: what was in the way is mended."""
    row = tx.execute(select(Account.paused_reason, Account.unanswered).where(Account.name == ACCOUNT)).one()
    if row.paused_reason not in {None, BY_HAND}:
        resume(tx)
    elif row.unanswered:
        tx.execute(update(Account).where(Account.name == ACCOUNT).values(unanswered=0))


def unanswered(tx: Transaction) -> None:
    """Count a submit that nobody knows to be accepted or not; after a few in a row, pause."""
    count = tx.scalar(
        update(Account)
        .where(Account.name == ACCOUNT)
        .values(unanswered=Account.unanswered + 1)
        .returning(Account.unanswered)
    )
    if (count or 0) >= UNANSWERED_ALLOWED:
        pause(tx, "unanswered", f"{count} submits in a row had no answer that says whether they were accepted")


def _tell(tx: Transaction, event_type: str, data: dict[str, str]) -> None:
    for tenant_id in tx.scalars(select(Tenant.id).order_by(Tenant.id)):
        outbox.publish(tx, tenant_id, event_type, data)
