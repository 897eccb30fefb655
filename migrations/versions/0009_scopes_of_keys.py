"""API keys: three scopes, an end, and when each was used last. A key that could do everything still can."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint(op.f("ck_api_keys_scope"), "api_keys")
    op.execute("UPDATE api_keys SET scope = 'admin' WHERE scope = 'full'")
    op.create_check_constraint(op.f("ck_api_keys_scope"), "api_keys", "scope IN ('admin', 'read', 'write')")
    op.alter_column("api_keys", "scope", server_default="write")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_api_keys_scope"), "api_keys")
    op.execute("UPDATE api_keys SET scope = 'full' WHERE scope <> 'read'")
    op.create_check_constraint(op.f("ck_api_keys_scope"), "api_keys", "scope IN ('full', 'read')")
    op.alter_column("api_keys", "scope", server_default="full")
    op.drop_column("api_keys", "last_used_at")
    op.drop_column("api_keys", "expires_at")
