"""``/v1/upstream``: how the upstream accounts are doing."""

from fastapi import APIRouter, Depends
from sqlalchemy import func, select

from api import examples
from api.auth import caller
from api.documentation import answers, example
from cleanplate import accounts, db, jobs, settings
from cleanplate.models import Account, Worker
from cleanplate.resources import Upstream, UpstreamAccount

router = APIRouter(prefix="/v1", tags=["upstream"], dependencies=[Depends(caller)], responses=answers(401, 500, 503))


@router.get("/upstream", responses=example(200, "The accounts.", examples.UPSTREAM))
def get_upstream() -> Upstream:
    """Return how many tasks the accounts may hold and hold, whether submitting is paused and why, and their latency."""
    held = jobs.slots_held(Account.name).scalar_subquery()
    with db.transaction() as tx:
        workers = tx.scalar(select(func.count()).select_from(Worker).where(Worker.expires_at > func.now())) or 0
        rows = [
            (row, used) for row, used in tx.execute(select(Account, held).order_by(Account.name)) if row.cap or used
        ]
    if not rows:  # no conveyor has ever started here
        named = settings.get().upstream_accounts
        rows = [(Account(name=one.name, cap=one.slots, allowed=one.slots), 0) for one in named]
    each = [_account(row, used) for row, used in rows]
    current = [account for account in each if account.slots] or each
    paused = all(account.paused for account in current)
    asked = [account for account in each if account.balance_credits is not None]
    return Upstream(
        account=", ".join(account.account for account in current),
        slots=sum(account.slots for account in each),
        slots_allowed=sum(account.slots_allowed for account in each),
        slots_used=sum(account.slots_used for account in each),
        paused=paused,
        paused_reason=current[0].paused_reason if paused else None,
        paused_detail=current[0].paused_detail if paused else None,
        paused_at=current[0].paused_at if paused else None,
        latency_seconds=accounts.latency(row for row, _ in rows),
        balance_credits=sum(account.balance_credits or 0.0 for account in asked) if asked else None,
        balance_at=min((account.balance_at for account in asked if account.balance_at), default=None),
        workers=workers,
        accounts=each,
    )


def _account(row: Account, used: int) -> UpstreamAccount:
    return UpstreamAccount(
        account=row.name,
        slots=row.cap,
        slots_allowed=row.allowed,
        slots_used=used,
        paused=row.paused_reason is not None,
        paused_reason=row.paused_reason,
        paused_detail=row.paused_detail,
        paused_at=row.paused_at,
        latency_seconds=row.latency_seconds,
        balance_credits=row.balance_credits,
        balance_at=row.balance_at,
    )
