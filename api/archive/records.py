"""What the headers of a ZIP say of a file (PKWARE's APPNOTE 6.3), in its directory and before the file itself."""

import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from struct import Struct
from typing import Final

from api import names
from api.errors import Problem

Read = Callable[[int, int], bytes]
"""Returns so many bytes from an offset in the archive, fewer at its end."""

NAME_BYTES: Final = 1024
STORED, DEFLATED = 0, 8
LOCAL, LOCAL_SIGNATURE = Struct("<4s5H3L2H"), b"PK\x03\x04"
ZIP64: Final = 0x0001
IN_ZIP64: Final = 0xFFFFFFFF
ENCRYPTED: Final = 0x2041

_EXTRA, _LONG = Struct("<2H"), Struct("<Q")
_UNICODE_PATH: Final = 0x7075
_UTF8: Final = 0x0800
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


def rejected(reason: str, detail: str) -> Problem:
    return Problem(422, "archive_rejected", f"The archive is not taken. {detail}", extra={"reason": reason})


def extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        yield kind, extra[at : at + length]
        at += length


def long(zip64: bytes, *values: int) -> Iterator[int]:
    """Return the values, those that do not fit into 32 bits from the field of ZIP64, where they stand in this order."""
    at = 0
    for value in values:
        if value == IN_ZIP64 and at + _LONG.size <= len(zip64):
            yield _LONG.unpack_from(zip64, at)[0]
            at += _LONG.size
        else:
            yield value


def name(raw: bytes, flags: int, told: dict[int, bytes]) -> str:
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


def fault(flags: int, method: int, made_by: int, attributes: int) -> str | None:
    kind = stat.S_IFMT(attributes >> 16)
    if made_by >> 8 and kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "unsupported_entry"
    if flags & ENCRYPTED:
        return "encrypted_file"
    return None if method in {STORED, DEFLATED} else "unsupported_compression"


def is_archive(name: str) -> bool:
    """Tell whether a file of this clean name is an archive itself."""
    return PurePosixPath(name).suffix.lower() in _NESTED and not names.is_junk(name)
