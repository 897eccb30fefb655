"""The object store of this process, opened when it is first asked for."""

from functools import lru_cache

from cleanplate import settings
from cleanplate.storage import Store, open_store


def store() -> Store:
    config = settings.get()
    return _open(config.storage_url, config.storage_public_url)


@lru_cache(maxsize=1)
def _open(url: str, public_url: str | None) -> Store:
    return open_store(url, public_url)
