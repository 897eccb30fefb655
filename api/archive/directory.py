"""The directory of a ZIP (PKWARE's APPNOTE 6.3), read with suspicion: nothing is unpacked before all of it is known.

The standard library's zipfile reads a directory of any length into memory, and that of Python 3.11 does not see that
members overlap (CVE-2024-0450): a few bytes, unpacked a thousand times under a thousand names.
"""

import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from struct import Struct
from struct import error as StructError  # noqa: N812 -- it is a class
from typing import Final

from api import names
from api.errors import Problem

Read = Callable[[int, int], bytes]
"""Returns so many bytes from an offset in the archive, fewer at its end."""

DIRECTORY_BYTES: Final = 16 << 20
NAME_BYTES: Final = 1024
STORED, DEFLATED = 0, 8

_END, _END_SIGNATURE = Struct("<4s4H2LH"), b"PK\x05\x06"
_LOCATOR, _LOCATOR_SIGNATURE = Struct("<4sLQL"), b"PK\x06\x07"
_END64, _END64_SIGNATURE = Struct("<4sQ2H2L4Q"), b"PK\x06\x06"
_ENTRY, _ENTRY_SIGNATURE = Struct("<4s6H3L5H2L"), b"PK\x01\x02"
_LOCAL, _LOCAL_SIGNATURE = Struct("<4s5H3L2H"), b"PK\x03\x04"
_EXTRA, _LONG = Struct("<2H"), Struct("<Q")
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_IN_ZIP64, _COUNT_IN_ZIP64 = 0xFFFFFFFF, 0xFFFF
_COMMENT_BYTES = 0xFFFF
_ENCRYPTED, _UTF8 = 0x2041, 0x0800
_NESTED = frozenset({".zip", ".jar", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"})


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that an archive may hold: entries, bytes of all when unpacked, and these as a multiple of its own."""

    entries: int
    unpacked_bytes: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive: where its packed bytes begin, and what the directory says of it, in bytes.

    ``fault`` is the code of why it cannot be read, or None.
    """

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class _Span:
    """Where the directory lies, how many entries it has, and how far all offsets are moved by what stands before."""

    begin: int
    end: int
    entries: int
    shift: int


def read_directory(read: Read, size: int, limits: Limits) -> list[Member]:
    """Return the files of an archive of so many bytes, in the order of its directory.

    Raises :class:`Problem` 422 ``archive_rejected``, whose ``reason`` is ``not_a_zip``, ``damaged``, ``split``,
    ``too_many_entries``, ``too_large``, ``ratio``, ``overlap`` or ``nested``.
    """
    try:
        span = _find_directory(read, size)
        if span.entries > limits.entries:
            raise rejected("too_many_entries", f"It has {span.entries} entries; {limits.entries} may be in one.")
        if span.end - span.begin > DIRECTORY_BYTES:
            raise rejected("too_large", f"Its directory alone has more than {DIRECTORY_BYTES} bytes.")
        members = list(_entries(read(span.begin, span.end - span.begin), span, limits.entries))
    except (StructError, IndexError):
        raise rejected("damaged", "It ends, or its directory does, where more should follow.") from None
    _check_sizes(members, size, limits)
    members = _placed(read, members, span.begin)
    files = [member for member in members if not member.name.endswith(("/", "\\"))]
    for name in (names.clean(member.name) for member in files):
        if PurePosixPath(name).suffix.lower() in _NESTED and not names.is_junk(name):
            raise rejected("nested", f"{name} is an archive in the archive.")
    return files


def rejected(reason: str, detail: str) -> Problem:
    return Problem(422, "archive_rejected", f"The archive is not taken. {detail}", extra={"reason": reason})


def _find_directory(read: Read, size: int) -> _Span:
    tail_begin = max(0, size - _END.size - _COMMENT_BYTES)
    tail = read(tail_begin, size - tail_begin)
    at = tail.rfind(_END_SIGNATURE, 0, max(0, len(tail) - _END.size + len(_END_SIGNATURE)))
    if at < 0:
        raise rejected("not_a_zip", "It is no ZIP file, or its end is missing.")
    _, disk, first_disk, _, entries, length, begin, _ = _END.unpack_from(tail, at)
    end = tail_begin + at
    if _IN_ZIP64 in {length, begin} or entries == _COUNT_IN_ZIP64:
        locator = read(max(0, end - _LOCATOR.size), _LOCATOR.size)
        if locator.startswith(_LOCATOR_SIGNATURE):
            _, _, end, _ = _LOCATOR.unpack(locator)
            found = _END64.unpack(read(end, _END64.size))
            if found[0] != _END64_SIGNATURE:
                raise rejected("damaged", "Its directory is not where it says.")
            disk, first_disk, _, entries, length, begin = found[4:]
    if disk or first_disk:
        raise rejected("split", "It is one part of several.")
    shift = end - length - begin
    if shift < 0:
        raise rejected("damaged", "Its directory is not where it says.")
    return _Span(end - length, end, entries, shift)


def _entries(directory: bytes, span: _Span, most: int) -> Iterator[Member]:
    at = found = 0
    while at < len(directory):
        fields = _ENTRY.unpack_from(directory, at)
        signature, made_by, _, flags, method, _, _, crc, packed, size, *lengths, disk, _, attributes, offset = fields
        if signature != _ENTRY_SIGNATURE or found == most:
            raise rejected("damaged", "Its directory is not what it says.")
        at += _ENTRY.size
        raw, extra, after = directory[at : at + lengths[0]], at + lengths[0], at + lengths[0] + lengths[1]
        told = dict(_extras(directory[extra:after]))
        size, packed, offset = _long(told.get(_ZIP64, b""), size, packed, offset)
        fault = _fault(flags, method, made_by, attributes)
        if disk not in {0, _COUNT_IN_ZIP64}:
            raise rejected("split", "It is one part of several.")
        yield Member(_name(raw, flags, told), offset + span.shift, packed, size, crc, method, fault)
        at, found = after + lengths[2], found + 1
    if found != span.entries or at != len(directory):
        raise rejected("damaged", f"Its directory has {found} entries, not the {span.entries} that it says.")


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        yield kind, extra[at : at + length]
        at += length


def _long(zip64: bytes, *values: int) -> Iterator[int]:
    """Return the values, those that do not fit into 32 bits from the field of ZIP64, where they stand in this order."""
    at = 0
    for value in values:
        if value == _IN_ZIP64 and at + _LONG.size <= len(zip64):
            yield _LONG.unpack_from(zip64, at)[0]
            at += _LONG.size
        else:
            yield value


def _name(raw: bytes, flags: int, told: dict[int, bytes]) -> str:
    """Return the name: by the field that is UTF-8, if it is this name's; as UTF-8 if it is that; or by code page 437.

    Many tools write UTF-8 and do not say so.
    """
    path = told.get(_UNICODE_PATH, b"")
    if path[:1] == b"\x01" and path[1:5] == zlib.crc32(raw).to_bytes(4, "little"):
        raw, flags = path[5:], flags | _UTF8
    raw = raw[:NAME_BYTES]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace") if flags & _UTF8 else raw.decode("cp437")


def _fault(flags: int, method: int, made_by: int, attributes: int) -> str | None:
    kind = stat.S_IFMT(attributes >> 16)
    if made_by >> 8 and kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "unsupported_entry"
    if flags & _ENCRYPTED:
        return "encrypted_file"
    return None if method in {STORED, DEFLATED} else "unsupported_compression"


def _check_sizes(members: list[Member], size: int, limits: Limits) -> None:
    unpacked = sum(member.size for member in members)
    if unpacked > limits.unpacked_bytes:
        raise rejected("too_large", f"Its files have {unpacked} bytes; {limits.unpacked_bytes} may be in one.")
    if unpacked > size * limits.ratio:
        raise rejected("ratio", f"Its files have more than {limits.ratio:g} times the bytes of the archive.")


def _placed(read: Read, members: list[Member], directory: int) -> list[Member]:
    """Return the members with the offsets of their data, none of which lies in another or in the directory."""
    placed = members.copy()
    free = 0
    for number in sorted(range(len(members)), key=lambda number: members[number].offset):
        member = members[number]
        header = read(member.offset, _LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(_LOCAL_SIGNATURE):
            raise rejected("damaged", f"{member.name} is not where the directory says.")
        *_, name_length, extra_length = _LOCAL.unpack(header)
        begin = member.offset + _LOCAL.size + name_length + extra_length
        if member.offset < free or begin + member.packed > directory:
            raise rejected("overlap", f"{member.name} overlaps what is beside it.")
        free = begin + member.packed
        placed[number] = replace(member, offset=begin)
    return placed
