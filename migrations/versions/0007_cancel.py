"""Cancelling: the wish on the batch and on what is in flight, and the moves with which it ends."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOVES = """
    ('queued', 'claimed'), ('queued', 'cancelled'),
    ('claimed', 'sending'), ('claimed', 'queued'), ('claimed', 'failed'), ('claimed', 'cancelled'),
    ('sending', 'inflight'), ('sending', 'claimed'), ('sending', 'unconfirmed'), ('sending', 'failed'),
    ('unconfirmed', 'inflight'), ('unconfirmed', 'queued'), ('unconfirmed', 'failed'),
    ('inflight', 'ready'), ('inflight', 'failed'),
    ('ready', 'succeeded'), ('ready', 'inflight'), ('ready', 'failed')
"""
ENDS = """
    ('sending', 'cancelled'), ('unconfirmed', 'cancelled'), ('inflight', 'cancelled'), ('ready', 'cancelled')
"""


def upgrade() -> None:
    for table in ("batches", "jobs"):
        op.add_column(table, sa.Column("cancelling", sa.Text(), nullable=True))
        op.create_check_constraint(op.f(f"ck_{table}_cancelling"), table, "cancelling IN ('abandon', 'finish')")
    op.add_column("batches", sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_batches_cancelling",
        "batches",
        ["id"],
        postgresql_where=sa.text("cancelling IS NOT NULL AND finished_at IS NULL"),
    )
    _guard(f"{MOVES}, {ENDS}")


def downgrade() -> None:
    _guard(MOVES)
    op.drop_index("ix_batches_cancelling", table_name="batches")
    op.drop_column("batches", "cancel_requested_at")
    for table in ("batches", "jobs"):
        op.drop_constraint(op.f(f"ck_{table}_cancelling"), table)
        op.drop_column(table, "cancelling")


def _guard(moves: str) -> None:
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION jobs_guard_state() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (OLD.state, NEW.state) NOT IN ({moves}) THEN
                RAISE EXCEPTION 'a job cannot go from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
