"""The directory of a ZIP (PKWARE's APPNOTE 6.3), read with suspicion: nothing is unpacked before all of it is known.

The standard library's zipfile reads a directory of any length into memory, and that of Python 3.11 does not see that
members overlap (CVE-2024-0450): a few bytes, unpacked a thousand times under a thousand names.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from struct import Struct
from struct import error as StructError  # noqa: N812 -- it is a class
from typing import Final

from api import names
from api.archive import records
from api.archive.records import IN_ZIP64, LOCAL, LOCAL_SIGNATURE, Limits, Member, Read, rejected

DIRECTORY_BYTES: Final = 16 << 20

_END, _END_SIGNATURE = Struct("<4s4H2LH"), b"PK\x05\x06"
_LOCATOR, _LOCATOR_SIGNATURE = Struct("<4sLQL"), b"PK\x06\x07"
_END64, _END64_SIGNATURE = Struct("<4sQ2H2L4Q"), b"PK\x06\x06"
_ENTRY, _ENTRY_SIGNATURE = Struct("<4s6H3L5H2L"), b"PK\x01\x02"
_COUNT_IN_ZIP64: Final = 0xFFFF
_COMMENT_BYTES: Final = 0xFFFF


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
        if records.is_archive(name):
            raise rejected("nested", f"{name} is an archive in the archive.")
    return files


def _find_directory(read: Read, size: int) -> _Span:
    tail_begin = max(0, size - _END.size - _COMMENT_BYTES)
    tail = read(tail_begin, size - tail_begin)
    at = tail.rfind(_END_SIGNATURE, 0, max(0, len(tail) - _END.size + len(_END_SIGNATURE)))
    if at < 0:
        raise rejected("not_a_zip", "It is no ZIP file, or its end is missing.")
    _, disk, first_disk, _, entries, length, begin, _ = _END.unpack_from(tail, at)
    end = tail_begin + at
    if IN_ZIP64 in {length, begin} or entries == _COUNT_IN_ZIP64:
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
        told = dict(records.extras(directory[extra:after]))
        size, packed, offset = records.long(told.get(records.ZIP64, b""), size, packed, offset)
        fault = records.fault(flags, method, made_by, attributes)
        if disk not in {0, _COUNT_IN_ZIP64}:
            raise rejected("split", "It is one part of several.")
        yield Member(records.name(raw, flags, told), offset + span.shift, packed, size, crc, method, fault)
        at, found = after + lengths[2], found + 1
    if found != span.entries or at != len(directory):
        raise rejected("damaged", f"Its directory has {found} entries, not the {span.entries} that it says.")


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
        header = read(member.offset, LOCAL.size)
        if len(header) < LOCAL.size or not header.startswith(LOCAL_SIGNATURE):
            raise rejected("damaged", f"{member.name} is not where the directory says.")
        *_, name_length, extra_length = LOCAL.unpack(header)
        begin = member.offset + LOCAL.size + name_length + extra_length
        if member.offset < free or begin + member.packed > directory:
            raise rejected("overlap", f"{member.name} overlaps what is beside it.")
        free = begin + member.packed
        placed[number] = replace(member, offset=begin)
    return placed
