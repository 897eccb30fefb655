"""Kept answers name what they tell of, so that they go with it."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("subject_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_idempotency_keys_subject",
        "idempotency_keys",
        ["subject_id"],
        postgresql_where=sa.text("subject_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_idempotency_keys_subject", table_name="idempotency_keys")
    op.drop_column("idempotency_keys", "subject_id")
