"""Alembic's entry: runs the migrations on the connection that :func:`cleanplate.db.migrate` hands over."""

from alembic import context

from cleanplate import db, idempotency  # noqa: F401 -- a table of its own
from cleanplate.models import Base


def run() -> None:
    connection = context.config.attributes.get("connection")
    if connection is None:
        with db.engine().connect() as own:
            _run_on(own)
    else:
        _run_on(connection)


def _run_on(connection: object) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


run()
