"""What is left on each upstream account, and when it was asked."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("balance_credits", sa.Double()))
    op.add_column("accounts", sa.Column("balance_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("accounts", "balance_at")
    op.drop_column("accounts", "balance_credits")
