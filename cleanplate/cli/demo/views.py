"""The pictures of one photograph as the contact sheet shows them: small, upright, sRGB."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cleanplate.imaging import colour
from cleanplate.imaging import mask as masks
from cleanplate.imaging.faults import ImageFault
from cleanplate.imaging.source import Source, open_picture

Size = tuple[int, int]  # width, height
Pixels = NDArray[np.uint8]

LONGEST = 1000  # pixels
_UNREADABLE = (4, 3)  # the shape of what stands for a picture that cannot be read


@dataclass(frozen=True)
class View:
    """RGB images of at most 1000 pixels and all of one size; None where there is none, or none that can be read.

    ``mask`` is height x width, 255 where it is to be erased; ``coverage`` its share of the picture.
    """

    before: Image.Image | None
    mask: Pixels | None
    coverage: float
    after: Image.Image | None

    @classmethod
    def of(cls, before: Path, mask: Path, after: Path | None) -> "View":
        try:
            source = open_picture(before.read_bytes())
            picture = _small(source)
        except (ImageFault, OSError):
            return cls(None, None, 0, None)
        try:
            marked = masks.read(mask.read_bytes(), source)
            # By area, and then anything that is not black: a hair of a mask must not get lost on the way down.
            area = marked.image.resize(picture.size, Image.Resampling.BOX)
            white, coverage = np.where(np.asarray(area) > 0, 255, 0).astype(np.uint8), marked.coverage
        except (ImageFault, OSError):
            white, coverage = None, 0.0
        return cls(picture, white, coverage, _result(after, picture.size))

    def outlines(self) -> list[NDArray[np.int32]]:
        """Return the closed polygons (n, 2) of x and y round what is to be erased."""
        if self.mask is None:
            return []
        contours, _ = cv2.findContours(self.mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_TC89_L1)
        return [np.asarray(contour, np.int32).reshape(-1, 2) for contour in contours]


def size(path: Path) -> Size:
    """Return the size upright of the picture at ``path``, or that of a placeholder."""
    try:
        return open_picture(path.read_bytes()).size
    except (ImageFault, OSError):
        return _UNREADABLE


def _result(path: Path | None, size: Size) -> Image.Image | None:
    try:
        return _small(open_picture(path.read_bytes())).resize(size) if path else None
    except (ImageFault, OSError):
        return None


def _small(source: Source) -> Image.Image:
    picture = source.picture().flattened()
    width, height = picture.colours.size
    scale = min(1, LONGEST / max(width, height))
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = picture.colours.resize(target, Image.Resampling.HAMMING, reducing_gap=3.0)
    return colour.to_srgb(small, picture.profile).convert("RGB")
