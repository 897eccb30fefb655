"""Between a picture's own colour space and sRGB, in which the upstream works.

A profile that cannot be used (broken, or made for another kind of picture than it is attached to) counts as none, as
in browsers; a picture without a profile is sRGB.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_TOLERANCE = 2  # levels of 255; the profiles named sRGB differ by as much among themselves
_INTENT, _FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION


def usable(profile: bytes | None, mode: str) -> bytes | None:
    """Return the profile if pictures of this mode (L, RGB or CMYK) can be read with it."""
    return profile if profile and _into_srgb(profile, mode) else None


@lru_cache(maxsize=32)
def is_srgb(profile: bytes | None, mode: str) -> bool:
    """Tell by its effect, not its name, whether pictures with this profile already are sRGB (or neutral, if L)."""
    if mode == "CMYK":
        return False
    transform = _into_srgb(profile, mode) if profile else None
    if transform is None:
        return True
    probe = _probe(mode)
    moved = np.abs(np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16))
    return bool(moved.max() <= _TOLERANCE)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an L, RGB or CMYK picture as sRGB: untouched where it is that already, else RGB."""
    if is_srgb(profile, image.mode):
        return image
    transform = _into_srgb(profile, image.mode) if profile else None
    return transform.apply(image) if transform else image.convert("RGB")


def from_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    """Return an sRGB picture (L or RGB) in the space that ``profile`` describes for pictures of ``mode``, L or RGB."""
    transform = None if is_srgb(profile, mode) or not profile else _out_of_srgb(profile, mode)
    return transform.apply(image.convert("RGB")) if transform else image.convert(mode)


@lru_cache(maxsize=32)
def _into_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        return ImageCms.buildTransform(
            io.BytesIO(profile), ImageCms.createProfile("sRGB"), mode, "RGB", _INTENT, _FLAGS
        )
    except ImageCms.PyCMSError:
        return None


@lru_cache(maxsize=32)
def _out_of_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        return ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), io.BytesIO(profile), "RGB", mode, _INTENT, _FLAGS
        )
    except ImageCms.PyCMSError:  # a profile may be made for reading only
        return None


def _probe(mode: str) -> Image.Image:
    """Return a picture of all greys, or of a lattice of colours that spans the cube."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    return Image.fromarray(lattice)
