"""Who is told of an event is found without those that one batch or job named each."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

REGISTERED = sa.text("NOT one_off AND deleted_at IS NULL")


def upgrade() -> None:
    op.create_index("ix_endpoints_registered", "endpoints", ["tenant_id"], postgresql_where=REGISTERED)


def downgrade() -> None:
    op.drop_index("ix_endpoints_registered", table_name="endpoints")
