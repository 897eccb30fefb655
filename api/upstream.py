"""``/v1/upstream``: how the upstream account is doing."""

from fastapi import APIRouter, Depends
from sqlalchemy import func, select

from api import examples
from api.auth import caller
from api.documentation import answers, example
from cleanplate import db, jobs, settings
from cleanplate.models import Account, Worker
from cleanplate.resources import Upstream

router = APIRouter(prefix="/v1", tags=["upstream"], dependencies=[Depends(caller)], responses=answers(401, 500, 503))


@router.get("/upstream", responses=example(200, "The account.", examples.UPSTREAM))
def get_upstream() -> Upstream:
    """Return how many tasks the account may hold and holds, whether submitting is paused and why, and its latency."""
    with db.transaction() as tx:
        workers = tx.scalar(select(func.count()).select_from(Worker).where(Worker.expires_at > func.now())) or 0
        row = tx.scalars(select(Account).order_by(Account.name).limit(1)).first()
        used = tx.scalar(jobs.slots_held(row.name)) or 0 if row else 0
    if row is None:  # no conveyor has ever started here
        cap = settings.get().bfl_max_in_flight
        row = Account(name="default", cap=cap, allowed=cap)
    return Upstream(
        account=row.name,
        slots=row.cap,
        slots_allowed=row.allowed,
        slots_used=used,
        paused=row.paused_reason is not None,
        paused_reason=row.paused_reason,
        paused_detail=row.paused_detail,
        paused_at=row.paused_at,
        latency_seconds=row.latency_seconds,
        workers=workers,
    )
