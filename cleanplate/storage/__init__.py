"""The object store: S3 by boto3, or a directory for one machine.

Both behave alike, and one suite (``tests/integration/test_storage.py``) holds both to it. Keys are made by us, never by
users: segments of ASCII letters, digits and ``._-``, none starting with a dot, joined by slashes; any other key is a
``ValueError``. A put is atomic and replaces; a reader sees all of an object or none of it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit

CHUNK_BYTES = 1 << 20
_KEY = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*", re.ASCII)


class StoreError(Exception):
    """What a store raises; ``retryable`` tells whether the same call may succeed later."""

    retryable = True


class ObjectMissing(StoreError):  # noqa: N818 - says what is so, as FileNotFound does
    """There is no object under the key."""

    retryable = False


class StoreUnavailable(StoreError):  # noqa: N818 - as above
    """The store cannot be reached or refuses us: network, 5xx, credentials, permission, no such bucket or directory."""


class StoreFull(StoreError):  # noqa: N818 - as above
    """The store has no room left, or our quota of it is used up."""


@dataclass(frozen=True, slots=True)
class Stat:
    """One object: its key, its size in bytes, and when it was put (aware; S3 tells whole seconds)."""

    key: str
    size: int
    modified: datetime


class Store(ABC):
    """What can be done with objects; every call may raise ``StoreUnavailable``. Threads and forks may share one."""

    @abstractmethod
    def put(self, key: str, data: bytes | IO[bytes], *, media_type: str) -> None:
        """Store bytes, or a file from where it stands, durably in place of what was there, or raise ``StoreFull``."""

    def get(self, key: str) -> bytes:
        """Return the whole object, or raise ``ObjectMissing``."""
        return next(self._open(key, None), b"")

    def stream(self, key: str) -> Iterator[bytes]:
        """Return the object in chunks of at most ``CHUNK_BYTES``; ``ObjectMissing`` is raised by the call itself."""
        return self._open(key, CHUNK_BYTES)

    def _open(self, key: str, size: int | None) -> Iterator[bytes]:
        chunks = self._chunks(key, size)
        next(chunks)
        return chunks

    @abstractmethod
    def _chunks(self, key: str, size: int | None) -> Iterator[bytes]:
        """Yield ``b""`` once the object is open, then chunks of at most ``size`` bytes; of None, all in one."""

    @abstractmethod
    def stat(self, key: str) -> Stat | None:
        """Return the object's size and time, or None where there is no object."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects; one that is gone already is no error."""

    @abstractmethod
    def list(self, prefix: str, *, older_than: datetime | None = None) -> Iterator[Stat]:
        """Yield, in no promised order, the objects whose keys start with the prefix and that were put before a time."""

    @abstractmethod
    def presign(self, key: str, *, filename: str, ttl_seconds: int) -> str | None:
        """Return a URL that saves the object as a file of this name, or None from a store that has no URLs."""

    @abstractmethod
    def presign_put(self, key: str, *, ttl_seconds: int, size: int | None) -> str | None:
        """Return a URL to which the object can be put, of this size alone when one is named; None as above."""

    @abstractmethod
    def check(self) -> None:
        """Raise ``StoreUnavailable`` unless the store answers and lets us in."""

    def prepare(self) -> None:
        """Make the place for objects where it can be made and is not there yet; part of a migration."""
        self.check()


def is_key(key: str) -> bool:
    """Tell whether this is a key as we make them, and so safe below any directory or prefix."""
    return _KEY.fullmatch(key) is not None


def checked(key: str) -> str:
    """Return the key, or raise ``ValueError`` when it is none."""
    if not is_key(key):
        raise ValueError(f"not a key: {key!r}")
    return key


def open_store(url: str, public_url: str | None = None) -> Store:
    """Return the store at ``s3://bucket/prefix`` or ``file:///dir``; :meth:`Store.prepare` makes what is not there.

    Credentials, region and endpoint of S3 are boto3's own business (``AWS_*``), and nothing is sent before the first
    call. ``public_url`` is the address of S3 that presigned URLs name, where clients know it by another. Raise
    ``ValueError`` for any other URL.
    """
    # Each store is imported when it is asked for: boto3 alone takes half a second.
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        from cleanplate.storage.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), public_url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        from cleanplate.storage.directory import DirectoryStore

        return DirectoryStore(Path(unquote(parts.path)))
    raise ValueError("a store is s3://bucket/prefix or file:///dir, without credentials")


def content_disposition(filename: str) -> str:
    """Return the header that makes a browser save a download under any such name (RFC 6266 and RFC 8187)."""
    safe = re.sub(r"[\x00-\x1f\x7f/\\]", "_", filename)
    plain = re.sub(r"[^A-Za-z0-9 ._-]", "_", safe)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='', errors='replace')}"
