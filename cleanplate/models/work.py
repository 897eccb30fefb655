"""Batches and jobs, what came in for them and what happened to them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from cleanplate.models.base import CLOCK, EMPTY, NOTHING, NOW, Base, names
from cleanplate.states import (
    GOING,
    HOLDS_SLOT,
    LEASED,
    PROCESSING,
    TERMINAL,
    Hold,
    InFlight,
    State,
    Status,
    states_of,
)

UNSEEN = (State.IMPORTING, State.FAILED, State.CANCELLED)
LISTED = "deleted_at IS NULL"
WAITING = text(f"state IN {names(*states_of(Status.QUEUED))} AND {LISTED}")
ENDED = text(f"state IN {names(*TERMINAL)} AND {LISTED}")
ERRORS = text(f"error_code IS NOT NULL AND {LISTED}")
"""What the indexes of lists hold, see :mod:`api.listing`: each transition writes only those whose rows it changes."""


class Batch(Base):
    """Many pairs that came together. The final counts are kept here, under the row lock that ends a batch once."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"))
    name: Mapped[str | None]
    params: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY)
    options: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY)
    rejected: Mapped[list[Any]] = mapped_column(server_default=NOTHING)
    endpoint_id: Mapped[str | None] = mapped_column(ForeignKey("endpoints.id"))
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    finish_tag: Mapped[int] = mapped_column(BigInteger, server_default="0")
    total: Mapped[int] = mapped_column(server_default="0")
    succeeded: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    cancelled: Mapped[int] = mapped_column(server_default="0")
    reused: Mapped[int] = mapped_column(server_default="0")  # of those that succeeded
    cost_credits: Mapped[float] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    sealed_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    cancelling: Mapped[str | None]  # it is to be cancelled, and this becomes of what is in flight; of a job, too
    hold: Mapped[str | None]
    budget_credits: Mapped[float | None]
    budget_reached_at: Mapped[datetime | None]
    doubtful_credits: Mapped[float] = mapped_column(server_default="0")  # of submits that nobody knows to be billed
    finished_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]  # all its jobs are deleted, see cleanplate.deletion

    __table_args__ = (
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint(f"cancelling IN {names(*InFlight)}", name="cancelling"),
        CheckConstraint(f"hold IN {names(*Hold)}", name="hold"),
        Index("ix_batches_tenant", "tenant_id", "id", postgresql_where=text(LISTED)),
        Index("ix_batches_budget", "id", postgresql_where=text("budget_credits IS NOT NULL AND finished_at IS NULL")),
        Index("ix_batches_hold", "id", postgresql_where=text("hold IN ('budget', 'release') AND finished_at IS NULL")),
        Index("ix_batches_line", "tenant_id", "finish_tag", postgresql_where=text("finished_at IS NULL")),
        Index("ix_batches_deleted", "id", postgresql_where=text("deleted_at IS NOT NULL AND purged_at IS NULL")),
        Index("ix_batches_cancelling", "id", postgresql_where=text("cancelling IS NOT NULL AND finished_at IS NULL")),
    )


