"""Which objects of S3 an item of a batch may name: those in the places that the operator lists, and no others.

Every tenant may read what lies there, with the rights that boto3 finds for this installation: without a list, nothing.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

KEY_BYTES = 1024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def parse(address: str) -> tuple[str, str]:
    """Return bucket and key of ``s3://bucket/key``.

    Raises ValueError for anything else, and for a key with a segment that is empty, ``.`` or ``..``: on the way to the
    store it could come to mean another key.
    """
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket) or not 0 < len(key.encode()) <= KEY_BYTES:
        raise ValueError("it is not s3://bucket/key")
    if {"", ".", ".."}.intersection(key.split("/")):
        raise ValueError("its key has a segment that is empty, . or ..")
    return bucket, key


def is_allowed(bucket: str, key: str, places: Sequence[str]) -> bool:
    """Tell whether one of the ``places``, each ``bucket`` or ``bucket/folder``, holds the object."""
    return any(f"{bucket}/{key}".startswith(f"{place.rstrip('/')}/") for place in places)


def overlaps(place: str, storage_url: str) -> bool:
    """Tell whether a place holds objects of the store at ``storage_url``, which are those of all tenants."""
    store = urlsplit(storage_url)
    ours, theirs = f"{store.netloc}/{store.path.strip('/')}".rstrip("/") + "/", place.rstrip("/") + "/"
    return store.scheme == "s3" and (ours.startswith(theirs) or theirs.startswith(ours))
