"""Receivers of webhooks: what they are turned off and on by, and the secrets that sign what they get."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, update

from cleanplate import outbox, resources
from cleanplate.db import Transaction
from cleanplate.models import Endpoint

OVERLAP: Final = timedelta(hours=24)
"""How long the secret before the newest signs, too."""
ON: Final[dict[str, Any]] = {"enabled": True, "disabled_at": None, "disabled_reason": None, "failing_since": None}


def off(reason: str) -> dict[str, Any]:
    """Return the columns of an endpoint that is turned off from now on, for a reason that its owner can read."""
    return {"enabled": False, "disabled_at": func.now(), "disabled_reason": reason}


def disable(tx: Transaction, endpoint_id: str, reason: str) -> bool:
    """Turn an endpoint off because of how it answers, and tell the tenant's others; return whether it was on."""
    its = (Endpoint.id == endpoint_id, Endpoint.enabled)
    row = tx.scalars(update(Endpoint).where(*its).values(off(reason)).returning(Endpoint)).one_or_none()
    if row is None:
        return False
    data = resources.Endpoint.model_validate(row, from_attributes=True).model_dump(mode="json")
    outbox.publish(tx, row.tenant_id, "webhook_endpoint.disabled", data, but=row.id)
    return True


def sealed_secrets(row: Endpoint) -> tuple[str, ...]:
    """Return the encrypted secrets that sign what an endpoint gets now: the newest, and during a rotation the last."""
    before, until = row.previous_secret_encrypted, row.previous_secret_until
    if before is not None and until is not None and until > datetime.now(UTC):
        return row.secret_encrypted, before
    return (row.secret_encrypted,)
