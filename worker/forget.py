"""Rows that nobody asks for any more: leases of dead workers, silent listeners, old answers and deliveries."""

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func

from cleanplate import db, idempotency
from cleanplate.models import Listener, Worker
from worker import deliveries

KEYS: Final = 200
OLD_KEYS: Final = idempotency.forget(KEYS)
DEAD_WORKER_KEPT: Final = timedelta(minutes=10)
"""What a dead worker held was rescued by the conveyors at once; its row tells a person who it was."""
DEAD_WORKERS: Final = delete(Worker).where(Worker.expires_at < func.now() - DEAD_WORKER_KEPT)
LISTENER_KEPT: Final = timedelta(minutes=1)
"""Longer than the transactions last that found it alive and tell it something: they need not be waited for."""
LISTENERS_GONE: Final = delete(Listener).where(Listener.expires_at < func.now() - LISTENER_KEPT)


def forget_more() -> bool:
    """Delete a page of each kind; return whether more may be left."""
    with db.transaction() as tx:
        connection = tx.connection()
        connection.execute(DEAD_WORKERS)
        connection.execute(LISTENERS_GONE)
        keys = connection.execute(OLD_KEYS).rowcount
        old = connection.execute(deliveries.outlived()).rowcount
    return keys >= KEYS or old >= deliveries.PAGE
