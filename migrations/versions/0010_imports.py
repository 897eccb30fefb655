"""Imports: the state before the queue, where inputs are fetched from, and uploads that clients put by themselves."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATES = ("cancelled", "claimed", "failed", "inflight", "queued", "ready", "sending", "succeeded", "unconfirmed")
MOVES = """
    ('queued', 'claimed'), ('queued', 'cancelled'),
    ('claimed', 'sending'), ('claimed', 'queued'), ('claimed', 'failed'), ('claimed', 'cancelled'),
    ('sending', 'inflight'), ('sending', 'claimed'), ('sending', 'unconfirmed'), ('sending', 'failed'),
    ('unconfirmed', 'inflight'), ('unconfirmed', 'queued'), ('unconfirmed', 'failed'),
    ('inflight', 'ready'), ('inflight', 'failed'),
    ('ready', 'succeeded'), ('ready', 'inflight'), ('ready', 'failed'),
    ('sending', 'cancelled'), ('unconfirmed', 'cancelled'), ('inflight', 'cancelled'), ('ready', 'cancelled')
"""
IMPORTS = "('importing', 'queued'), ('importing', 'failed'), ('importing', 'cancelled')"
PICTURES = "state IN ('cancelled', 'failed', 'importing') OR (image IS NOT NULL AND mask IS NOT NULL)"


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.Text(), nullable=True),
        sa.Column("link_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_uploads_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_expires", "uploads", ["expires_at"])
    op.create_index(
        "uq_uploads_token",
        "uploads",
        ["token_sha256"],
        unique=True,
        postgresql_where=sa.text("token_sha256 IS NOT NULL"),
    )
    op.add_column("jobs", sa.Column("sources", postgresql.JSONB(none_as_null=True), nullable=True))
    for counter in ("import_starts", "import_tries"):
        op.add_column("jobs", sa.Column(counter, sa.Integer(), server_default="0", nullable=False))
    for picture in ("image", "mask"):
        op.alter_column("jobs", picture, nullable=True)
    _states((*STATES, "importing"))
    _guard(f"{MOVES}, {IMPORTS}")
    op.create_check_constraint(
        op.f("ck_jobs_importing_has_sources"), "jobs", "state <> 'importing' OR sources IS NOT NULL"
    )
    op.create_check_constraint(op.f("ck_jobs_has_pictures"), "jobs", PICTURES)
    op.create_index(
        "ix_jobs_importing",
        "jobs",
        ["tenant_id", "due_at", "id"],
        postgresql_where=sa.text("state = 'importing'"),
    )


def downgrade() -> None:
    """Refused by the database while there are jobs without pictures: what they were to be made of would be lost."""
    for picture in ("image", "mask"):
        op.alter_column("jobs", picture, nullable=False)
    op.drop_index("ix_jobs_importing", table_name="jobs")
    op.drop_constraint(op.f("ck_jobs_has_pictures"), "jobs")
    op.drop_constraint(op.f("ck_jobs_importing_has_sources"), "jobs")
    _guard(MOVES)
    _states(STATES)
    for column in ("import_tries", "import_starts", "sources"):
        op.drop_column("jobs", column)
    op.drop_table("uploads")


def _states(states: tuple[str, ...]) -> None:
    named = ", ".join(f"'{state}'" for state in sorted(states))
    op.drop_constraint(op.f("ck_jobs_state"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_state"), "jobs", f"state IN ({named})")


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
