"""A picture file: its header read and held against the limits first, its pixels decoded when they are asked for."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from cleanplate.imaging import colour, container, orientation, pixels
from cleanplate.imaging.container import Container
from cleanplate.imaging.faults import ImageFault
from cleanplate.imaging.inflate import InflatedPngFile
from cleanplate.imaging.orientation import Size
from cleanplate.imaging.pixels import BYTE, Picture
from cleanplate.imaging.sniff import sniff

Part = Literal["image", "mask"]

# Opened by class, not by Image.open: content alone decides, and no plugin guesses, warns or follows a second picture.
_PLUGINS: dict[str, type[ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": InflatedPngFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "heic": HeifImageFile,
}
_PNG_DEPTH_AT = 24  # the byte of a PNG that says how many bits a channel has


@dataclass(frozen=True)
class Source:
    """A picture file that was opened. ``orientation`` is EXIF's, ``bits`` a channel's; see ``container`` for ``bare``.

    ``bare`` is the file without its metadata, for JPEG and PNG; None for the others.
    """

    image: ImageFile
    part: Part
    format: str
    orientation: int
    bits: int
    has_alpha: bool
    bare: bytes | None

    @property
    def size(self) -> Size:
        """The size upright."""
        return orientation.turned(self.image.size, self.orientation)

    @property
    def plain(self) -> bytes | None:
        """``bare``, if it is an upright, opaque picture of 8 bits in sRGB or grey that nothing needs to be done to."""
        done = (
            self.image.mode in {"L", "RGB"}
            and not self.has_alpha
            and self.bits == BYTE
            and self.orientation == 1
            and colour.is_srgb(self.image.info.get("icc_profile"), self.image.mode)
        )
        return self.bare if done else None

    def decode(self) -> None:
        """Decode all of the pixels, once. Raises ``ImageFault`` when they break off or are not what the header said."""
        size = self.image.size
        with _faults(self.part):
            self.image.load()
        if self.image.size != size:
            raise _corrupt(self.part)

    def channels(self) -> tuple[Image.Image, Image.Image | None]:
        """Return colours (L, RGB or CMYK) and alpha (L or None), of 8 bits, as stored. Raises as ``decode`` does."""
        self.decode()
        with _faults(self.part):
            return pixels.channels(self.image, self.bits)

    def picture(self) -> Picture:
        """Return the pixels upright. CMYK becomes sRGB here, because no lossless format holds it."""
        colours, alpha = self.channels()
        profile = colour.usable(self.image.info.get("icc_profile"), colours.mode)
        if colours.mode == "CMYK":
            colours, profile = colour.to_srgb(colours, profile), None
        upright = orientation.turn(colours, self.orientation)
        return Picture(upright, orientation.turn(alpha, self.orientation) if alpha else None, profile)


def open_picture(data: bytes, part: Part = "image", *, max_pixels: int | None = None) -> Source:
    """Read the header of a JPEG, PNG, WebP, AVIF or HEIC file; content decides, never a name.

    Raises ``ImageFault``: ``empty_file``, ``unsupported_media_type``, ``image_corrupt`` or ``mask_corrupt``,
    ``animated_unsupported``, ``metadata_too_large``, and ``image_too_large`` for more than ``max_pixels``.
    """
    if not data:
        raise ImageFault("empty_file", f"The {part} has no bytes; upload it again.", {"part": part})
    format_ = sniff(data)
    if format_ is None:
        raise ImageFault(
            "unsupported_media_type",
            f"The {part} is neither JPEG, PNG, WebP, AVIF nor HEIC, whatever its name says; save it as one of them.",
            {"part": part},
        )
    with _faults(part):
        file = _contain(data, format_)
        image = _PLUGINS[format_](io.BytesIO(file.bare))
        has_alpha = image.has_transparency_data
        _refuse_large_profile(image)
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise ImageFault(
            "image_too_large",
            f"The {part} has {width} x {height} pixels and {max_pixels} are taken; scale it down or cut it.",
            {"part": part, "width": width, "height": height, "max_pixels": max_pixels},
        )
    if file.animated or _is_animated(image, format_):
        raise ImageFault(
            "animated_unsupported", f"The {part} is an animation; upload one frame as a still.", {"part": part}
        )
    # An AVIF's own rotation is told as EXIF by Pillow; a HEIC's libheif has already applied, and its EXIF says so.
    exif = file.exif or image.info.get("exif")
    bits = data[_PNG_DEPTH_AT] if format_ == "png" else image.info.get("bit_depth", BYTE)
    bare = file.bare if format_ in {"jpeg", "png"} else None
    return Source(image, part, format_, orientation.read(exif), bits, has_alpha, bare)


def _contain(data: bytes, format_: str) -> Container:
    if format_ == "jpeg":
        return container.read_jpeg(data)
    return container.read_png(data) if format_ == "png" else Container(data)


def _is_animated(image: ImageFile, format_: str) -> bool:
    if format_ == "heic":  # several pictures in one file are no animation: the primary one is taken
        return str(image.custom_mimetype).endswith("-sequence")
    return bool(getattr(image, "is_animated", False))


def _refuse_large_profile(image: ImageFile) -> None:
    """Refuse a profile that no reader would take from the PNG that the result becomes; CMYK's never gets there."""
    if image.mode != "CMYK" and len(image.info.get("icc_profile") or b"") > container.MAX_UNPACKED:
        raise container.OversizedError("the profile is larger than is taken")


def _corrupt(part: Part) -> ImageFault:
    return ImageFault(
        f"{part}_corrupt", f"The {part} does not decode to its end; export it again and upload that.", {"part": part}
    )


@contextmanager
def _faults(part: Part) -> Iterator[None]:
    """Let nothing but a fault out: on hostile bytes decoders raise whatever they come across."""
    try:
        yield
    except container.OversizedError as error:
        raise ImageFault(
            "metadata_too_large",
            f"The {part}'s text or profile unpacks to more than {container.MAX_UNPACKED} bytes; save it without.",
            {"part": part, "max_bytes": container.MAX_UNPACKED},
        ) from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageFault(
            "image_too_large", f"The {part} has more pixels than can be decoded; scale it down.", {"part": part}
        ) from error
    except Exception as error:
        raise _corrupt(part) from error
