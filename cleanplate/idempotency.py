"""Keys by which clients name a call, so that it happens once: what was asked, and the answer that it got."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Delete, ForeignKey, Index, SmallInteger, Update, delete, func, select, text, tuple_, update
from sqlalchemy.orm import Mapped, mapped_column

from cleanplate.models.base import EMPTY, NOW, Base
from cleanplate.records import page

KEPT: Final = timedelta(hours=24)


class IdempotencyKey(Base):
    """A call that a client named: leased while it runs, and answered in the transaction that did its work."""

    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    leased_until: Mapped[datetime]
    status: Mapped[int | None] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY)
    body: Mapped[str | None]
    sealed: Mapped[bool] = mapped_column(server_default=text("false"))
    begun: Mapped[str | None]  # the batch to which it brings items, in several transactions
    done: Mapped[int] = mapped_column(server_default="0")  # how many items of its JSON are jobs, or were refused
    subject_id: Mapped[str | None]  # of the batch or job that the answer tells of

    __table_args__ = (
        Index("ix_idempotency_keys_created", "created_at"),
        Index("ix_idempotency_keys_subject", "subject_id", postgresql_where=text("subject_id IS NOT NULL")),
    )


def withhold(subject_id: str, told: str = "") -> Update:
    """Return the statement that deletes the answers about a batch or job, of them only those in which ``told`` stands.

    The calls stay known: sent again, they do not happen again.
    """
    its = (IdempotencyKey.subject_id == subject_id, IdempotencyKey.body.contains(told, autoescape=True))
    return update(IdempotencyKey).where(*its).values(body=None, headers={})


def forget(limit: int) -> Delete:
    """Return the statement that deletes up to ``limit`` keys that need not be kept any more."""
    its = tuple_(IdempotencyKey.tenant_id, IdempotencyKey.key)
    old = (
        select(IdempotencyKey.tenant_id, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < func.now() - KEPT)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return delete(IdempotencyKey).where(its.in_(page(old)))
