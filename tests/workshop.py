"""What finalize needs around it, for tests: a store with pairs, a delivery host with results, jobs that are ready."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func

from cleanplate import db
from cleanplate.states import State
from cleanplate.storage import Store
from tests import pictures, rows, web
from tests.pictures import MASK
from tests.seen import row
from worker import finalize
from worker.store import _open, store

ORIGINAL = pictures.encoded(pictures.scene())
RESULT = pictures.encoded(pictures.redrawn(pictures.scene()))


@dataclass(frozen=True)
class Workshop:
    """The store, and the delivery host as a site that may be told to answer otherwise."""

    store: Store
    site: web.Site

    def ready(self, **columns: Any) -> str:
        """Make a job whose result lies on the delivery host."""
        url = f"{self.site.url}/result.png?sig=secret"
        with db.transaction() as tx:
            job_id = rows.job(
                tx, State.READY, **{"sample_url": url, "window_ends": func.now() + timedelta(minutes=9), **columns}
            )
        made = row(job_id)
        self.store.put(made.image_key, ORIGINAL, media_type="image/png")
        self.store.put(made.mask_key, MASK, media_type="image/png")
        return job_id

    def events(self, job_id: str) -> list[str]:
        """Return the states that the job came to, oldest first."""
        with db.transaction() as tx:
            return [state for state, _, _ in rows.events(tx, job_id)]


@contextmanager
def workshop(configure: Callable[..., None], directory: Path) -> Iterator[Workshop]:
    """Yield a workshop with an empty directory store; ``configure`` is the fixture of that name."""
    configure(STORAGE_URL=directory.as_uri(), BFL_DELIVERY_HOSTS="127.0.0.1", BFL_API_KEY="the-key")
    try:
        with web.serving(web.says(200, RESULT)) as site, finalize._client(os.getpid()):
            store().prepare()
            yield Workshop(store(), site)
    finally:
        for cached in (_open, finalize._client):
            cached.cache_clear()
