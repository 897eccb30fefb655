"""Measures by itself what the server says of its results: how far they differ from the originals outside the masks."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps


def largest_difference(original: Path, mask: Path, result: Path, dilate_pixels: int) -> int | None:
    """Return the largest difference (0-255) of any channel further than ``dilate_pixels`` from the mask's white.

    None where there is nothing to compare pixel by pixel: the result has other channels than the original, or another
    size than the mask.
    """
    before, after = _upright(original), _upright(result)
    white = np.asarray(_upright(mask).convert("L")) >= 128  # noqa: PLR2004  half of the range of a byte
    if before.mode != after.mode or before.mode not in {"L", "RGB"} or white.shape[::-1] != after.size:
        return None
    distance = cv2.distanceTransform(np.where(white, 0, 255).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = distance > dilate_pixels + 0.001  # distances are roots of whole numbers, rounded
    delta = cv2.absdiff(np.asarray(before), np.asarray(after))
    return int(delta[outside].max(initial=0))


def _upright(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image)
