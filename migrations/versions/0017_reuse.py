"""Reuse: what tells identical jobs, and the state in which one waits for the result of another."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATES = (
    "'cancelled', 'claimed', 'failed', {following}'held', 'importing', 'inflight', 'queued', 'ready', 'sending', "
    "'succeeded', 'unconfirmed'"
)
MOVES = """
    ('queued', 'claimed'), ('queued', 'cancelled'),
    ('claimed', 'sending'), ('claimed', 'queued'), ('claimed', 'failed'), ('claimed', 'cancelled'),
    ('sending', 'inflight'), ('sending', 'claimed'), ('sending', 'unconfirmed'), ('sending', 'failed'),
    ('sending', 'cancelled'),
    ('unconfirmed', 'inflight'), ('unconfirmed', 'queued'), ('unconfirmed', 'failed'), ('unconfirmed', 'cancelled'),
    ('inflight', 'ready'), ('inflight', 'failed'), ('inflight', 'cancelled'),
    ('ready', 'succeeded'), ('ready', 'inflight'), ('ready', 'failed'), ('ready', 'cancelled'),
    ('importing', 'queued'), ('importing', 'failed'), ('importing', 'cancelled'),
    ('held', 'queued'), ('held', 'cancelled'), ('queued', 'held'), ('claimed', 'held'), ('importing', 'held')
"""
FOLLOWING = """
    ('importing', 'following'), ('held', 'following'),
    ('following', 'queued'), ('following', 'succeeded'), ('following', 'cancelled')
"""
GOING = sa.text("state IN ('claimed', 'inflight', 'queued', 'ready', 'sending', 'unconfirmed')")
IS_STORED = sa.text("state = 'succeeded' AND purged_at IS NULL")
FOLLOWS = sa.text("state = 'following'")


def upgrade() -> None:
    op.add_column("batches", sa.Column("reused", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("fingerprint", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("reuse", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.create_index("ix_jobs_going", "jobs", ["fingerprint"], postgresql_where=GOING)
    op.create_index("ix_jobs_stored", "jobs", ["fingerprint", "finished_at"], postgresql_where=IS_STORED)
    op.create_index("ix_jobs_following", "jobs", ["fingerprint", "id"], postgresql_where=FOLLOWS)
    op.create_index("ix_jobs_following_due", "jobs", ["due_at"], postgresql_where=FOLLOWS)
    _states(STATES.format(following="'following', "))
    has_fingerprint = "state <> 'following' OR fingerprint IS NOT NULL"
    op.create_check_constraint(op.f("ck_jobs_following_has_fingerprint"), "jobs", has_fingerprint)
    _guard(f"{MOVES}, {FOLLOWING}")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DISABLE TRIGGER jobs_guard_state")
    op.execute("UPDATE jobs SET state = 'queued', due_at = NULL WHERE state = 'following'")
    op.execute("ALTER TABLE jobs ENABLE TRIGGER jobs_guard_state")
    _guard(MOVES)
    op.drop_constraint(op.f("ck_jobs_following_has_fingerprint"), "jobs")
    _states(STATES.format(following=""))
    for index in ("ix_jobs_following_due", "ix_jobs_following", "ix_jobs_stored", "ix_jobs_going"):
        op.drop_index(index, table_name="jobs")
    op.drop_column("jobs", "reuse")
    op.drop_column("jobs", "fingerprint")
    op.drop_column("batches", "reused")


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
