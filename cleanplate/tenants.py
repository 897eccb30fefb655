"""Tenants and their API keys. A key is shown once, when it is made; only its SHA-256 is stored."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert

from cleanplate import ids
from cleanplate.api_keys import Scope
from cleanplate.db import Transaction
from cleanplate.models import ApiKey, Tenant

PREFIX_LENGTH: Final = 10
USE_KEPT: Final = timedelta(minutes=1)
_KEY = re.compile(r"cp_[A-Za-z0-9_-]{40,200}", re.ASCII)


def new_secret() -> str:
    """Return a fresh key: ``cp_`` and 256 random bits."""
    return f"cp_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> str:
    """Return what is stored of a key. It needs no salt and no slow hash: nobody guesses 256 bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create_key(
    tx: Transaction, tenant_name: str, key_name: str, scope: Scope = Scope.WRITE, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key, and its tenant if there is none of that name yet; return the row and the key itself."""
    return add_key(tx, _tenant(tx, tenant_name), key_name, scope, expires_at)


def add_key(
    tx: Transaction, tenant_id: str, key_name: str, scope: Scope, expires_at: datetime | None
) -> tuple[ApiKey, str]:
    """Make a key of a tenant; return the row and the key itself."""
    secret = new_secret()
    return _store(tx, tenant_id, key_name, scope, secret, expires_at), secret


WORKS: Final = ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())


def find(tx: Transaction, sha256: str) -> ApiKey | None:
    """Return the key with that :func:`digest`, unless it was revoked or has expired."""
    return tx.scalars(select(ApiKey).where(ApiKey.sha256 == sha256, WORKS)).first()


def lock(tx: Transaction, key_id: str, other_id: str | None = None) -> bool:
    """Lock a key, and another that it is to revoke, until ``tx`` ends; return whether the first one works."""
    both = select(ApiKey.id, WORKS.label("works")).where(ApiKey.id.in_({key_id, other_id or key_id}))
    rows = tx.execute(both.order_by(ApiKey.id).with_for_update(key_share=True)).all()
    return any(row.works for row in rows if row.id == key_id)


def note_use(tx: Transaction, key: ApiKey) -> None:
    """Write down that ``key`` is used now, at most once a minute."""
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - USE_KEPT)
    tx.execute(update(ApiKey).where(ApiKey.id == key.id, stale).values(last_used_at=func.now()))


def list_keys(tx: Transaction) -> Sequence[tuple[ApiKey, Tenant]]:
    """Return all keys, revoked ones too, with their tenants, oldest first."""
    query = select(ApiKey, Tenant).join(Tenant, Tenant.id == ApiKey.tenant_id).order_by(ApiKey.id)
    return [(key, tenant) for key, tenant in tx.execute(query)]


def list_tenants(tx: Transaction) -> Sequence[Tenant]:
    """Return all tenants, by name."""
    return tx.scalars(select(Tenant).order_by(Tenant.name)).all()


def weigh(tx: Transaction, name: str, weight: float) -> bool:
    """Change the weight by which the tenant's coming jobs share the slots; return whether there is such a tenant."""
    changed = update(Tenant).where(Tenant.name == name).values(weight=weight).returning(Tenant.id)
    return tx.scalar(changed) is not None


def revoke(tx: Transaction, id_or_prefix: str, *, tenant_id: str | None = None) -> list[ApiKey]:
    """Revoke the keys of that id or that prefix, of all tenants or of one; return them.

    One revoked before keeps its time.
    """
    whose = ApiKey.tenant_id == tenant_id if tenant_id else true()
    return list(
        tx.scalars(
            update(ApiKey)
            .where(or_(ApiKey.id == id_or_prefix, ApiKey.prefix == id_or_prefix), whose)
            .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.now()))
            .returning(ApiKey)
        )
    )


def ensure_key(tx: Transaction, *, tenant: str, name: str, secret: str | None) -> str:
    """Return ``secret`` if it is a key that works, or can be made one; else a new key of ``tenant``.

    Its scope is ``admin``. A key that this database does not know yet is stored as it is, so that a file with it
    outlives the database. One that was revoked stays revoked.
    """
    if secret is None or not _KEY.fullmatch(secret):
        return create_key(tx, tenant, name, Scope.ADMIN)[1]
    known = tx.scalars(select(ApiKey).where(ApiKey.sha256 == digest(secret))).first()
    if known is None:
        _store(tx, _tenant(tx, tenant), name, Scope.ADMIN, secret)
    elif known.revoked_at is not None:
        return create_key(tx, tenant, name, Scope.ADMIN)[1]
    return secret


def _tenant(tx: Transaction, name: str) -> str:
    row = insert(Tenant).values(id=ids.new(ids.Kind.TENANT), name=name)
    tx.execute(row.on_conflict_do_nothing(index_elements=["name"]))
    return tx.scalars(select(Tenant.id).where(Tenant.name == name)).one()


def _store(
    tx: Transaction, tenant_id: str, key_name: str, scope: Scope, secret: str, expires_at: datetime | None = None
) -> ApiKey:
    key = ApiKey(
        id=ids.new(ids.Kind.KEY),
        tenant_id=tenant_id,
        name=key_name,
        prefix=secret[:PREFIX_LENGTH],
        sha256=digest(secret),
        scope=scope,
        expires_at=expires_at,
    )
    tx.add(key)
    tx.flush()
    return key
