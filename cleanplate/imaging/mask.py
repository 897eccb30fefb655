"""A mask as it comes, read as what it says: which pixels of the image, upright, are to be erased."""

from dataclasses import dataclass

from PIL import Image

from cleanplate.imaging import orientation
from cleanplate.imaging.faults import ImageFault, warning
from cleanplate.imaging.source import Source, open_picture

THRESHOLD = 128  # values from here on are white: to be erased
_GREY = slice(16, 240)  # values that no rounding of black or white explains, not even a JPEG's
_GREY_SHARE = 0.02
_INVERTED_SHARE = 0.5


@dataclass(frozen=True)
class Mask:
    """``image`` is L, of the image's size upright, 255 where it is to be erased and 0 elsewhere.

    ``plain`` is the file without metadata, if it is a PNG that says just this.
    """

    image: Image.Image
    plain: bytes | None
    coverage: float
    format: str
    warnings: tuple[str, ...]


def read(data: bytes, picture: Source, *, invert: bool = False, max_pixels: int | None = None) -> Mask:
    """Read the mask of ``picture``. White, or opaque where only transparency says something, is to be erased.

    It is laid on the image as displayed: turned by its own EXIF orientation if that makes it fit; else as stored if
    that fits; else, fitting only the image as stored, turned as the image is. Where the size cannot tell (squares,
    half turns, mirrors) it is taken as displayed, with a warning.

    Raises ``ImageFault``: what ``open_picture`` and ``Source.decode`` raise, ``mask_size_mismatch``,
    ``mask_ambiguous``, ``mask_empty`` and ``mask_full``.
    """
    source = open_picture(data, "mask", max_pixels=max_pixels)
    turn, warnings = _turn(source, picture)
    values, from_alpha = _values(source)
    if from_alpha:
        warnings.append(warning("mask_from_alpha", "pass mask_invert if transparent was meant."))
    levels = values.histogram()
    total = sum(levels)
    if sum(levels[_GREY]) > _GREY_SHARE * total:
        share = sum(levels[_GREY]) / total
        warnings.append(warning("mask_grey", f"{share:.1%} of it is; export it in pure black and white."))
    white = sum(levels[THRESHOLD:])
    coverage = (total - white if invert else white) / total
    _refuse_trivial(coverage)
    if coverage > _INVERTED_SHARE:
        advice = f"{coverage:.1%} is; pass mask_invert={str(not invert).lower()} if the rest was meant."
        warnings.append(warning("mask_probably_inverted", advice))
    strict = not invert and levels[0] + levels[255] == total
    if not strict:
        values = values.point([255 if (value >= THRESHOLD) != invert else 0 for value in range(256)])
    says_just_this = strict and turn == 1 and (source.format, source.image.mode) == ("png", "L")
    return Mask(
        image=orientation.turn(values, turn),
        plain=source.plain if says_just_this else None,
        coverage=coverage,
        format=source.format,
        warnings=tuple(warnings),
    )


def _turn(mask: Source, picture: Source) -> tuple[int, list[str]]:
    stored = mask.image.size
    if mask.size == picture.size:
        tells = mask.orientation != 1 or picture.orientation == 1 or picture.image.size != picture.size
        advice = "turn it yourself if it was drawn on the image as stored."
        return mask.orientation, [] if tells else [warning("mask_orientation_assumed", advice)]
    if stored == picture.size:
        return 1, []
    if stored == picture.image.size:
        return picture.orientation, []
    (width, height), (mask_width, mask_height) = picture.size, mask.size
    raise ImageFault(
        "mask_size_mismatch",
        f"The image has {width} x {height} pixels and the mask {mask_width} x {mask_height}; "
        "export the mask in the image's size, it is never resized in silence.",
        {"image": {"width": width, "height": height}, "mask": {"width": mask_width, "height": mask_height}},
    )


def _values(source: Source) -> tuple[Image.Image, bool]:
    """Return the mask's values as stored, L, and whether they are its alpha.

    Alpha that is the same everywhere says nothing. Where it varies it is the mask, if all colours that can be seen
    are on one side of the threshold: strokes of one colour on a transparent ground.
    """
    colours, alpha = source.channels()
    values = colours.convert("L")
    if alpha is None or len(set(alpha.getextrema())) == 1:
        return values, False
    seen = values.histogram(alpha)
    if any(seen[:THRESHOLD]) and any(seen[THRESHOLD:]):
        raise ImageFault(
            "mask_ambiguous",
            "The mask's colours say one thing and its transparency another; export it in black and white, opaque.",
        )
    return alpha, True


def _refuse_trivial(coverage: float) -> None:
    if coverage == 0:
        raise ImageFault("mask_empty", "No pixel is marked; paint what is to be erased white, or pass mask_invert.")
    if coverage == 1:
        raise ImageFault("mask_full", "Every pixel is marked; paint what is to be kept black.")
