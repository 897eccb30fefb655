"""Every code that this package can say: faults of a pair, faults of a result, and warnings.

Codes are stable: clients branch on them, and the documentation lists these tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNPROCESSABLE = 422
TOO_LARGE = 413
UNSUPPORTED = 415


@dataclass(frozen=True)
class Kind:
    """What is the same about every fault of one code: the HTTP status it is answered with and its title."""

    status: int
    title: str


IMAGE_FAULTS: Mapping[str, Kind] = {
    "empty_file": Kind(UNPROCESSABLE, "A file has no bytes"),
    "unsupported_media_type": Kind(UNSUPPORTED, "A file is none of the formats taken"),
    "image_corrupt": Kind(UNPROCESSABLE, "The image does not decode to its end"),
    "mask_corrupt": Kind(UNPROCESSABLE, "The mask does not decode to its end"),
    "animated_unsupported": Kind(UNPROCESSABLE, "A file is an animation"),
    "image_too_large": Kind(TOO_LARGE, "A picture has more pixels than are taken"),
    "metadata_too_large": Kind(TOO_LARGE, "A picture's metadata unpacks to more than is taken"),
    "mask_size_mismatch": Kind(UNPROCESSABLE, "Image and mask differ in size"),
    "mask_empty": Kind(UNPROCESSABLE, "The mask marks nothing to erase"),
    "mask_full": Kind(UNPROCESSABLE, "The mask leaves nothing to keep"),
    "mask_ambiguous": Kind(UNPROCESSABLE, "The mask's colours and its transparency disagree"),
}

RESULT_FAULTS: Mapping[str, str] = {
    "result_corrupt": "The upstream's picture does not decode to its end",
    "result_wrong_size": "The upstream's picture has not the original's size",
}

WARNINGS: Mapping[str, str] = {
    "cmyk_converted": "A CMYK image is worked on, and comes back, as sRGB",
    "depth_reduced": "An image of more than 8 bits a channel comes back with 8",
    "alpha_flattened": "JPEG has no transparency: the result lies on white",
    "mask_grey": "Much of the mask is neither black nor white; it was split in the middle",
    "mask_from_alpha": "The mask was read from its transparency: opaque is erased",
    "mask_probably_inverted": "More than half of the image is marked to be erased",
    "mask_orientation_assumed": "The mask was taken to be drawn on the image as displayed",
}


class PictureError(Exception):
    """A named reason why pictures cannot be worked on. ``detail`` says what to do next, ``extra`` names sizes."""

    def __init__(self, code: str, detail: str, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, detail, extra)  # all of them, so that a fault survives pickling between processes
        self.code = code
        self.detail = detail
        self.extra = dict(extra or {})

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class ImageFault(PictureError):  # noqa: N818 - the word that the design and the API use
    """What is wrong with the pair as it was uploaded. ``code`` is one of ``IMAGE_FAULTS``."""

    @property
    def status(self) -> int:
        """HTTP status: 422, or 415 for a type not taken, or 413 for size."""
        return IMAGE_FAULTS[self.code].status

    @property
    def title(self) -> str:
        """One sentence that is the same for every fault of this code."""
        return IMAGE_FAULTS[self.code].title


class ResultFault(PictureError):  # noqa: N818 - as above
    """What is wrong with what the upstream sent. ``code`` is one of ``RESULT_FAULTS``."""

    @property
    def title(self) -> str:
        """One sentence that is the same for every fault of this code."""
        return RESULT_FAULTS[self.code]


def warning(code: str, advice: str) -> str:
    """Return a warning as it stands on a job: ``code: what happened; what to do``."""
    return f"{code}: {WARNINGS[code]}; {advice}"
