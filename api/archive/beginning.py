"""The beginning of a ZIP of which the end has not come: its files by the headers that stand before them.

An advance on the directory, which is at the end and has the last word. So whatever looks odd is no error here: nothing
more is found, and the directory decides.
"""

import zlib
from struct import Struct
from struct import error as StructError  # noqa: N812 -- it is a class
from typing import Final

from api import names
from api.archive import records
from api.archive.records import LOCAL, LOCAL_SIGNATURE, Limits, Member, Read

CHUNK_BYTES: Final = 256 << 10
_SIZES_FOLLOW: Final = 0x0008
_FOLLOWING: Final = tuple(map(Struct, ("<4s3L", "<4sL2Q", "<3L", "<L2Q")))
"""What may stand behind a file whose header does not say its sizes: with a signature or without, long or not."""
_SIGNATURE: Final = b"PK\x07\x08"


class _OddError(Exception):
    """What comes is left to the directory."""


class Beginning:
    """Goes through an archive from its first byte on, as far as it has come."""

    def __init__(self, read: Read, limits: Limits, file_bytes: int) -> None:
        self._read, self._limits, self._file_bytes = read, limits, file_bytes
        self._at = self._unpacked = self._entries = 0
        self._measure: _Measure | None = None
        self.over = False

    def find(self, size: int) -> list[Member]:
        """Return the files that have become whole since it was asked last, now that ``size`` bytes are here."""
        found = []
        try:
            while not self.over and (member := self._next(size)):
                self._check(member, size)
                if not member.name.endswith(("/", "\\")):
                    found.append(member)
        except (_OddError, StructError, zlib.error):
            self.over = True
        return found

    def _next(self, size: int) -> Member | None:
        header = self._read(self._at, LOCAL.size)
        if self._at + LOCAL.size > size:
            return None
        signature, _, flags, method, _, _, crc, packed, unpacked, name_length, extra_length = LOCAL.unpack(header)
        begin = self._at + LOCAL.size + name_length + extra_length
        if signature != LOCAL_SIGNATURE:
            raise _OddError
        if begin > size:
            return None
        rest = self._read(self._at + LOCAL.size, name_length + extra_length)
        told = dict(records.extras(rest[name_length:]))
        unpacked, packed = records.long(told.get(records.ZIP64, b""), unpacked, packed)
        end = begin + packed
        if flags & _SIZES_FOLLOW:
            if method != records.DEFLATED or flags & records.ENCRYPTED:
                raise _OddError  # where such a file ends only the directory tells
            self._measure = self._measure or _Measure(self._read, begin, self._file_bytes)
            if (measured := self._measure.go_on(size)) is None:
                return None
            crc, packed, unpacked, end = measured
            self._measure = None
        if end > size:
            return None
        self._at = end
        name = records.name(rest[:name_length], flags, told)
        return Member(name, begin, packed, unpacked, crc, method, records.fault(flags, method, 0, 0))

    def _check(self, member: Member, size: int) -> None:
        self._entries += 1
        self._unpacked += member.size
        most = min(self._limits.unpacked_bytes, size * self._limits.ratio)
        nested = records.is_archive(names.clean(member.name))
        if nested or self._unpacked > most or self._entries > self._limits.entries:
            raise _OddError


class _Measure:
    """Finds the end of a deflated file whose header does not say where it is. What it unpacks it drops."""

    def __init__(self, read: Read, begin: int, most: int) -> None:
        self._read, self._begin, self._at, self._most = read, begin, begin, most
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._size = self._crc = 0

    def go_on(self, size: int) -> tuple[int, int, int, int] | None:
        """Unpack what has come; if it is whole return its checksum, both sizes, and where what follows them ends."""
        while not self._inflate.eof and self._at < size:
            packed = self._read(self._at, min(CHUNK_BYTES, size - self._at))
            self._at += len(packed)
            while packed and not self._inflate.eof:
                data = self._inflate.decompress(packed, CHUNK_BYTES)
                packed = self._inflate.unconsumed_tail
                self._size += len(data)
                self._crc = zlib.crc32(data, self._crc)
                if self._size > self._most:
                    raise _OddError
            self._at -= len(self._inflate.unused_data)
        return self._followed(size) if self._inflate.eof else None

    def _followed(self, size: int) -> tuple[int, int, int, int] | None:
        sums = (self._crc, self._at - self._begin, self._size)
        for form in _FOLLOWING:
            if self._at + form.size > size:
                continue
            raw = self._read(self._at, form.size)
            *signature, crc, packed, size = form.unpack(raw)
            if (crc, packed, size) == sums and (not signature or signature == [_SIGNATURE]):
                return *sums, self._at + form.size
        if all(self._at + form.size <= size for form in _FOLLOWING):
            raise _OddError
        return None
