"""Which way up a picture is: EXIF's Orientation tag and nothing else, as browsers do it.

Pillow's ``exif_transpose`` also follows XMP, which browsers do not, and raises on malformed EXIF, which they ignore.
"""

from typing import Literal

from PIL import Image

Size = tuple[int, int]
"""Width and height in pixels."""

_ORIENTATION, _SHORT = 0x0112, 3  # TIFF 6.0: the tag, and the type it must have
_ENTRY_BYTES = 12

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {5, 6, 7, 8}


def read(exif: bytes | None) -> int:
    """Return the orientation, 1 (upright) to 8, that EXIF bytes tell; 1 when they tell none or are malformed."""
    tiff = (exif or b"").removeprefix(b"Exif\0\0")
    if tiff[:4] == b"II*\0":
        return _from_ifd(tiff, "little")
    if tiff[:4] == b"MM\0*":
        return _from_ifd(tiff, "big")
    return 1


def _from_ifd(tiff: bytes, order: Literal["little", "big"]) -> int:
    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    first = number(4, 4)
    for entry in range(first + 2, min(first + 2 + _ENTRY_BYTES * number(first, 2), len(tiff)), _ENTRY_BYTES):
        if number(entry, 2) == _ORIENTATION:
            value = number(entry + 8, 2)
            return value if number(entry + 2, 2) == _SHORT and value in _TURNS else 1
    return 1


def turned(size: Size, orientation: int) -> Size:
    """Return the size that a picture stored with ``size`` has upright."""
    return size[::-1] if orientation in _SIDEWAYS else size


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Return the picture upright; the same object when it already is."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
