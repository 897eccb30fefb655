"""Webhooks: every attempt, secrets that rotate, endpoints that are turned off, and who listens to a stream."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

UNDELIVERED = sa.text("state <> 'delivered'")
OF_ENDPOINTS = (
    ("previous_secret_encrypted", sa.Text()),
    ("previous_secret_until", sa.DateTime(timezone=True)),
    ("disabled_at", sa.DateTime(timezone=True)),
    ("failing_since", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    for name, kind in OF_ENDPOINTS:
        op.add_column("endpoints", sa.Column(name, kind, nullable=True))
    op.add_column("deliveries", sa.Column("tries_before", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_deliveries_endpoint_type", "deliveries", ["endpoint_id", "event_type", "id"])
    op.create_index(
        "ix_deliveries_endpoint_open", "deliveries", ["endpoint_id", "state", "id"], postgresql_where=UNDELIVERED
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_delivery_attempts")),
    )
    op.create_table(
        "listeners",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_listeners_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listeners")),
    )
    op.create_index("ix_listeners_tenant", "listeners", ["tenant_id"])
    op.create_table(
        "listener_events",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("listener_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("given", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["listener_id"], ["listeners.id"], name=op.f("fk_listener_events_listener_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listener_events")),
    )
    op.create_index("ix_listener_events_listener", "listener_events", ["listener_id", "id"])


def downgrade() -> None:
    for table in ("listener_events", "listeners", "delivery_attempts"):
        op.drop_table(table)
    for index in ("ix_deliveries_endpoint_open", "ix_deliveries_endpoint_type"):
        op.drop_index(index, table_name="deliveries")
    op.drop_column("deliveries", "tries_before")
    for name, _ in reversed(OF_ENDPOINTS):
        op.drop_column("endpoints", name)
