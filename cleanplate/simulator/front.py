"""Fills a hole at one scale from its front inwards, patch by patch, along strong edges first (Criminisi 2004)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cleanplate.simulator.levels import REACH, WIDE, Bools, Donors, Floats, Ints, Level, around, products

SIDE = 2 * REACH + 1
NEAR = 8.0  # squared levels that a donor costs for each pixel it is away
CROSS = np.ones((3, 3), np.uint8)


def advance(level: Level, donors: Donors) -> Floats:
    """Return the level's picture with its hole filled."""
    picture, hole = level.picture.copy(), level.hole.copy()
    trust = (~hole).astype(np.float32)
    squared = donors.patches * donors.patches
    while hole.any():
        y, x, worth = _next(picture, hole, trust)
        known = around(np.repeat((~hole).astype(np.float32)[..., None], 3, axis=2), y, x, WIDE)
        wanted = around(picture, y, x, WIDE) * known
        misfit = products(squared, known) - 2 * products(donors.patches, wanted)
        misfit /= max(float(known.sum()), 1.0)
        best = int((misfit[:, 0] + NEAR * np.hypot(donors.rows - y, donors.cols - x)).argmin())
        _copy(level, picture, hole, trust, (int(y[0]), int(x[0])), (donors.rows[best], donors.cols[best]), worth)
    return picture


def _next(picture: Floats, hole: Bools, trust: Floats) -> tuple[Ints, Ints, float]:
    """Return the front pixel (1,), (1,) to fill around now, and the trust in what is known around it."""
    unknown = hole.astype(np.uint8)
    rows, cols = np.nonzero(hole & (cv2.erode(unknown, CROSS) == 0))
    if not len(rows):
        rows, cols = np.nonzero(hole)
    trusted = cv2.boxFilter(trust, -1, (SIDE, SIDE), borderType=cv2.BORDER_CONSTANT)[rows, cols]
    best = int((trusted * (1 + _edges(picture, unknown, rows, cols))).argmax())
    return rows[best : best + 1], cols[best : best + 1], float(trusted[best])


def _edges(picture: Floats, unknown: NDArray[np.uint8], rows: Ints, cols: Ints) -> Floats:
    """Return for each front pixel (n,) how strongly an edge, the strongest of its patch, runs into the hole: 0..1."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    known = 1 - cv2.dilate(unknown, CROSS)
    right, down = (cv2.Sobel(grey, cv2.CV_32F, *axis, scale=1 / 8) * known for axis in ((1, 0), (0, 1)))
    slopes = np.dstack([right, down, np.zeros_like(grey)]).astype(np.float32)
    seen = around(slopes, rows, cols, WIDE).reshape(len(rows), -1, 3)
    steepest = seen[np.arange(len(rows)), np.einsum("ijk,ijk->ij", seen, seen).argmax(1)]
    out_x, out_y = (cv2.Sobel(unknown, cv2.CV_32F, *axis)[rows, cols] for axis in ((1, 0), (0, 1)))
    across = np.abs(steepest[:, 0] * out_y - steepest[:, 1] * out_x)
    return np.asarray(across / (np.maximum(np.hypot(out_x, out_y), 1e-6) * 255), np.float32)


def _copy(
    level: Level,
    picture: Floats,
    hole: Bools,
    trust: Floats,
    to: tuple[int, int],
    source: tuple[int, int],
    worth: float,
) -> None:
    """Copy what is unknown of the patch at ``to`` from the one at ``source``."""
    h, w = hole.shape
    top, left = max(0, to[0] - REACH), max(0, to[1] - REACH)
    rows, cols = np.nonzero(hole[top : to[0] + REACH + 1, left : to[1] + REACH + 1])
    rows, cols = rows + top, cols + left
    from_rows = np.clip(rows + source[0] - to[0], 0, h - 1)
    from_cols = np.clip(cols + source[1] - to[1], 0, w - 1)
    picture[rows, cols] = level.picture[from_rows, from_cols]
    trust[rows, cols] = worth
    hole[rows, cols] = False
