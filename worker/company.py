"""Whether this notifier is the only one: then whatever others had begun was begun by the dead.

Each holds a lock in a session of its own, which PostgreSQL frees in the moment in which the process dies, on whatever
machine, long before the leases of its tries end. An ended session alone proves nothing, for connections are cut and
servers restart, and those who live are back at once: it counts when nobody was there for a while.
"""

import logging
import time
from typing import Final

import psycopg

from cleanplate import db

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
SILENCE_SECONDS: Final = 2.0
PRESENT: Final = "SELECT pg_advisory_lock_shared(hashtext('cleanplate.notifier'))"
ALONE: Final = "SELECT pg_try_advisory_xact_lock(hashtext('cleanplate.notifier'))"
"""Whether nobody else holds the lock; for as long as the statement lasts nobody else gets it."""


class Company:
    """The session of one notifier, and for how long nobody else has had one. For one thread."""

    def __init__(self) -> None:
        self._session: psycopg.Connection[tuple[object, ...]] | None = None
        self._since: float | None = None
        self._told = False
        self._look_at = 0.0

    def left_alone(self) -> bool:
        """Return True when nobody else has been there for a while: once, until somebody comes or the session ends."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        try:
            alone = self._is_alone()
        except db.SESSION_AWAY as error:
            log.warning("the notifier's session has ended (%s): beginning another", type(error).__name__)
            self.leave()
            return False
        if not alone:
            self._since, self._told = None, False
            return False
        self._since = now if self._since is None else self._since
        if self._told or now - self._since < SILENCE_SECONDS:
            return False
        self._told = True
        return True

    def leave(self) -> None:
        """End the session; the next question begins another."""
        session, self._session, self._since, self._told = self._session, None, None, False
        if session is not None:
            session.close()

    def _is_alone(self) -> bool:
        if self._session is None:
            self._session = db.connect_apart()
            self._session.execute(PRESENT)
        return self._session.execute(ALONE).fetchone() == (True,)
