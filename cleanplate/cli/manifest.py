"""What an output folder remembers, so that a rerun uploads, pays for and downloads nothing twice.

``OUT/.cleanplate.jsonl`` holds one JSON object a line and only grows: the last line about a thing counts. A process
that is killed leaves at most half a line at the end, which the next one cuts off. An open manifest is locked, so two
runs never share a folder.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from cleanplate.resources import Params
from cleanplate.states import Status

NAME = ".cleanplate.jsonl"


class ManifestError(Exception):
    """The folder cannot be used, in words for a person."""


class Content(BaseModel):
    """What a file held when it was sent: ``bytes`` long, and last changed at ``mtime_ns`` if that is known."""

    sha256: str
    bytes: int
    mtime_ns: int | None = None

    @classmethod
    def of(cls, path: Path) -> Self:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(sha256=digest, bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)

    def is_still_in(self, path: Path) -> bool:
        """Tell whether the file holds the same; it is read only when its size is the same and its time is not."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        if stat.st_size != self.bytes:
            return False
        return stat.st_mtime_ns == self.mtime_ns or Content.of(path).sha256 == self.sha256


class Fault(BaseModel):
    """Why there is no result. ``code`` is a job's error, a refusal of the intake, or one of the command line's own."""

    code: str
    detail: str


class BatchLine(BaseModel):
    """A batch was made at ``url``. Written before anything is sent to it, and again when it is sealed."""

    kind: Literal["batch"] = "batch"
    id: str
    url: str
    sealed: bool = False


class ItemLine(BaseModel):
    """A pair belongs to a batch. Written before it is sent (``status`` queued) and again when it has ended.

    ``output`` is where the result lies in the folder, and ``content`` what it is; both are None until it is there.
    """

    kind: Literal["item"] = "item"
    name: str
    batch_id: str
    params: Params
    image: Content
    mask: Content
    status: Status = Status.QUEUED
    job_id: str | None = None
    error: Fault | None = None
    cost_credits: float = 0.0
    output: str | None = None
    content: Content | None = None
    outside_mask_max_delta: int | None = None
    warnings: list[str] = Field(default_factory=list)
    changed: bool = False
    """Somebody has changed the file since it was saved; it is left as it is."""


class SavingLine(BaseModel):
    """``content`` becomes the file ``output`` next, whose origin is known so also after a kill."""

    kind: Literal["saving"] = "saving"
    output: str
    content: Content


class ArchiveLine(BaseModel):
    """A ZIP goes into a batch, or what failed of it goes again as one. Written before anything is sent to it."""

    kind: Literal["archive"] = "archive"
    batch_id: str
    params: Params
    mask_suffix: str
    archive: Content


Line = BatchLine | ArchiveLine | SavingLine | ItemLine
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


class Manifest:
    """The manifest of one output folder, open and locked. Entering raises :class:`ManifestError`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / NAME
        self.batches: dict[str, BatchLine] = {}
        self.archives: list[ArchiveLine] = []
        self.items: dict[str, ItemLine] = {}
        self._saved: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise ManifestError(f"cannot write into {self.out}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for line in self._read():
                self._take(line)
        except BlockingIOError as error:
            self._file.close()
            raise ManifestError(f"another run is writing into {self.out}; wait for it or stop it first") from error
        except ManifestError:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, *lines: Line) -> None:
        """Append ``lines``, from any thread. No kill loses them afterwards; a batch's also survives a power cut."""
        text = b"".join(line.model_dump_json(exclude_none=True).encode() + b"\n" for line in lines)
        if self._file.write(text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        if any(isinstance(line, BatchLine | ArchiveLine) for line in lines):
            os.fsync(self._file.fileno())
        for line in lines:
            self._take(line)

    def was_saved(self, output: str, content: Content) -> bool:
        """Tell whether this or an earlier run has saved that under this name."""
        return (output, content.sha256) in self._saved

    def is_saved(self, output: str) -> bool:
        """Tell whether the file ``output`` of the folder is still what this or an earlier run has saved there."""
        path = self.out / output
        return path.is_file() and self.was_saved(output, Content.of(path))

    def _take(self, line: Line) -> None:
        match line:
            case BatchLine():
                self.batches[line.id] = line
            case ArchiveLine():
                self.archives.append(line)
            case ItemLine():
                self.items[line.name] = line
        if isinstance(line, ItemLine | SavingLine) and line.output and line.content:
            self._saved.add((line.output, line.content.sha256))

    def _read(self) -> Iterator[Line]:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        for number, text in enumerate(data[:whole].splitlines(), start=1):
            try:
                yield LINE.validate_json(text)
            except ValidationError as error:
                raise ManifestError(
                    f"line {number} of {self.path} is damaged; name another folder in --out to start anew"
                ) from error
