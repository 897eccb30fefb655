"""multipart/form-data in constant memory: all files of a request lie one after another in one unnamed file on disk.

One file, because a request may bring thousands and a process may open only hundreds (256 on macOS). Which bytes are
what is left to python-multipart.
"""

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import IO, Annotated, Protocol

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import Finding, Problem
from cleanplate import settings
from cleanplate.storage import StoreFull

FIELDS_ALLOWED = 100
FIELD_BYTES = 256 << 10
ARCHIVE = "archive"
WRITE_BYTES = 1 << 20


@dataclass(slots=True)
class File:
    """An uploaded file: the names it came under, and where in the spool it lies, in bytes."""

    field: str
    name: str
    offset: int
    size: int = 0


@dataclass(slots=True)
class Form:
    """The fields and the files of one request, in the order in which they came.

    ``ahead`` are the fields that came before the first file, or None while none has begun. While the body arrives, the
    first ``whole`` files can be read, and ``size`` bytes of the spool.
    """

    spool: IO[bytes]
    fields: dict[str, str] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    ahead: Mapping[str, str] | None = None
    whole: int = 0
    size: int = 0

    def only(self, *, files: Collection[str], fields: Collection[str]) -> None:
        """Refuse what came under any other name. Raises :class:`Problem` 422."""
        unknown = {file.field for file in self.files}.difference(files) | set(self.fields).difference(fields)
        if unknown:
            errors = [
                Finding(pointer=f"#/{name}", code="extra_forbidden", detail=_unfit(name, files, fields))
                for name in sorted(unknown)
            ]
            detail = "; ".join(f"{error.pointer}: {error.detail}" for error in errors)
            raise Problem(422, "validation_failed", detail, errors=errors)

    def one(self, field: str) -> File:
        """Return the one file of that field. Raises :class:`Problem` 422."""
        found = [file for file in self.files if file.field == field]
        if len(found) != 1:
            detail = f"Send one file as {field}; there are {len(found)}."
            errors = [Finding(pointer=f"#/{field}", code="missing" if not found else "too_many", detail=detail)]
            raise Problem(422, "validation_failed", detail, errors=errors)
        return found[0]

    def read(self, file: File) -> bytes:
        """Return the bytes of ``file``; threads may read at once. Raises :class:`Problem` 413 if it is too large."""
        check_size(file)
        return self.part(file, 0, file.size)

    def part(self, file: File, offset: int, size: int) -> bytes:
        """Return so many bytes of ``file`` from ``offset``, fewer at its end; threads may read at once."""
        if not 0 <= offset < file.size:
            return b""
        return os.pread(self.spool.fileno(), min(size, file.size - offset), file.offset + offset)


class Meanwhile(Protocol):
    """What is done with a form while it arrives."""

    async def receive(self, form: Form, body: Awaitable[None], flush: Callable[[], Awaitable[None]]) -> None:
        """Wait for the ``body``, whose errors are raised; ``flush`` makes all that has come readable."""


def check_size(file: File) -> None:
    """Raise :class:`Problem` 413 for a file that is larger than one may be."""
    limit = settings.get().max_file_bytes
    if file.size > limit:
        detail = f"{file.name} has {file.size} bytes and the most that is taken is {limit}."
        raise Problem(413, "file_too_large", detail, extra={"bytes": file.size, "limit_bytes": limit})


async def multipart(request: Request) -> AsyncGenerator[Form, None]:
    """Read the request's body to its end. Raises :class:`Problem` 400, 413 or 415, and ``StoreFull``."""
    async with aclosing(receive(request, None)) as forms:
        async for form in forms:
            yield form