class Upload(Base):
    """Room for one file that a client puts into the store by itself; items of batches name it until it expires.

    The token is that of the address of a store without addresses of its own, as SHA-256.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    token_sha256: Mapped[str | None]
    link_expires_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        Index("ix_uploads_expires", "expires_at"),
        Index("uq_uploads_token", "token_sha256", unique=True, postgresql_where=text("token_sha256 IS NOT NULL")),
    )


class Job(Base):
    """One pair on its way. ``state`` changes through :func:`cleanplate.jobs.apply` and nowhere else."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))  # what it retries, with the same inputs
    position: Mapped[int] = mapped_column(server_default="0")
    custom_id: Mapped[str | None]
    endpoint_id: Mapped[str | None] = mapped_column(ForeignKey("endpoints.id"))
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=EMPTY)
    params: Mapped[dict[str, Any]] = mapped_column(server_default=EMPTY)
    warnings: Mapped[list[Any]] = mapped_column(server_default=NOTHING)

    # What was uploaded: facts of each picture as the API shows them, where its bytes lie, and where those lie that the
    # upstream gets (the same object when nothing had to be prepared). Of what is to be imported, the facts come later.
    image_key: Mapped[str]
    image: Mapped[dict[str, Any] | None]
    mask_key: Mapped[str]
    mask: Mapped[dict[str, Any] | None]
    send_image_key: Mapped[str]
    send_mask_key: Mapped[str]

    # Where both are fetched from: secret while it is needed, for URLs are signed, and forgotten afterwards.
    sources: Mapped[dict[str, Any] | None]
    import_starts: Mapped[int] = mapped_column(server_default="0")
    import_tries: Mapped[int] = mapped_column(server_default="0")

    # What is not paid for twice, see ``reuse``. Of what is to be imported, the fingerprint comes later.
    fingerprint: Mapped[str | None]
    reuse: Mapped[bool] = mapped_column(server_default=text("true"))

    # The flow. ``tag`` is the claim's order, by ``order``; ``due_at`` is when the state's rescuer looks at the row.
    state: Mapped[str] = mapped_column(server_default=State.QUEUED)
    tag: Mapped[int] = mapped_column(BigInteger, server_default="0")
    owner: Mapped[str | None]
    account: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime | None]
    cancelling: Mapped[str | None]

    # The result: its secret URL while its window runs, then what was stored.
    sample_url: Mapped[str | None]
    window_ends: Mapped[datetime | None]
    fetches: Mapped[int] = mapped_column(server_default="0")
    finalize_starts: Mapped[int] = mapped_column(server_default="0")
    result_key: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    cost_credits: Mapped[float] = mapped_column(server_default="0")

    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    purge_begun_at: Mapped[datetime | None]  # its pictures go from the store, see worker.purge
    purged_at: Mapped[datetime | None]  # they are gone

    __table_args__ = (
        CheckConstraint(f"state IN {names(*State)}", name="state"),
        CheckConstraint(f"state NOT IN {names(State.CLAIMED, State.SENDING)} OR owner IS NOT NULL", name="leased"),
        CheckConstraint("state <> 'importing' OR sources IS NOT NULL", name="importing_has_sources"),
        CheckConstraint(
            f"state IN {names(*UNSEEN)} OR (image IS NOT NULL AND mask IS NOT NULL)",
            name="has_pictures",
        ),
        CheckConstraint("state <> 'following' OR fingerprint IS NOT NULL", name="following_has_fingerprint"),
        CheckConstraint("state <> 'succeeded' OR result_key IS NOT NULL", name="succeeded_has_result"),
        CheckConstraint(f"cancelling IN {names(*InFlight)}", name="cancelling"),
        CheckConstraint("state <> 'failed' OR error_code IS NOT NULL", name="failed_has_error"),
        Index("ix_jobs_claim", "tag", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_line", "tenant_id", "tag", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_claim_single", "tag", "id", postgresql_where=text("state = 'queued' AND batch_id IS NULL")),
        Index("ix_jobs_held", "batch_id", "id", postgresql_where=text("state = 'held'")),
        Index("ix_jobs_going", "fingerprint", postgresql_where=text(f"state IN {names(*GOING)}")),
        Index(
            "ix_jobs_stored",
            "fingerprint",
            "finished_at",
            postgresql_where=text("state = 'succeeded' AND purged_at IS NULL"),
        ),
        Index("ix_jobs_following", "fingerprint", "id", postgresql_where=text("state = 'following'")),
        Index("ix_jobs_following_due", "due_at", postgresql_where=text("state = 'following'")),
        Index("ix_jobs_slots", "account", postgresql_where=text(f"state IN {names(*HOLDS_SLOT)}")),
        Index("ix_jobs_owner", "owner", postgresql_where=text(f"state IN {names(*LEASED)}")),
        Index("ix_jobs_importing", "tenant_id", "due_at", "id", postgresql_where=text("state = 'importing'")),
        Index("ix_jobs_unconfirmed_due", "due_at", postgresql_where=text("state = 'unconfirmed'")),
        Index("ix_jobs_ready_due", "due_at", postgresql_where=text("state = 'ready'")),
        Index("ix_jobs_batch_processing", "batch_id", postgresql_where=text(f"state IN {names(*PROCESSING)}")),
        Index("ix_jobs_batch", "batch_id", "id"),
        Index("ix_jobs_tenant", "tenant_id", "id", postgresql_where=text(LISTED)),
        Index("ix_jobs_tenant_waiting", "tenant_id", "id", postgresql_where=WAITING),
        Index("ix_jobs_tenant_ended", "tenant_id", "state", "id", postgresql_where=ENDED),
        Index("ix_jobs_tenant_errors", "tenant_id", "error_code", "id", postgresql_where=ERRORS),
        Index(
            "ix_jobs_tenant_custom_id",
            *("tenant_id", "custom_id", "id"),
            postgresql_where=text(f"custom_id IS NOT NULL AND {LISTED}"),
        ),
        Index("ix_jobs_batch_waiting", "batch_id", "id", postgresql_where=WAITING),
        Index("ix_jobs_batch_ended", "batch_id", "state", "id", postgresql_where=ENDED),
        Index("ix_jobs_batch_errors", "batch_id", "error_code", "id", postgresql_where=ERRORS),
        Index("uq_jobs_parent", "parent_id", unique=True, postgresql_where=text("parent_id IS NOT NULL")),
        Index("uq_jobs_custom_id", "batch_id", "custom_id", unique=True),
        Index("ix_jobs_ended", "tenant_id", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_jobs_kept", "finished_at", postgresql_where=text("finished_at IS NOT NULL AND purged_at IS NULL")),
        Index("ix_jobs_image", "image_key", postgresql_where=text("purged_at IS NULL")),
        Index("ix_jobs_result", "result_key", postgresql_where=text("result_key IS NOT NULL AND purged_at IS NULL")),
        Index("ix_jobs_deleted", "id", postgresql_where=text("deleted_at IS NOT NULL AND purged_at IS NULL")),
    )


class BatchEnd(Base):
    """The jobs of a batch in the order in which they ended, numbered from 1 without a gap.

    A number is given while the batch's row is locked, so who sees one sees, or has seen, all below it.
    """

    __tablename__ = "batch_ends"

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))


class Attempt(Base):
    """The money ledger: one row a submit, written before the first byte goes out."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str]
    worker: Mapped[str]
    outcome: Mapped[str] = mapped_column(server_default="sending")
    detail: Mapped[str | None]
    task_id: Mapped[str | None]
    polling_url: Mapped[str | None]
    cost_credits: Mapped[float | None]
    sent_at: Mapped[datetime] = mapped_column(server_default=NOW)
    answered_at: Mapped[datetime | None]

    # The callback that was asked for, recognised by its token's digest, and when it came.
    callback_sha256: Mapped[str | None]
    called_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_attempts_callback", "callback_sha256", unique=True, postgresql_where=text("callback_sha256 IS NOT NULL")
        ),
    )


class JobEvent(Base):
    """What happened to a job, one row a transition, in the transaction that made it."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    at: Mapped[datetime] = mapped_column(server_default=CLOCK)
    state: Mapped[str]
    reason: Mapped[str]
    worker: Mapped[str | None]

    __table_args__ = (Index("ix_job_events_job", "job_id", "id"),)
