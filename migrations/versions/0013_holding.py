"""What a batch may cost: jobs that are held, the budget, the price that is learned, and what is retried."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATES = (
    "'cancelled', 'claimed', 'failed', {held}'importing', 'inflight', 'queued', 'ready', 'sending', 'succeeded', "
    "'unconfirmed'"
)
MOVES = """
    ('queued', 'claimed'), ('queued', 'cancelled'),
    ('claimed', 'sending'), ('claimed', 'queued'), ('claimed', 'failed'), ('claimed', 'cancelled'),
    ('sending', 'inflight'), ('sending', 'claimed'), ('sending', 'unconfirmed'), ('sending', 'failed'),
    ('sending', 'cancelled'),
    ('unconfirmed', 'inflight'), ('unconfirmed', 'queued'), ('unconfirmed', 'failed'), ('unconfirmed', 'cancelled'),
    ('inflight', 'ready'), ('inflight', 'failed'), ('inflight', 'cancelled'),
    ('ready', 'succeeded'), ('ready', 'inflight'), ('ready', 'failed'), ('ready', 'cancelled'),
    ('importing', 'queued'), ('importing', 'failed'), ('importing', 'cancelled')
"""
HELD = "('held', 'queued'), ('held', 'cancelled'), ('queued', 'held'), ('claimed', 'held'), ('importing', 'held')"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("price_credits", sa.Double(), nullable=True))
    op.add_column("batches", sa.Column("hold", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("budget_credits", sa.Double(), nullable=True))
    op.add_column("batches", sa.Column("budget_reached_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("doubtful_credits", sa.Double(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_batches_hold"), "batches", "hold IN ('budget', 'canary', 'release')")
    op.create_index(
        "ix_batches_budget",
        "batches",
        ["id"],
        postgresql_where=sa.text("budget_credits IS NOT NULL AND finished_at IS NULL"),
    )
    op.create_index(
        "ix_batches_hold",
        "batches",
        ["id"],
        postgresql_where=sa.text("hold IN ('budget', 'release') AND finished_at IS NULL"),
    )
    op.create_index("ix_jobs_held", "jobs", ["batch_id", "id"], postgresql_where=sa.text("state = 'held'"))
    for table in ("batches", "jobs"):
        op.add_column(table, sa.Column("parent_id", sa.Text(), nullable=True))
        op.create_foreign_key(op.f(f"fk_{table}_parent_id"), table, table, ["parent_id"], ["id"])
    child = sa.text("parent_id IS NOT NULL")
    op.create_index("uq_jobs_parent", "jobs", ["parent_id"], unique=True, postgresql_where=child)
    _states(STATES.format(held="'held', "))
    _guard(f"{MOVES}, {HELD}")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DISABLE TRIGGER jobs_guard_state")
    op.execute("UPDATE jobs SET state = 'queued' WHERE state = 'held'")
    op.execute("ALTER TABLE jobs ENABLE TRIGGER jobs_guard_state")
    _guard(MOVES)
    _states(STATES.format(held=""))
    for index in ("uq_jobs_parent", "ix_jobs_held"):
        op.drop_index(index, table_name="jobs")
    for table in ("batches", "jobs"):
        op.drop_constraint(op.f(f"fk_{table}_parent_id"), table)
        op.drop_column(table, "parent_id")
    op.drop_index("ix_batches_hold", table_name="batches")
    op.drop_index("ix_batches_budget", table_name="batches")
    op.drop_constraint(op.f("ck_batches_hold"), "batches")
    for column in ("doubtful_credits", "budget_reached_at", "budget_credits", "hold"):
        op.drop_column("batches", column)
    op.drop_column("accounts", "price_credits")


def _states(names: str) -> None:
    op.drop_constraint(op.f("ck_jobs_state"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_state"), "jobs", f"state IN ({names})")


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