async def receive(request: Request, meanwhile: Meanwhile | None) -> AsyncGenerator[Form, None]:
    """Do the same and something ``meanwhile``, which raises what it will."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise Problem(415, "unsupported_media_type", "Send this as multipart/form-data.")
    file = await run_in_threadpool(spool)
    try:
        reader = _Reader(Form(file), settings.get().max_request_files)
        body = reader.consume(request, options.get(b"boundary", b""))
        await (meanwhile.receive(reader.form, body, reader.flush) if meanwhile else body)
        yield reader.form
    finally:
        await run_in_threadpool(file.close)  # freeing half a gigabyte takes a while


Multipart = Annotated[Form, Depends(multipart, scope="function")]


def spool() -> IO[bytes]:
    """Return a file without a name."""
    return tempfile.TemporaryFile(prefix="cleanplate-")


def write(spool: IO[bytes], data: bytes | bytearray) -> None:
    """Write what came of a request. Raises ``StoreFull``."""
    try:
        spool.write(data)
        spool.flush()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull("there is no room to receive the request") from error
        raise


def _unfit(name: str, files: Collection[str], fields: Collection[str]) -> str:
    if name in files:
        return f"this is to be a file; curl sends one by -F {name}=@PATH"
    if name in fields:
        return f"this is to be text; curl sends what is in a file by -F '{name}=<PATH'"
    return f"this call takes {', '.join(sorted({*files, *fields}))}"


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed_body", detail)


class _Reader:
    """Receives python-multipart's callbacks. Bytes of a file past the limit are counted and dropped.

    An archive may have as many as the request.
    """

    def __init__(self, form: Form, files_allowed: int) -> None:
        self.form = form
        self._files_allowed = files_allowed
        self._kept_bytes = settings.get().max_file_bytes
        self._unwritten = bytearray()
        self._writing = asyncio.Lock()
        self._kept = self._whole = 0
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._name = ""
        self._text = bytearray()
        self._file: File | None = None
        self._ended = False

    async def consume(self, request: Request, boundary: bytes) -> None:
        if not boundary:
            raise _malformed("The Content-Type names no boundary.")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )
        async for chunk in request.stream():
            try:
                parser.write(chunk)
            except FormParserError as error:
                raise _malformed("The multipart body is malformed.") from error
            if len(self._unwritten) >= WRITE_BYTES:
                await self.flush()
        await self.flush()
        if not self._ended:
            raise _malformed("The multipart body ends before its last boundary.")

    async def flush(self) -> None:
        """Write what has come to the spool."""
        async with self._writing:
            data, self._unwritten = self._unwritten, bytearray()
            whole = self._whole
            if data:
                await run_in_threadpool(write, self.form.spool, data)
            self.form.size += len(data)
            self.form.whole = whole

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise _malformed("A part of the multipart body has no name.")
        self._name = _text(options[b"name"])
        self._text.clear()
        self._file = None
        if b"filename" in options:
            if len(self.form.files) == self._files_allowed:
                raise _too_many("files", self._files_allowed)
            self._file = File(self._name, _text(options[b"filename"]), self._kept)
            if not self.form.files:
                self.form.ahead = dict(self.form.fields)
            self.form.files.append(self._file)
        elif len(self.form.fields) == FIELDS_ALLOWED:
            raise _too_many("fields", FIELDS_ALLOWED)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._text += data[start:end]
            if len(self._text) > FIELD_BYTES:
                detail = f"The field {self._name} has more than {FIELD_BYTES} bytes."
                raise Problem(413, "field_too_large", detail, extra={"limit_bytes": FIELD_BYTES})
            return
        kept = end if self._file.field == ARCHIVE else start + max(0, self._kept_bytes - self._file.size)
        took = data[start : min(end, kept)]
        self._unwritten += took
        self._kept += len(took)
        self._file.size += end - start

    def _on_part_end(self) -> None:
        if self._file is not None:
            if not self._file.name and not self._file.size:  # a browser's form in which no file was chosen
                self.form.files.pop()
                self.form.ahead = self.form.ahead if self.form.files else None
            self._whole = len(self.form.files)
        else:
            if self._name in self.form.fields:
                raise _malformed(f"The field {self._name} is given twice.")
            self.form.fields[self._name] = _text(self._text)

    def _on_end(self) -> None:
        self._ended = True


def _text(raw: bytes | bytearray) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _too_many(what: str, limit: int) -> Problem:
    detail = f"The request has more {what} than the {limit} that one may have; send it in parts."
    return Problem(413, f"too_many_{what}", detail, extra={"limit": limit})
