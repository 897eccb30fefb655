"""JPEG and PNG files taken apart without decoding their pixels.

Only the bare file, cleared of all metadata, ever reaches a decoder or the upstream: so neither GPS positions nor a
phone's second picture leave the house, and no decoder stumbles over broken EXIF or text.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAX_UNPACKED = 1 << 20  # bytes that all compressed text and the profile of a PNG may unpack to; Pillow's own limit

_EOI, _SOS, _APP0, _APP1, _APP2, _APP14 = 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE
# Neither a stuffed byte nor a restart inside a scan. Only a pattern that starts with a literal is searched for quickly:
# of fill bytes (\xff\xff...) the last is found.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_JPEG_KEPT_APPS = {_APP0: b"JFIF\0", _APP2: b"ICC_PROFILE\0", _APP14: b"Adobe"}  # what tells a decoder the colours
_JPEG_TABLES = range(0xC0, 0xE0)
_JPEG_LENGTH_SIZE = 2  # a segment's length counts its own two bytes

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP"}
_PNG_COMPRESSED = {b"iCCP", b"zTXt", b"iTXt"}


class MalformedError(ValueError):
    """The file breaks off, or its parts do not add up."""


class OversizedError(ValueError):
    """Metadata that cannot be left aside is, or unpacks to, more than ``MAX_UNPACKED`` bytes."""


@dataclass(frozen=True)
class Container:
    """``bare`` decodes to the same pixels and colours as the file did; ``exif`` is what was cut out of it."""

    bare: bytes
    exif: bytes | None = None
    animated: bool = False


def read_jpeg(data: bytes) -> Container:
    """Take a JPEG apart up to its first end of image. Raises ``MalformedError``."""
    kept, exif = [data[:2]], None
    for marker, segment in _jpeg_segments(data):
        body = segment[4:]
        if marker == _APP1 and exif is None and body.startswith(b"Exif\0\0"):
            exif = body
        elif marker in _JPEG_TABLES or ((head := _JPEG_KEPT_APPS.get(marker)) and body.startswith(head)):
            kept.append(segment)
    return Container(b"".join(kept), exif)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each marker with its segment; a scan brings its coded data along, and the end of image comes last."""
    found = _JPEG_MARKER.search(data, 2)
    while found:
        marker, start = found[1][0], found.end() - 2
        if marker == _EOI:
            yield marker, data[start : start + 2]
            return
        length = int.from_bytes(data[start + 2 : start + 4])
        if length < _JPEG_LENGTH_SIZE:
            break
        end = start + 2 + length
        found = _JPEG_MARKER.search(data, end)
        yield marker, data[start : found.start() if found and marker == _SOS else end]
    raise MalformedError("the JPEG has no end")


def read_png(data: bytes) -> Container:
    """Take a PNG apart. Raises ``MalformedError`` and, for compressed metadata like a zTXt bomb, ``OversizedError``."""
    kept, exif, animated, budget = [_PNG_MAGIC], None, False, MAX_UNPACKED
    for name, chunk in _png_chunks(data):
        body = chunk[8:-4]
        if name in _PNG_COMPRESSED:
            budget -= _unpacked_size(_packed(name, body), budget)
        if name == b"eXIf":
            exif = body
        elif name == b"acTL":
            animated = int.from_bytes(body[:4]) > 1
        if name in _PNG_KEPT:
            kept.append(chunk)
    return Container(b"".join(kept), exif, animated)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, name = len(_PNG_MAGIC), b""
    while name != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4])
        name = data[at + 4 : at + 8]
        if end > len(data):
            raise MalformedError("the PNG has no end")
        yield name, data[at:end]
        at = end


def _packed(name: bytes, body: bytes) -> bytes:
    """Return the zlib stream of a compressed chunk; an iTXt chunk has a flag for whether it is one."""
    _keyword, _, rest = body.partition(b"\0")
    if name != b"iTXt":
        return rest[1:]
    return rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""


def _unpacked_size(packed: bytes, budget: int) -> int:
    """Return how many bytes the stream unpacks to, without ever holding more than the budget and one."""
    unpacker = zlib.decompressobj()
    try:
        size = len(unpacker.decompress(packed, budget + 1))
    except zlib.error:
        return 0  # broken metadata is dropped as all other
    if size > budget:
        raise OversizedError("compressed metadata unpacks to more than is taken")
    return size
