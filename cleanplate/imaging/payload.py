"""What the upstream is sent: an image it understands without metadata, and a mask in strict black and white."""

from dataclasses import dataclass

from cleanplate.imaging import colour
from cleanplate.imaging import mask as masks
from cleanplate.imaging.encode import encode
from cleanplate.imaging.source import Source, open_picture


@dataclass(frozen=True)
class Prepared:
    """``image``: JPEG or PNG, upright, opaque, 8-bit sRGB or grey. ``mask``: PNG of the same size, L, 0 or 255."""

    image: bytes
    mask: bytes


def prepare(image: bytes, mask: bytes, *, mask_invert: bool = False) -> Prepared:
    """Return the pair as the upstream takes it in its fields ``image`` and ``mask``.

    A plain JPEG or PNG goes as its own compressed pixels, cleared of metadata but never decoded; everything else
    (turned, transparent, deep, wide-gamut, CMYK, WebP, AVIF, HEIC) as a PNG of how it looks on white in sRGB. A
    picture that may contain GPS positions or a second picture is never sent with them.

    The pair is taken to be one that ``check`` passed. Raises ``ImageFault`` where it is not.
    """
    source = open_picture(image)
    erase = masks.read(mask, source, invert=mask_invert)
    return Prepared(image=_image(source), mask=encode(erase.image, None, None, "png"))


def _image(source: Source) -> bytes:
    if source.plain:
        return source.plain
    picture = source.picture().flattened()
    return encode(colour.to_srgb(picture.colours, picture.profile), None, None, "png")
