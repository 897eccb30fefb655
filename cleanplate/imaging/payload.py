"""What the upstream is sent: an image it understands without metadata, and a mask in strict black and white."""

from dataclasses import dataclass

import numpy as np

from cleanplate.imaging import colour
from cleanplate.imaging.encode import encode
from cleanplate.imaging.mask import Mask
from cleanplate.imaging.source import Source


@dataclass(frozen=True)
class Prepared:
    """``image``: JPEG or PNG, upright, opaque, 8-bit sRGB or grey. ``mask``: PNG of the same size, L, 0 or 255."""

    image: bytes
    mask: bytes


def prepare(image: Source, mask: Mask) -> Prepared:
    """Return a pair that was checked as the upstream takes it in its fields ``image`` and ``mask``.

    A plain JPEG or PNG goes as its own compressed pixels, cleared of metadata but never encoded again, and so does a
    mask that is strict already; everything else (turned, transparent, deep, wide-gamut, CMYK, WebP, AVIF, HEIC) as a
    PNG of how it looks on white in sRGB. A picture that may contain GPS positions or a second picture is never sent
    with them.

    Raises ``ImageFault`` for pixels that break off, if they were not decoded yet.
    """
    return Prepared(image=_image(image), mask=mask.plain or encode(np.asarray(mask.image), None, None, "png"))


def _image(source: Source) -> bytes:
    if source.plain:
        return source.plain
    picture = source.picture().flattened()
    return encode(np.asarray(colour.to_srgb(picture.colours, picture.profile)), None, None, "png")
