"""Long work of the sweep, beside its rounds: a slow store holds up nothing else, and a part that is away nobody."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cleanplate import db
from cleanplate.storage import StoreError

log = logging.getLogger(__name__)


class Aside:
    """Does one kind of work on a thread of its own: ``page`` does a part of it, and tells whether more is left.

    What is in the way puts it off until it is begun again; ``meanwhile`` is what a log line says of how things stand.
    """

    def __init__(self, name: str, page: Callable[[], bool], meanwhile: str) -> None:
        self._page = page
        self._meanwhile = meanwhile
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._under_way: Future[None] = Future()
        self._under_way.set_result(None)

    def begin(self, ended: Callable[[], bool]) -> None:
        """Begin, unless it is under way, and go on until nothing is left or it is to be ``ended``."""
        if self._under_way.done():
            self._under_way = self._thread.submit(self._go_on, ended)

    def close(self) -> None:
        """Wait until what was begun is over."""
        self._thread.shutdown()

    def _go_on(self, ended: Callable[[], bool]) -> None:
        try:
            while not ended() and self._page():
                pass
        except StoreError as error:
            log.warning("the object store is away: %s (%s)", self._meanwhile, error)
        except db.AWAY as error:
            log.warning("the database is away (%s): %s", db.words(error), self._meanwhile)
        except Exception:
            log.exception("something failed unexpectedly: %s", self._meanwhile)
