"""The object store: S3 by boto3, or a directory for one machine.

Both behave alike, and one suite (``tests/integration/test_storage.py``) holds both to it. Keys are made by us, never by
users: segments of ASCII letters, digits and ``._-``, none starting with a dot, joined by slashes; any other key is a
``ValueError``. A put is atomic and replaces; a reader sees all of an object or none of it.
"""

import errno
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client  # stubs, installed for development only

CHUNK_BYTES = 256 << 10
DELETE_BATCH = 1000  # the most that S3's DeleteObjects takes
_KEY = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*", re.ASCII)
_TEMPORARY = ".put-"
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
_FULL_CODES = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}


class StoreError(Exception):
    """What a store raises; ``retryable`` tells whether the same call may succeed later."""

    retryable = True


class ObjectMissing(StoreError):
    """There is no object under the key."""

    retryable = False


class StoreUnavailable(StoreError):
    """The store cannot be reached or refuses us: network, 5xx, credentials, permission, no such bucket or directory."""


class StoreFull(StoreError):
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
    def put(self, key: str, data: bytes, *, media_type: str) -> None:
        """Store the bytes durably in place of what was there, or raise ``StoreFull``."""

    def get(self, key: str) -> bytes:
        """Return the whole object, or raise ``ObjectMissing``."""
        return b"".join(self.stream(key))

    def stream(self, key: str) -> Iterator[bytes]:
        """Return the object in chunks of at most ``CHUNK_BYTES``; ``ObjectMissing`` is raised by the call itself."""
        chunks = self._chunks(_checked(key))
        next(chunks)
        return chunks

    @abstractmethod
    def _chunks(self, key: str) -> Iterator[bytes]:
        """Yield nothing (``b""``) once the object is open, then its chunks."""

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
    def check(self) -> None:
        """Raise ``StoreUnavailable`` unless the store answers and lets us in."""


def open_store(url: str) -> Store:
    """Return the store at ``s3://bucket/prefix`` or ``file:///dir``; the directory is made if it is not there.

    Credentials, region and endpoint of S3 are boto3's own business (``AWS_*``), and nothing is sent before the first
    call. Raise ``ValueError`` for any other URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        return S3Store(parts.netloc, parts.path.strip("/"))
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return DirectoryStore(Path(unquote(parts.path)))
    raise ValueError("a store is s3://bucket/prefix or file:///dir, without credentials")


def content_disposition(filename: str) -> str:
    """Return the header that makes a browser save a download under any such name (RFC 6266 and RFC 8187)."""
    safe = re.sub(r"[\x00-\x1f\x7f/\\]", "_", filename)
    plain = re.sub(r"[^A-Za-z0-9 ._-]", "_", safe)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='', errors='replace')}"


class DirectoryStore(Store):
    """Objects as files below a directory; any number of threads and processes of the machine may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        with _os_errors():
            root.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: bytes, *, media_type: str) -> None:  # noqa: ARG002 - a file carries no type
        path = self._root / _checked(key)
        with _os_errors():
            while True:
                try:
                    self._make(path.parent)
                    _write(path, data)
                except FileNotFoundError:  # a delete has just pruned the directory
                    continue
                return

    def _chunks(self, key: str) -> Iterator[bytes]:
        with _os_errors():
            try:
                file = (self._root / key).open("rb")
            except _ABSENT:
                self.check()
                raise ObjectMissing(key) from None
            with file:
                yield b""
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk

    def stat(self, key: str) -> Stat | None:
        path = self._root / _checked(key)
        with _os_errors():
            if path.is_file():
                return self._stat(path)
        self.check()
        return None

    def delete(self, keys: Iterable[str]) -> None:
        self.check()
        for key in keys:
            path = self._root / _checked(key)
            with _os_errors():
                try:
                    path.unlink()
                except _ABSENT:
                    continue
            self._prune(path.parent)

    def list(self, prefix: str, *, older_than: datetime | None = None) -> Iterator[Stat]:
        """As the base says; given a time, files that a killed put left behind before it are removed on the way."""
        self.check()
        start = self._root / _checked_prefix(prefix).rpartition("/")[0]
        for directory, _, names in os.walk(start):
            for path in (Path(directory, name) for name in names):
                with _os_errors():
                    try:
                        stat = self._stat(path)
                    except FileNotFoundError:
                        continue
                    if older_than is not None and stat.modified >= older_than:
                        continue
                    if older_than is not None and path.name.startswith(_TEMPORARY):
                        path.unlink(missing_ok=True)
                if stat.key.startswith(prefix) and _KEY.fullmatch(stat.key):
                    yield stat

    def presign(self, key: str, *, filename: str, ttl_seconds: int) -> str | None:  # noqa: ARG002 - files have no URL
        return None

    def check(self) -> None:
        if not (self._root.is_dir() and os.access(self._root, os.R_OK | os.W_OK | os.X_OK)):
            raise StoreUnavailable("the directory of the store is not there or not ours to read and write")

    def _stat(self, path: Path) -> Stat:
        found = path.stat()
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        return Stat(path.relative_to(self._root).as_posix(), found.st_size, modified)

    def _make(self, directory: Path) -> None:
        """Make a directory that outlives a power cut; never the root, which may be a disk that is not mounted."""
        if directory == self._root:
            self.check()
        elif not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir(exist_ok=True)
            _sync_directory(directory.parent)

    def _prune(self, directory: Path) -> None:
        while directory != self._root:
            try:
                directory.rmdir()
            except OSError:  # not empty, or another delete was faster
                return
            directory = directory.parent


