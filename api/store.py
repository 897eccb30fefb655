"""The object store of this process, opened when it is first asked for."""

from functools import lru_cache

from cleanplate import settings
from cleanplate.storage import Store, open_store


def store() -> Store:
    return _open(settings.get().storage_url)


@lru_cache(maxsize=1)
def _open(url: str) -> Store:
    return open_store(url)
