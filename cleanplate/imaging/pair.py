"""What the intake asks about an image and its mask before anything is stored or paid."""

import hashlib
from dataclasses import dataclass

from cleanplate.imaging import mask as masks
from cleanplate.imaging.facts import Facts, MaskFacts
from cleanplate.imaging.faults import ImageFault, warning
from cleanplate.imaging.formats import MAX_SIDE, OutputFormat
from cleanplate.imaging.payload import Prepared, prepare
from cleanplate.imaging.pixels import BYTE
from cleanplate.imaging.source import Source, open_picture


@dataclass(frozen=True)
class Pair:
    """A pair that can be worked on: its facts, and what of it the upstream is sent.

    A warning reads ``code: what; what to do``.
    """

    image: Facts
    mask: MaskFacts
    warnings: tuple[str, ...]
    sent: Prepared


def check(
    image: bytes,
    mask: bytes,
    *,
    max_pixels: int,
    mask_invert: bool = False,
    output_format: OutputFormat = "png",
) -> Pair:
    """Decode both wholly, once, and return what they are.

    Raises ``ImageFault`` and nothing else, whatever the bytes: every code of ``faults.IMAGE_FAULTS``. No more than
    ``max_pixels`` of either are decoded; headers are read first.
    """
    source = open_picture(image, max_pixels=max_pixels)
    _refuse_unencodable(source, output_format)
    source.decode()
    read = masks.read(mask, source, invert=mask_invert, max_pixels=max_pixels)
    width, height = source.size
    return Pair(
        image=Facts(
            width=width, height=height, format=source.format, bytes=len(image), sha256=hashlib.sha256(image).hexdigest()
        ),
        mask=MaskFacts(
            width=width,
            height=height,
            format=read.format,
            bytes=len(mask),
            sha256=hashlib.sha256(mask).hexdigest(),
            coverage=read.coverage,
        ),
        warnings=(*_image_warnings(source, output_format), *read.warnings),
        sent=prepare(source, read),
    )


def _refuse_unencodable(source: Source, output_format: OutputFormat) -> None:
    width, height = source.size
    limit = MAX_SIDE[output_format]
    if max(width, height) > limit:
        raise ImageFault(
            "image_too_large",
            f"The image has {width} x {height} pixels and {output_format} holds {limit} a side; "
            "choose output_format png, or scale it down.",
            {"part": "image", "width": width, "height": height, "max_side": limit},
        )


def _image_warnings(source: Source, output_format: OutputFormat) -> list[str]:
    found = []
    if source.image.mode == "CMYK":
        found.append(warning("cmyk_converted", "convert it yourself if the separation matters."))
    if source.bits > BYTE:
        found.append(warning("depth_reduced", "keep the original if the depth matters."))
    if source.has_alpha and output_format == "jpeg":
        found.append(warning("alpha_flattened", "choose png or webp to keep it."))
    return found
