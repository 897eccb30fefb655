"""Idempotency keys know the batch that their call has begun and not finished."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("begun", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("idempotency_keys", "begun")
