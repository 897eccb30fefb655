"""ZIP files, whole and made wrong on purpose: each byte of a header can be said."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from struct import pack

from typing_extensions import Buffer

LINK = 0o120777 << 16
UNIX = 3 << 8
UTF8 = 0x0800
ENCRYPTED = 0x0001


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    """Return a ZIP as the standard library writes it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.comment = comment
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


@dataclass(frozen=True)
class Entry:
    """What the headers of a file say; what is None is what is true."""

    name: bytes
    data: bytes = b"data"
    flags: int = UTF8
    method: int = 8
    size: int | None = None
    crc: int | None = None
    made_by: int = UNIX
    attributes: int = 0
    extra: bytes = b""
    offset: int | None = None


def crafted(*entries: Entry, count: int | None = None, before: bytes = b"") -> bytes:
    """Return a ZIP of these entries, after some bytes that are no part of it; ``count`` is how many it says it has."""
    body, directory = bytearray(), bytearray()
    for entry in entries:
        deflate = zlib.compressobj(wbits=-15)
        packed = deflate.compress(entry.data) + deflate.flush() if entry.method == 8 else entry.data
        size = len(entry.data) if entry.size is None else entry.size
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        told = (entry.flags, entry.method, 0, 0, crc, len(packed), size, len(entry.name), len(entry.extra))
        offset = len(body) if entry.offset is None else entry.offset
        body += pack("<4s5H3L2H", b"PK\x03\x04", 20, *told) + entry.name + entry.extra + packed
        directory += pack("<4s6H3L5H2L", b"PK\x01\x02", entry.made_by, 20, *told, 0, 0, 0, entry.attributes, offset)
        directory += entry.name + entry.extra
    number = len(entries) if count is None else count
    end = pack("<4s4H2LH", b"PK\x05\x06", 0, 0, number, number, len(directory), len(body), 0)
    return before + bytes(body + directory) + end


class Pipe(io.RawIOBase):
    """What cannot be sought in: a ZIP written to it says the sizes of a file behind it."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self.written += memoryview(data)
        return memoryview(data).nbytes


def piped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP as the standard library writes it to a pipe."""
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return bytes(pipe.written)
