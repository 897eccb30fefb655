"""The files of an archive in a request's spool, unpacked one at a time and never beyond what was announced."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from api import forms
from api.archive.directory import read_directory
from api.archive.records import STORED, Limits, Member, Read
from api.errors import Problem
from api.forms import ARCHIVE, File, Form
from cleanplate import settings

CHUNK_BYTES: Final = 256 << 10
FAULTS: Final = {
    "unsupported_entry": "is no file but a link or a device",
    "encrypted_file": "is encrypted",
    "unsupported_compression": "is packed by a method that is not taken; use deflate or none",
    "archive_damaged": "does not unpack to what the archive's directory says",
}


@dataclass(frozen=True, slots=True)
class Archive:
    """``files`` are in the order of the archive's directory; their offsets are those of the packed bytes in it."""

    files: list[File]
    _members: dict[int, Member]
    _read: Read

    def add(self, members: Iterable[Member]) -> list[File]:
        """Take files that have been found; return them."""
        files = []
        for member in members:
            files.append(File(ARCHIVE, member.name, member.offset, member.size))
            self._members[member.offset] = member
        self.files.extend(files)
        return files

    def said(self, file: File) -> Member | None:
        """Return what is said of a file before it and in the directory alike, if there is one at its place."""
        found = self._members.get(file.offset)
        return found and replace(found, fault=None)

    def read(self, file: File) -> bytes:
        """Unpack a file; threads may do so at once. Raises :class:`Problem` 413 or 422."""
        forms.check_size(file)
        member = self._members[file.offset]
        if member.fault is not None:
            raise _fault(member, member.fault)
        data = _unpacked(self._read, member)
        if data is None or len(data) != member.size or zlib.crc32(data) != member.crc:
            raise _fault(member, "archive_damaged")
        return bytes(data)


def open_archive(form: Form, file: File) -> Archive:
    """Read the directory of the archive that came as ``file``. Raises :class:`Problem` 422 ``archive_rejected``."""
    archive = Archive([], {}, partial(form.part, file))
    archive.add(read_directory(partial(form.part, file), file.size, limits()))
    return archive


def limits() -> Limits:
    """Return what an archive may hold by the settings."""
    config = settings.get()
    return Limits(config.max_archive_entries, config.max_archive_bytes, config.max_archive_ratio)


def _unpacked(read: Read, member: Member) -> bytes | bytearray | None:
    """Return at most one byte more than was announced, or None when the bytes are not what deflate makes."""
    if member.method == STORED:
        return read(member.offset, member.packed) if member.packed == member.size else None
    inflate, data = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    try:
        for at in range(0, member.packed, CHUNK_BYTES):
            chunk = read(member.offset + at, min(CHUNK_BYTES, member.packed - at))
            data += inflate.decompress(chunk, member.size + 1 - len(data))
            if inflate.eof or len(data) > member.size:
                break
    except zlib.error:
        return None
    return data if inflate.eof else None


def _fault(member: Member, code: str) -> Problem:
    return Problem(422, code, f"{member.name} {FAULTS[code]}.")
