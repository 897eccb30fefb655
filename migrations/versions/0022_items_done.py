"""A call that broke off between the pages of its items goes on behind those that are done."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("done", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("idempotency_keys", "done")
