"""Rows that nobody asks for any more: leases of dead workers, silent listeners, old answers and deliveries."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Delete, delete, func, select

from cleanplate import db, idempotency, ids
from cleanplate.models import Listener, ListenerEvent, Worker
from worker import deliveries

KEYS: Final = 200
OLD_KEYS: Final = idempotency.forget(KEYS)
DEAD_WORKER_KEPT: Final = timedelta(minutes=10)
"""What a dead worker held was rescued by the conveyors at once; its row tells a person who it was."""
DEAD_WORKERS: Final = delete(Worker).where(Worker.expires_at < func.now() - DEAD_WORKER_KEPT)
LISTENER_KEPT: Final = timedelta(minutes=1)
"""Longer than the transactions last that found it alive and tell it something: they need not be waited for."""
LISTENERS_GONE: Final = delete(Listener).where(Listener.expires_at < func.now() - LISTENER_KEPT)
UNHEARD: Final = 1000
UNHEARD_KEPT: Final = timedelta(days=1)
"""A listener that asks on and never says that it has heard would otherwise gather events for ever."""


def forget_more() -> bool:
    """Delete a page of each kind; return whether more may be left."""
    with db.transaction() as tx:
        connection = tx.connection()
        connection.execute(DEAD_WORKERS)
        connection.execute(LISTENERS_GONE)
        unheard = connection.execute(_unheard()).rowcount
        keys = connection.execute(OLD_KEYS).rowcount
        old = connection.execute(deliveries.outlived()).rowcount
    return keys >= KEYS or old >= deliveries.PAGE or unheard >= UNHEARD


def _unheard() -> Delete:
    """Return the statement for the oldest events of listeners; those that a listener is hearing now it leaves."""
    least = ids.least(ids.Kind.EVENT, datetime.now(UTC) - UNHEARD_KEPT)
    oldest = select(ListenerEvent.id).order_by(ListenerEvent.id).limit(UNHEARD)
    old = select(ListenerEvent.id).where(ListenerEvent.id.in_(oldest), ListenerEvent.event_id < least)
    return delete(ListenerEvent).where(ListenerEvent.id.in_(old.with_for_update(skip_locked=True)))
