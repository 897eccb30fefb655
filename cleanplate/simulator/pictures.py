"""Bytes to pixels and back. Pixels carry no profile and no metadata, so nothing of that survives, as upstream."""

from io import BytesIO
from struct import pack

import cv2
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000
QUALITY = 92
PNG_UP = 2  # the filter that is the difference to the row above


class PictureError(ValueError):
    """The bytes are not a picture that the model takes; the text says why."""


def size_of(data: bytes) -> tuple[int, int]:
    """Return width and height from the header alone. Raises PictureError."""
    with _opened(data) as picture:
        return picture.size


def format_of(data: bytes) -> str:
    """Return "png", "jpeg" or "webp", from the header. Raises PictureError."""
    with _opened(data) as picture:
        return (picture.format or "").lower()


def decode(data: bytes, mode: str) -> NDArray[np.uint8]:
    """Return the whole picture: (h, w, 3) for mode "RGB", (h, w) for "L". Raises PictureError."""
    with _opened(data) as picture:
        try:
            return np.asarray(picture.convert(mode))
        except (OSError, SyntaxError, ValueError) as error:
            raise PictureError(f"cannot be decoded: {error}") from error


def encode(picture: NDArray[np.uint8], output_format: str) -> bytes:
    """Return ``picture`` (h, w, 3; RGB) as "png", "jpeg" or "webp"."""
    if output_format == "png":
        return _png(picture)
    sink = BytesIO()
    Image.fromarray(picture).save(sink, output_format.upper(), quality=QUALITY, method=0)
    return sink.getvalue()


def _png(picture: NDArray[np.uint8]) -> bytes:
    """Encode in a fifth of the time that OpenCV takes: on a small machine that time is missing for what is tested."""
    height, width, _ = picture.shape
    differences = np.diff(picture.reshape(height, -1), axis=0, prepend=np.zeros((1, 3 * width), np.uint8))
    data = isal_zlib.compress(np.insert(differences, 0, PNG_UP, axis=1), 1)
    chunks = [(b"IHDR", pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    parts = (pack(">I", len(body)) + name + body + pack(">I", isal_zlib.crc32(name + body)) for name, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def shrink(picture: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    """Scale ``picture`` (h, w, 3) down to at most that many pixels."""
    h, w = picture.shape[:2]
    scale = (pixels / (h * w)) ** 0.5
    if scale >= 1:
        return picture
    size = max(1, int(w * scale)), max(1, int(h * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _opened(data: bytes) -> Image.Image:
    try:
        picture = Image.open(BytesIO(data), formats=FORMATS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError("is not a PNG, JPEG or WebP picture") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise PictureError(f"has more than {MAX_PIXELS} pixels")
    return picture
