"""The upstream accounts, and the workers that submit to them."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from cleanplate.models.base import EMPTY, NOW, Base


class Worker(Base):
    """A lease: one row a conveyor process, renewed by its heartbeat. The id is new at every start."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]


class Account(Base):
    """An upstream account: how many tasks it takes now, and whether and why it takes none."""

    __tablename__ = "accounts"

    name: Mapped[str] = mapped_column(primary_key=True)
    cap: Mapped[int]
    allowed: Mapped[int]
    allowed_at: Mapped[datetime] = mapped_column(server_default=NOW)
    gate_until: Mapped[datetime | None]
    paused_reason: Mapped[str | None]
    paused_detail: Mapped[str | None]
    paused_at: Mapped[datetime | None]
    latency_seconds: Mapped[float | None]
    latencies: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY)  # seconds by size, see worker.latencies
    unanswered: Mapped[int] = mapped_column(server_default="0")
    price_credits: Mapped[float | None]  # what the newest task cost, of those that told it
    balance_credits: Mapped[float | None]
    balance_at: Mapped[datetime | None]