class S3Store(Store):
    """Objects below a prefix of a bucket, on S3 or on what speaks its protocol."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = f"{_checked(prefix)}/" if prefix else ""
        self._opened: tuple[int, S3Client] | None = None

    def put(self, key: str, data: bytes, *, media_type: str) -> None:
        name = self._prefix + _checked(key)
        with _s3_errors():
            self._client.put_object(
                Bucket=self._bucket, Key=name, Body=data, ContentType=media_type, ContentDisposition="attachment"
            )

    def _chunks(self, key: str) -> Iterator[bytes]:
        with _s3_errors():
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"]
            except self._client.exceptions.NoSuchKey:
                raise ObjectMissing(key) from None
            with closing(body):
                yield b""
                yield from body.iter_chunks(CHUNK_BYTES)

    def stat(self, key: str) -> Stat | None:
        name = self._prefix + _checked(key)
        with _s3_errors():
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=name)
            except ClientError as error:
                if _status(error) != HTTPStatus.NOT_FOUND:
                    raise
                self.check()  # the answer is the same 404 when the bucket is gone
                return None
        return Stat(key, found["ContentLength"], found["LastModified"])

    def delete(self, keys: Iterable[str]) -> None:
        names = (self._prefix + _checked(key) for key in keys)
        while batch := list(islice(names, DELETE_BATCH)):
            with _s3_errors():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": name} for name in batch], "Quiet": True}
                )
            if kept := answer.get("Errors"):
                raise StoreUnavailable(f"S3 kept {len(kept)} of {len(batch)} objects: {kept[0].get('Code')}")

    def list(self, prefix: str, *, older_than: datetime | None = None) -> Iterator[Stat]:
        start = self._prefix + _checked_prefix(prefix)
        with _s3_errors():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start):
                for found in page.get("Contents", ()):
                    stat = Stat(found["Key"].removeprefix(self._prefix), found["Size"], found["LastModified"])
                    if (older_than is None or stat.modified < older_than) and _KEY.fullmatch(stat.key):
                        yield stat

    def presign(self, key: str, *, filename: str, ttl_seconds: int) -> str | None:
        name, disposition = self._prefix + _checked(key), content_disposition(filename)
        with _s3_errors():
            return self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": name, "ResponseContentDisposition": disposition},
                ExpiresIn=ttl_seconds,
            )

    def check(self) -> None:
        with _s3_errors():
            self._client.head_bucket(Bucket=self._bucket)

    @property
    def _client(self) -> "S3Client":
        """A client of this process, since sockets do not survive a fork; threads that race open a spare one."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), _s3_client())
        return self._opened[1]


def _s3_client() -> "S3Client":
    config = Config(
        signature_version="s3v4",
        connect_timeout=3,
        read_timeout=15,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=50,
        # Newer checksums only where S3 demands one: its work-alikes do not all know them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = Session()
    client = session.client("s3", config=config)
    if client.meta.endpoint_url.endswith(".amazonaws.com"):
        # Or else botocore presigns for the global host, which redirects or refuses where the region is young.
        return session.client("s3", config=config.merge(Config(s3={"addressing_style": "virtual"})))
    return client


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a key: {key!r}")
    return key


def _checked_prefix(prefix: str) -> str:
    _checked(f"{prefix}x")
    return prefix


def _write(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL_ERRNOS
        raise (StoreFull if full else StoreUnavailable)(f"the directory store: {error.strerror}") from error


@contextmanager
def _s3_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        full = code in _FULL_CODES or _status(error) == HTTPStatus.INSUFFICIENT_STORAGE
        raise (StoreFull if full else StoreUnavailable)(f"S3 answered {code} to {error.operation_name}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"S3 cannot be used: {type(error).__name__}") from error
