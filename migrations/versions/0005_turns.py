"""Turns: shares of tenants and batches, and the indexes that find whose turn it is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

QUEUED = sa.text("state = 'queued'")
QUEUED_SINGLE = sa.text("state = 'queued' AND batch_id IS NULL")


def upgrade() -> None:
    op.add_column("tenants", sa.Column("weight", sa.Double(), server_default="1", nullable=False))
    op.add_column("tenants", sa.Column("finish_tag", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("tenants", sa.Column("singles_finish_tag", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_tenants_weight"), "tenants", "weight BETWEEN 0.001 AND 1000")
    op.add_column("batches", sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False))
    op.add_column("batches", sa.Column("finish_tag", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_batches_priority"), "batches", "priority BETWEEN 0 AND 9")
    op.create_index(
        "ix_batches_line", "batches", ["tenant_id", "finish_tag"], postgresql_where=sa.text("finished_at IS NULL")
    )
    op.create_index("ix_jobs_line", "jobs", ["tenant_id", "tag", "id"], postgresql_where=QUEUED)
    op.create_index("ix_jobs_claim_single", "jobs", ["tag", "id"], postgresql_where=QUEUED_SINGLE)


def downgrade() -> None:
    op.drop_index("ix_jobs_claim_single", table_name="jobs")
    op.drop_index("ix_jobs_line", table_name="jobs")
    op.drop_index("ix_batches_line", table_name="batches")
    op.drop_constraint(op.f("ck_batches_priority"), "batches")
    op.drop_column("batches", "finish_tag")
    op.drop_column("batches", "priority")
    op.drop_constraint(op.f("ck_tenants_weight"), "tenants")
    op.drop_column("tenants", "singles_finish_tag")
    op.drop_column("tenants", "finish_tag")
    op.drop_column("tenants", "weight")
