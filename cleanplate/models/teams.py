"""Teams, their keys, and who is told of what."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from cleanplate.models.base import CLOCK, NOTHING, NOW, Base

ONE_OFF = text("one_off AND deleted_at IS NULL")
REGISTERED = text("NOT one_off AND deleted_at IS NULL")
UNDELIVERED = text("state <> 'delivered'")


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

    A deleted one is kept, disabled: what was delivered to it still refers to it. ``failing_since`` is when the first of
    the tries failed of which none since then was answered with success; it is null while all is well. Turned on and off
    by :mod:`cleanplate.endpoints`.
    """

    __tablename__ = "endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    url: Mapped[str]
    events: Mapped[list[Any]] = mapped_column(server_default=NOTHING)
    secret_encrypted: Mapped[str]
    previous_secret_encrypted: Mapped[str | None]
    previous_secret_until: Mapped[datetime | None]  # both sign until then
    one_off: Mapped[bool] = mapped_column(server_default=text("false"))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_endpoints_tenant", "tenant_id", "id"),
        Index("ix_endpoints_registered", "tenant_id", postgresql_where=REGISTERED),
        Index("uq_endpoints_one_off", "tenant_id", "url", unique=True, postgresql_where=ONE_OFF),
    )


class Delivery(Base):
    """The outbox: one row an event and endpoint, written with the transition that it tells of.

    For an endpoint that is turned off it is written as failed, so that it can be recovered.
    """

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
    tries_before: Mapped[int] = mapped_column(server_default="0")  # it was sent again: the schedule counts from here
    due_at: Mapped[datetime] = mapped_column(server_default=NOW)
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        Index("ix_deliveries_line", "endpoint_id", "due_at", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_endpoint", "endpoint_id", "id"),
        Index("ix_deliveries_endpoint_type", "endpoint_id", "event_type", "id"),
        Index("ix_deliveries_endpoint_open", "endpoint_id", "state", "id", postgresql_where=UNDELIVERED),
        Index("ix_deliveries_subject", "subject_id"),
    )


class DeliveryAttempt(Base):
    """One try of a delivery, and what the receiver answered; gone with the delivery.

    ``status`` is null when there was no HTTP answer, ``duration_ms`` while the try is under way or when its worker
    died. ``answer`` is the beginning of the answer's body as text.
    """

    __tablename__ = "delivery_attempts"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    started_at: Mapped[datetime] = mapped_column(server_default=CLOCK)
    duration_ms: Mapped[int | None]
    status: Mapped[int | None]
    error: Mapped[str | None]
    answer: Mapped[str | None]


class Listener(Base):
    """Somebody who asks for a tenant's events, until the lease ends that every question renews."""

    __tablename__ = "listeners"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_listeners_tenant", "tenant_id"),)


class ListenerEvent(Base):
    """An event that a listener has not heard yet.

    ``given`` is the number of the answer that it was in: the question that has this number deletes it.
    """

    __tablename__ = "listener_events"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    listener_id: Mapped[str] = mapped_column(ForeignKey("listeners.id", ondelete="CASCADE"))
    event_id: Mapped[str]
    event_type: Mapped[str]
    body: Mapped[str]
    given: Mapped[int | None]

    __table_args__ = (Index("ix_listener_events_listener", "listener_id", "id"),)
