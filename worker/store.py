"""The object store of this process, opened when it is first asked for; a forked child gets one of its own."""

import os
from functools import lru_cache

from cleanplate import settings
from cleanplate.storage import Store, open_store


def store() -> Store:
    return _open(os.getpid(), settings.get().storage_url)


@lru_cache(maxsize=1)
def _open(_pid: int, url: str) -> Store:
    return open_store(url)
