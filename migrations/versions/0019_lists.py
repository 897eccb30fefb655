"""Indexes for lists with filters, so that a page is read from its beginning to its end whatever else there is."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

LISTED = "deleted_at IS NULL"
WAITING = f"state IN ('following', 'held', 'importing', 'queued') AND {LISTED}"
ENDED = f"state IN ('cancelled', 'failed', 'succeeded') AND {LISTED}"
ERRORS = f"error_code IS NOT NULL AND {LISTED}"


def upgrade() -> None:
    for table in ("jobs", "batches"):
        _tenant(table, sa.text(LISTED))
    for scope in ("tenant", "batch"):
        for name, columns, where in (
            ("waiting", [], WAITING),
            ("ended", ["state"], ENDED),
            ("errors", ["error_code"], ERRORS),
        ):
            whole = [f"{scope}_id", *columns, "id"]
            op.create_index(f"ix_jobs_{scope}_{name}", "jobs", whole, postgresql_where=sa.text(where))
    named = sa.text(f"custom_id IS NOT NULL AND {LISTED}")
    op.create_index("ix_jobs_tenant_custom_id", "jobs", ["tenant_id", "custom_id", "id"], postgresql_where=named)


def downgrade() -> None:
    op.drop_index("ix_jobs_tenant_custom_id", table_name="jobs")
    for scope in ("tenant", "batch"):
        for name in ("waiting", "ended", "errors"):
            op.drop_index(f"ix_jobs_{scope}_{name}", table_name="jobs")
    for table in ("jobs", "batches"):
        _tenant(table, None)


def _tenant(table: str, where: sa.TextClause | None) -> None:
    op.drop_index(f"ix_{table}_tenant", table_name=table)
    op.create_index(f"ix_{table}_tenant", table, ["tenant_id", "id"], postgresql_where=where)
