"""Receivers of webhooks as rows: made with a secret of their own, which is told once."""

import base64
import secrets

from sqlalchemy import Boolean, literal_column
from sqlalchemy.dialects.postgresql import insert

from cleanplate import endpoints, ids, outbound, settings, vault
from cleanplate.db import Transaction
from cleanplate.models import Endpoint

SECRET_BYTES = 32


def new_secret() -> str:
    """Return a signing secret in the form of Standard Webhooks: ``whsec_`` and base64 of 24 to 64 random bytes."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def check_url(url: str) -> None:
    """Raise ``outbound.ForbiddenUrl`` for an address that no webhook may go to."""
    outbound.check_url(url, settings.get().allow_private_networks)


def create(tx: Transaction, tenant_id: str, url: str, events: list[str]) -> tuple[Endpoint, str]:
    """Write an endpoint that hears of all of a tenant's ``events`` (none named: of every kind); return its secret."""
    secret = new_secret()
    row = Endpoint(
        id=ids.new(ids.Kind.ENDPOINT),
        tenant_id=tenant_id,
        url=url,
        events=events,
        secret_encrypted=vault.seal(secret),
    )
    tx.add(row)
    tx.flush()
    return row, secret


def one_off(tx: Transaction, tenant_id: str, url: str) -> tuple[str, str | None]:
    """Return the id of the tenant's endpoint for a ``webhook_url``, and its secret if it is named for the first time.

    Naming one again turns it on again: whoever names it wants to hear.
    """
    secret = new_secret()
    row = insert(Endpoint).values(
        id=ids.new(ids.Kind.ENDPOINT),
        tenant_id=tenant_id,
        url=url,
        secret_encrypted=vault.seal(secret),
        one_off=True,
    )
    id_, made = tx.execute(
        row.on_conflict_do_update(
            index_elements=["tenant_id", "url"],
            index_where=Endpoint.one_off & Endpoint.deleted_at.is_(None),
            set_=endpoints.ON,
        ).returning(Endpoint.id, literal_column("xmax = 0", Boolean))  # a row that was there carries its updater's id
    ).one()
    return id_, secret if made else None
