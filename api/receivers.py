"""Receivers of webhooks as rows: made with a secret of their own, which is told once."""

import base64
import secrets
from typing import Any

from sqlalchemy import Boolean, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from api.errors import Problem, not_found
from cleanplate import endpoints, ids, outbound, settings, vault
from cleanplate.db import Transaction
from cleanplate.models import Batch, Endpoint
from cleanplate.webhooks import EndpointChange

SECRET_BYTES = 32
MOST = 100
"""Registered receivers of a team: each event is written once for every one that hears of it."""


def new_secret() -> str:
    """Return a signing secret in the form of Standard Webhooks: ``whsec_`` and base64 of 24 to 64 random bytes."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def check_url(url: str) -> None:
    """Raise ``outbound.ForbiddenUrl`` for an address that no webhook may go to, or not as it is meant."""
    outbound.check_url(url, settings.get().allow_private_networks)
    if "#" in url:
        raise outbound.ForbiddenUrl("url_fragment", "The part of the URL after # is never sent: leave it out.")


def is_off() -> Problem:
    return Problem(409, "endpoint_disabled", "The endpoint is turned off or deleted: nothing is sent to it.")


def too_many() -> Problem:
    detail = f"Your team has {MOST} webhook endpoints, and more cannot be; those that a batch or job named don't count."
    return Problem(409, "too_many_endpoints", detail)


def is_one_off() -> Problem:
    detail = "A batch or job named this address; it is turned off and on, and nothing else changes about it."
    return Problem(409, "endpoint_one_off", detail)


def get(tx: Transaction, tenant_id: str, endpoint_id: str, *, lock: bool = False) -> Endpoint:
    """Return the tenant's endpoint of this id, locked until the end of ``tx`` if that is asked for.

    Raises :class:`Problem` 404.
    """
    its = (Endpoint.id == endpoint_id, Endpoint.tenant_id == tenant_id, Endpoint.deleted_at.is_(None))
    found = select(Endpoint).where(*its)
    row = tx.scalars(found.with_for_update() if lock else found).first()
    if row is None:
        raise not_found("webhook endpoint")
    return row


def change(row: Endpoint, wanted: EndpointChange) -> None:
    """Give a row, which is locked, the values that are asked for. Raises :class:`Problem` 409 for a one-off one's."""
    if row.one_off and not (wanted.url is None and wanted.events is None):
        raise is_one_off()
    values: dict[str, Any] = {}
    if wanted.url is not None:
        values |= {"url": wanted.url, "failing_since": None}
    if wanted.events is not None:
        values["events"] = list(dict.fromkeys(wanted.events))
    if wanted.enabled:
        values |= endpoints.ON
    elif wanted.enabled is False and row.enabled:
        values |= endpoints.off("turned off by its owner")
    for name, value in values.items():
        setattr(row, name, value)


def rotate(row: Endpoint) -> str:
    """Give a row, which is locked, a new secret; return it. The last one signs for a while, too."""
    secret = new_secret()
    row.previous_secret_encrypted, row.secret_encrypted = row.secret_encrypted, vault.seal(secret)
    row.previous_secret_until = func.now() + endpoints.OVERLAP
    return secret


def create(tx: Transaction, tenant_id: str, url: str, events: list[str]) -> tuple[Endpoint, str]:
    """Write an endpoint that hears of all of a tenant's ``events`` (none named: of every kind); return its secret.

    Raises :class:`Problem` 409 when the tenant has as many as one may have.
    """
    mine = (Endpoint.tenant_id == tenant_id, ~Endpoint.one_off, Endpoint.deleted_at.is_(None))
    if (tx.scalar(select(func.count()).where(*mine)) or 0) >= MOST:
        raise too_many()
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


def untold(tx: Transaction, batch_id: str) -> str | None:
    """Return the secret of the endpoint that was made with a batch, in one transaction, if one was.

    The call that made both broke off, so nobody has been told of it.
    """
    together = (Batch.endpoint_id == Endpoint.id) & (Batch.created_at == Endpoint.created_at)
    sealed = tx.scalar(select(Endpoint.secret_encrypted).join(Batch, together).where(Batch.id == batch_id))
    return vault.open_sealed(sealed) if sealed else None
