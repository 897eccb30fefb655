"""Decoded pixels in the few kinds that the rest of this package works on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

BYTE = 8  # bits a channel that are worked on


@dataclass(frozen=True)
class Picture:
    """Decoded pixels, upright, 8 bits a channel. ``colours`` is L or RGB, in the space of ``profile`` (none: sRGB)."""

    colours: Image.Image
    alpha: Image.Image | None
    profile: bytes | None

    def flattened(self) -> "Picture":
        """Return the picture as it looks on white."""
        if self.alpha is None:
            return self
        white = Image.new(self.colours.mode, self.colours.size, "white")
        return Picture(Image.composite(self.colours, white, self.alpha), None, self.profile)


def channels(image: Image.Image, bits: int) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours (L, RGB or CMYK) and alpha (L, or None), of 8 bits, of a decoded picture that has ``bits``."""
    image = _eight_bits(image, bits)
    base = "L" if image.mode in {"1", "L", "LA", "La"} else "RGB"
    if image.has_transparency_data:
        full = image.convert("RGBA")
        return full.convert(base), full.getchannel("A")
    return (image if image.mode in {"L", "RGB", "CMYK"} else image.convert(base)), None


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    """Return a deep picture, and the colour in it that is transparent, by their high bytes.

    Pillow reads 16-bit RGB so by itself, but neither such a colour nor 16-bit grey, which it clips.
    """
    if bits <= BYTE:
        return image
    is_grey = image.mode == "I;16"
    narrow = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if is_grey else image.copy()
    key = image.info.get("transparency")
    if key is not None:
        narrow.info["transparency"] = tuple(level >> 8 for level in key) if isinstance(key, tuple) else key >> 8
    return narrow
