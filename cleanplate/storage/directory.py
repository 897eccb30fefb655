"""Objects as files below a directory, for one machine."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from cleanplate.storage import (
    CHUNK_BYTES,
    ObjectMissing,
    Stat,
    Store,
    StoreFull,
    StoreUnavailable,
    checked,
    is_key,
)

_TEMPORARY = ".put-"
_MARK = ".cleanplate-store"
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_FULL = {errno.ENOSPC, errno.EDQUOT}


class DirectoryStore(Store):
    """Objects as files below a directory; any number of threads and processes of the machine may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, data: bytes | IO[bytes], *, media_type: str) -> None:  # noqa: ARG002 - a file carries no type
        path = self._path(key)
        with _os_errors():
            while True:
                try:
                    self._make(path.parent)
                    _write(path, data)  # a file is not read before its place is made, so it may be tried again
                except FileNotFoundError:  # a delete has just pruned the directory
                    continue
                return

    def _chunks(self, key: str, size: int | None) -> Iterator[bytes]:
        with _os_errors():
            try:
                file = self._path(key).open("rb")
            except _ABSENT:
                self.check()
                raise ObjectMissing(key) from None
            with file:
                yield b""
                while chunk := file.read(size):
                    yield chunk

    def stat(self, key: str) -> Stat | None:
        path = self._path(key)
        with _os_errors():
            try:
                return None if path.is_dir() else self._stat(path)
            except _ABSENT:
                self.check()
                return None

    def delete(self, keys: Iterable[str]) -> None:
        self.check()
        for key in keys:
            path = self._path(key)
            with _os_errors():
                try:
                    path.unlink()
                except _ABSENT:
                    continue
            self._prune(path.parent)

    def list(self, prefix: str, *, older_than: datetime | None = None) -> Iterator[Stat]:
        """As the base says; given a time, files that a killed put left behind before it are removed on the way."""
        self.check()
        start = self._path(f"{prefix}x").parent
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
                if stat.key.startswith(prefix) and is_key(stat.key):
                    yield stat

    def presign(self, key: str, *, filename: str, ttl_seconds: int) -> str | None:  # noqa: ARG002 - files have no URL
        checked(key)
        return None

    def presign_put(self, key: str, *, ttl_seconds: int, size: int | None) -> str | None:  # noqa: ARG002 - as above
        checked(key)
        return None

    def check(self) -> None:
        if not ((self._root / _MARK).is_file() and os.access(self._root, os.R_OK | os.W_OK | os.X_OK)):
            raise StoreUnavailable("the directory of the store is not there or not ours to read and write")

    def prepare(self) -> None:
        """Make the directory and mark it, so that it is not taken for the place where its disk is to be mounted."""
        with _os_errors():
            self._root.mkdir(parents=True, exist_ok=True)
            (self._root / _MARK).touch()
        self.check()

    def _path(self, key: str) -> Path:
        return self._root / checked(key)

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


def _write(path: Path, data: bytes | IO[bytes]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                shutil.copyfileobj(data, file, CHUNK_BYTES)
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


@contextmanager
def _os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise (StoreFull if full else StoreUnavailable)(f"the directory store: {error.strerror}") from error
