"""What the filling of holes works on: a window at one scale, the patches in it, and where each pixel takes from."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]
Stencil = list[tuple[int, int]]

REACH = 3
# Every other pixel of a 7 by 7 patch sees as much as all 49 at half the cost.
WIDE: Stencil = [(y, x) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1) if (y + x) % 2 == 0]
KNOWN = 0.999  # share of a shrunk pixel that must lie outside the hole


@dataclass(frozen=True)
class Level:
    """The window at one scale: ``picture`` (h, w, 3) with anything in the hole, ``hole`` (h, w)."""

    picture: Floats
    hole: Bools
    rows: Ints
    cols: Ints

    def with_hole(self, values: Floats) -> Floats:
        """Return the picture with ``values`` (n, 3) in the hole's pixels."""
        filled = self.picture.copy()
        filled[self.rows, self.cols] = values
        return filled


@dataclass(frozen=True)
class Offsets:
    """For each hole pixel of a level, in its order, how far away its donor is: (n,) rows and columns."""

    dy: Ints
    dx: Ints


@dataclass(frozen=True)
class Donors:
    """Pixels (n,) whose patch is wholly known, and the patches (n, 3 * len(WIDE))."""

    rows: Ints
    cols: Ints
    patches: Floats


def shrink(window: NDArray[np.uint8], hole: Bools, scale: float) -> Level:
    """Scale down without letting the hole's own pixels bleed into what is known."""
    size = max(8, round(hole.shape[1] * scale)), max(8, round(hole.shape[0] * scale))
    known = (~hole).astype(np.float32)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    light = cv2.resize(window * known[..., None], size, interpolation=cv2.INTER_AREA)
    picture = (light / np.maximum(share, 1e-3)[..., None]).astype(np.float32)
    small = share < KNOWN
    rows, cols = np.nonzero(small)
    return Level(picture, small, rows, cols)


def find_donors(level: Level, within: float, most: int) -> Donors | None:
    """Return patches to take from, at most so far from the hole and so many; None where there are next to none."""
    distance = cv2.distanceTransform((~level.hole).astype(np.uint8), cv2.DIST_L2, 3)
    rows, cols = np.nonzero(whole(level.hole, REACH) & (distance < within))
    if len(rows) < len(WIDE):
        return None
    if len(rows) > most:
        chosen = np.random.default_rng(0).choice(len(rows), most, replace=False)
        rows, cols = rows[chosen], cols[chosen]
    return Donors(rows, cols, around(level.picture, rows, cols, WIDE))


def around(picture: Floats, rows: Ints, cols: Ints, stencil: Stencil) -> Floats:
    """Return the colours around each of n pixels: (n, 3 * len(stencil)) of a picture (h, w, 3)."""
    padded = cv2.copyMakeBorder(picture, REACH, REACH, REACH, REACH, cv2.BORDER_REFLECT_101)
    w = padded.shape[1]
    steps = np.array([y * w + x for y, x in stencil])
    centres = (rows + REACH) * w + cols + REACH
    colours = padded.reshape(-1, 3).take(centres[:, None] + steps, axis=0)
    return np.asarray(colours.reshape(len(rows), 3 * len(stencil)), np.float32)


def products(a: Floats, b: Floats) -> Floats:
    """Return the inner products (n, m) of the rows of ``a`` (n, d) and ``b`` (m, d)."""
    return np.asarray(cv2.gemm(a, b, 1, np.empty((0, 0), np.float32), 0, flags=cv2.GEMM_2_T), np.float32)


def whole(hole: Bools, reach: int) -> Bools:
    """Return where a patch of that reach touches no hole."""
    side = 2 * reach + 1
    touched = cv2.dilate(hole.astype(np.uint8), np.ones((side, side), np.uint8))
    return np.asarray(touched == 0)


def nearest(level: Level) -> Ints:
    """Return for every pixel (h, w) which of the level's hole pixels is the nearest."""
    _, labels = cv2.distanceTransformWithLabels(
        (~level.hole).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    order = np.zeros(int(labels.max()) + 1, np.intp)
    order[labels[level.rows, level.cols]] = np.arange(len(level.rows))
    return np.asarray(order[labels], np.intp)
