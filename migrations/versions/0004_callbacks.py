"""By what an attempt's callback is recognised, and when it came."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("callback_sha256", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("called_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "uq_attempts_callback",
        "attempts",
        ["callback_sha256"],
        unique=True,
        postgresql_where=sa.text("callback_sha256 IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("uq_attempts_callback", "attempts")
    op.drop_column("attempts", "called_at")
    op.drop_column("attempts", "callback_sha256")
