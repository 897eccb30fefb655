"""The ways out: the order in which jobs ended, what is deleted, and what is not kept any longer."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ENDED = sa.text("finished_at IS NOT NULL")
KEPT = sa.text("finished_at IS NOT NULL AND purged_at IS NULL")
UNPURGED = sa.text("purged_at IS NULL")
STORED = sa.text("result_key IS NOT NULL AND purged_at IS NULL")
DELETED = sa.text("deleted_at IS NOT NULL AND purged_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "batch_ends",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_batch_ends_batch_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_batch_ends_job_id")),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_batch_ends")),
    )
    op.execute(
        """
        INSERT INTO batch_ends (batch_id, number, job_id)
        SELECT batch_id, row_number() OVER (PARTITION BY batch_id ORDER BY finished_at, id), id
        FROM jobs WHERE finished_at IS NOT NULL AND batch_id IS NOT NULL
        """
    )
    op.add_column("batches", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("purged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_batches_deleted", "batches", ["id"], postgresql_where=DELETED)
    op.add_column("jobs", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("purged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_jobs_ended", "jobs", ["tenant_id", "finished_at"], postgresql_where=ENDED)
    op.create_index("ix_jobs_kept", "jobs", ["finished_at"], postgresql_where=KEPT)
    op.create_index("ix_jobs_image", "jobs", ["image_key"], postgresql_where=UNPURGED)
    op.create_index("ix_jobs_result", "jobs", ["result_key"], postgresql_where=STORED)
    op.create_index("ix_jobs_deleted", "jobs", ["id"], postgresql_where=DELETED)
    op.add_column("deliveries", sa.Column("subject_id", sa.Text(), nullable=True))
    op.execute("UPDATE deliveries SET subject_id = body::jsonb #>> '{data,id}'")
    op.create_index("ix_deliveries_subject", "deliveries", ["subject_id"])


def downgrade() -> None:
    op.drop_index("ix_deliveries_subject", table_name="deliveries")
    op.drop_column("deliveries", "subject_id")
    for name in ("ix_jobs_deleted", "ix_jobs_result", "ix_jobs_image", "ix_jobs_kept", "ix_jobs_ended"):
        op.drop_index(name, table_name="jobs")
    op.drop_column("jobs", "purged_at")
    op.drop_column("jobs", "deleted_at")
    op.drop_index("ix_batches_deleted", table_name="batches")
    op.drop_column("batches", "purged_at")
    op.drop_column("batches", "deleted_at")
    op.drop_table("batch_ends")
