"""Teams, their keys, and who is told of what."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from cleanplate.models.base import NOTHING, NOW, Base

ONE_OFF = text("one_off AND deleted_at IS NULL")


class Tenant(Base):
    """A team: owner of keys, batches, jobs and endpoints. Every row that a client can see carries its id."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    # Its share beside others, and where the line of its jobs, and that of single ones in it, ends: see ``order``.
    weight: Mapped[float] = mapped_column(server_default="1")
    finish_tag: Mapped[int] = mapped_column(BigInteger, server_default="0")
    singles_finish_tag: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (CheckConstraint("weight BETWEEN 0.001 AND 1000", name="weight"),)


class ApiKey(Base):
    """A key as SHA-256; the key itself is shown once and never stored."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str]
    prefix: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str] = mapped_column(server_default="write")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]  # to the minute

    __table_args__ = (CheckConstraint("scope IN ('admin', 'read', 'write')", name="scope"),)


class Endpoint(Base):
    """A receiver of webhooks. A ``one_off`` endpoint was named by a batch or job and hears of nothing else.

    A deleted one is kept, disabled: what was delivered to it still refers to it.
    """

    __tablename__ = "endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    url: Mapped[str]
    events: Mapped[list[Any]] = mapped_column(server_default=NOTHING)
    secret_encrypted: Mapped[str]
    one_off: Mapped[bool] = mapped_column(server_default=text("false"))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    disabled_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_endpoints_tenant", "tenant_id", "id"),
        Index("uq_endpoints_one_off", "tenant_id", "url", unique=True, postgresql_where=ONE_OFF),
    )


class Delivery(Base):
    """The outbox: one row an event and endpoint, written with the transition that it tells of."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id"))
    event_id: Mapped[str]
    event_type: Mapped[str]
    subject_id: Mapped[str | None]  # of the job or batch that it tells of
    body: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    tries: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime] = mapped_column(server_default=NOW)
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        Index("ix_deliveries_due", "due_at", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_endpoint", "endpoint_id", "id"),
        Index("ix_deliveries_subject", "subject_id"),
    )
