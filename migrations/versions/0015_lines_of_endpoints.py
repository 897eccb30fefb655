"""What is due is found endpoint by endpoint."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    op.create_index("ix_deliveries_line", "deliveries", ["endpoint_id", "due_at"], postgresql_where=PENDING)
    op.drop_index("ix_deliveries_due", table_name="deliveries")


def downgrade() -> None:
    op.create_index("ix_deliveries_due", "deliveries", ["due_at"], postgresql_where=PENDING)
    op.drop_index("ix_deliveries_line", table_name="deliveries")
