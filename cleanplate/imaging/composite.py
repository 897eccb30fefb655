"""What is stored: the erased area, taken from the upstream's picture, laid over the original.

The upstream redraws the whole picture, so every pixel outside the mask has moved a little. Of its result only the area
of the mask, dilated and feathered inward, is used; all else is the original's, to the bit where the format is lossless.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cleanplate.imaging import colour
from cleanplate.imaging import mask as masks
from cleanplate.imaging.encode import encode
from cleanplate.imaging.facts import Facts
from cleanplate.imaging.faults import ImageFault, ResultFault
from cleanplate.imaging.formats import LOSSLESS, MEDIA_TYPES, OutputFormat
from cleanplate.imaging.orientation import Size
from cleanplate.imaging.pixels import Picture, Pixels
from cleanplate.imaging.source import Source, open_picture

Fidelity = Literal["exact", "raw"]

_EXACT = 1e-3  # distances are square roots of whole numbers: the next one beyond r <= 100 is at least 0.005 away

_WHITE = np.float32(255)

cv2.setNumThreads(1)  # its thread pool does not survive a fork, and Celery forks; jobs are what runs in parallel


@dataclass(frozen=True, kw_only=True)
class Finished(Facts):
    """The file to be stored, ``data``, and its facts.

    ``outside_mask_max_delta`` is the largest difference, in levels of 255, between any channel of the upright
    original and of the stored picture outside the dilated mask. For JPEG it is measured on the encoded file; PNG and
    WebP are lossless, so there it is measured before encoding. A transparent original that becomes a JPEG counts as it
    looks on white, a CMYK one as sRGB. Of ``raw`` results, which are sRGB, it is measured in sRGB.
    """

    data: bytes
    outside_mask_max_delta: int

    @property
    def media_type(self) -> str:
        """The MIME type."""
        return MEDIA_TYPES[self.format]


@dataclass(frozen=True)
class Area:
    """The dilated mask's part of a picture: ``box`` and ``corners`` (left, top, right, bottom) cut it out.

    ``weight`` (float32, 0 to 1) is the result's share: 1 inside the mask, above 0 in the dilated mask, beyond it 0.
    """

    box: tuple[slice, slice]
    weight: NDArray[np.float32]

    @property
    def corners(self) -> tuple[int, int, int, int]:
        (top, left), (height, width) = (side.start for side in self.box), self.weight.shape
        return left, top, left + width, top + height


def finish(
    original: bytes,
    mask: bytes,
    result: bytes,
    *,
    dilate_pixels: int,
    output_format: OutputFormat = "png",
    fidelity: Fidelity = "exact",
    mask_invert: bool = False,
) -> Finished:
    """Return what is stored for a job; ``original`` and ``mask`` are as they were uploaded, ``result`` as downloaded.

    ``exact``: the erased area in the original, which keeps its profile and transparency. ``raw``: the upstream's
    picture as it came, encoded again only where another format is asked for. Bits a channel: 8. No metadata but the
    profile.

    Raises ``ResultFault`` (``result_corrupt``, ``result_wrong_size``) for what the upstream sent, and ``ImageFault``
    where the stored pair is no longer what ``check`` passed.
    """
    source = open_picture(original)
    area = erased_area(np.asarray(masks.read(mask, source, invert=mask_invert).image), dilate_pixels)
    upstream_source, upstream = _open_result(result, source.size)
    picture = source.picture()
    if fidelity == "raw":
        data, reference, stored = _raw(picture, upstream, result, upstream_source.format, output_format)
    else:
        data, reference, stored = _exact(_suited(picture, output_format), upstream, area, output_format)
    width, height = source.size
    return Finished(
        width=width,
        height=height,
        format=output_format,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        data=data,
        outside_mask_max_delta=_outside_delta(reference, stored, area),
    )


def erased_area(mask: Pixels, radius: int) -> Area:
    """Dilate a mask (H x W, 255 where erased, not empty) by a disc of ``radius`` pixels and feather its outer half.

    One distance transform gives both at a cost that does not grow with the radius.
    """
    left, top, width, height = cv2.boundingRect(mask)
    box = (
        slice(max(top - radius, 0), top + height + radius),
        slice(max(left - radius, 0), left + width + radius),
    )
    distance = cv2.distanceTransform(cv2.bitwise_not(mask[box]), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    feather = (radius + 1) // 2 + 1
    weight = np.clip((radius + 1 - distance) / feather, 0, 1).astype(np.float32)
    weight[distance > radius + _EXACT] = 0
    return Area(box, weight)


def _open_result(result: bytes, size: Size) -> tuple[Source, Picture]:
    try:
        source = open_picture(result)
        if source.size == size:
            return source, source.picture()
    except ImageFault as fault:
        raise ResultFault("result_corrupt", "Fetch it again; what came is no whole picture.") from fault
    (width, height), (got_width, got_height) = size, source.size
    raise ResultFault(
        "result_wrong_size",
        f"The original has {width} x {height} pixels and the upstream's picture {got_width} x {got_height}.",
        {"image": {"width": width, "height": height}, "result": {"width": got_width, "height": got_height}},
    )


def _suited(picture: Picture, output_format: OutputFormat) -> Picture:
    """Return the picture as the format can hold it: JPEG has no transparency, WebP no grey and so no grey profile."""
    if output_format == "jpeg":
        return picture.flattened()
    if output_format == "webp" and picture.colours.mode == "L":
        return Picture(colour.to_srgb(picture.colours, picture.profile).convert("RGB"), picture.alpha, None)
    return picture


def _exact(
    picture: Picture, upstream: Picture, area: Area, output_format: OutputFormat
) -> tuple[bytes, Pixels, Pixels]:
    """Return the file, and what to measure it by: the original and what was stored."""
    original = np.asarray(picture.colours)
    patch = colour.to_srgb(upstream.colours.crop(area.corners), upstream.profile)
    erased = np.asarray(colour.from_srgb(patch, picture.profile, picture.colours.mode))
    if picture.alpha:
        erased = _unflattened(erased, np.asarray(picture.alpha.crop(area.corners)))
    pixels = original.copy()
    pixels[area.box] = cv2.blendLinear(original[area.box], erased, 1 - area.weight, area.weight)
    data = encode(pixels, picture.alpha, picture.profile, output_format)
    return data, original, pixels if output_format in LOSSLESS else _decoded(data)


def _unflattened(seen: Pixels, alpha: Pixels) -> Pixels:
    """Return the colours that with ``alpha`` (H x W) look as ``seen`` on white, for so the upstream saw the original.

    What is wholly transparent stays as it is.
    """
    share = np.where(alpha, alpha, _WHITE).astype(np.float32).reshape(*alpha.shape, *[1] * (seen.ndim - 2)) / _WHITE
    return np.rint(np.clip(_WHITE - (_WHITE - seen) / share, 0, _WHITE)).astype(np.uint8)


def _raw(
    picture: Picture, upstream: Picture, result: bytes, result_format: str, output_format: OutputFormat
) -> tuple[bytes, Pixels, Pixels]:
    flat = picture.flattened()
    reference = _as_srgb(flat.colours, flat.profile)
    if result_format == output_format:
        return result, reference, _as_srgb(upstream.colours, upstream.profile)
    shown = _suited(upstream, output_format)
    data = encode(np.asarray(shown.colours), shown.alpha, shown.profile, output_format)
    stored = shown.colours if output_format in LOSSLESS else Image.fromarray(_decoded(data))
    return data, reference, _as_srgb(stored, shown.profile)


def _as_srgb(image: Image.Image, profile: bytes | None) -> Pixels:
    return np.asarray(colour.to_srgb(image, profile).convert("RGB"))


def _decoded(data: bytes) -> Pixels:
    return np.asarray(open_picture(data).picture().colours)


def _outside_delta(reference: Pixels, stored: Pixels, area: Area) -> int:
    outside = np.ones(reference.shape[:2], np.uint8)
    outside[area.box] = area.weight == 0
    return int(cv2.norm(reference, stored, cv2.NORM_INF, outside))
