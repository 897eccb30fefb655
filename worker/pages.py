"""Work of the sweep that may be long, a page at a time, and that a part which is away puts off and nothing else."""

import logging
from collections.abc import Callable

from cleanplate import db
from cleanplate.storage import StoreError

log = logging.getLogger(__name__)


def until_done(page: Callable[[], bool], ended: Callable[[], bool], meanwhile: str) -> None:
    """Call ``page`` until it says that nothing is left, it is to be ``ended``, or a part is away: it is tried again.

    ``meanwhile`` is what a log line says of how things stand until then.
    """
    try:
        while not ended() and page():
            pass
    except StoreError as error:
        log.warning("the object store is away: %s (%s)", meanwhile, error)
    except db.AWAY as error:
        log.warning("the database is away (%s): %s", type(error).__name__, meanwhile)
    except Exception:
        log.exception("something failed unexpectedly: %s", meanwhile)
