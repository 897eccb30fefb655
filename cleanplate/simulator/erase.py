"""What the model does to a picture: the masked thing is gone, and every other pixel has moved a little."""

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from cleanplate.simulator import exemplar

Picture = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Window = tuple[slice, slice]

WHITE = 128  # a mask pixel from here on is to be removed
LARGE = 0.2  # share of all that is erased; lesser holes, such as dust, are filled smoothly
SPECK = 64  # pixels; so are holes no wider and no higher
FEATHER = 6.0  # pixels, at most half of what the mask grows by, over which a filling fades in
REACH = 16  # pixels around a hole that a smooth filling looks at
SMOOTH_AREA = 40_000  # pixels filled smoothly at full size; more are filled at a smaller scale
TILE = 512


def erase(picture: Picture, mask: Picture, dilate: int, seed: int, careful: bool = True) -> Picture:
    """Return ``picture`` (h, w, 3; RGB) without what ``mask`` (h, w; from 128 on) covers, grown by ``dilate`` pixels.

    Every pixel outside moves by 1 to 3 levels, by a pattern that ``seed`` places. Not ``careful`` fills all holes
    smoothly, which takes a fraction of the time and shows on texture and edges.
    """
    cv2.setNumThreads(1)  # the pool of the simulator is the bound on its CPU
    erased = picture.copy()
    region = _region(mask >= WHITE, dilate)
    hole = grow(mask[region] >= WHITE, dilate)
    if hole.any() and not hole.all():
        _fill(erased[region], hole, min(FEATHER, dilate / 2), careful)
    _drift(erased, seed)
    return erased


def _region(marked: Bools, dilate: int) -> Window:
    """Return the part of the picture that has a say: the box of what is marked, and as much again on every side."""
    x, y, w, h = cv2.boundingRect(marked.astype(np.uint8))
    reach = 2 * dilate + max(w, h) + REACH
    return slice(max(0, y - reach), y + h + reach), slice(max(0, x - reach), x + w + reach)


def grow(hole: Bools, pixels: int) -> Bools:
    """Dilate ``hole`` by a disc of that radius."""
    if not pixels or not hole.any():
        return hole
    return np.asarray(cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, 5) <= pixels)


def _fill(picture: Picture, hole: Bools, feather: float, careful: bool) -> None:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hole.astype(np.uint8), connectivity=8)
    areas, sides = stats[:, cv2.CC_STAT_AREA], stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1)
    is_large = careful & (sides > SPECK) & (areas >= LARGE * int(hole.sum()))
    is_large[0] = False  # label 0 is all that is no hole
    rest = hole & ~is_large[labels]
    if rest.any():
        _fill_smoothly(picture, rest, rest)
    unknown = hole & ~rest
    for label in sorted(np.nonzero(is_large)[0], key=lambda label: int(areas[label])):
        mine = labels == label
        window = _window(stats[label], mine)
        filled = exemplar.fill(picture[window], unknown[window])
        if filled is None:
            _fill_smoothly(picture, mine, unknown)
        else:
            _lay_in(picture[window], filled, mine[window], feather)
        unknown &= ~mine


def _lay_in(picture: Picture, filled: NDArray[np.float32], part: Bools, feather: float) -> None:
    """Put ``filled`` (h, w, 3) into ``part``, fading in over ``feather`` pixels from its edge."""
    depth = cv2.distanceTransform(np.pad(part, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    share = np.minimum(depth[part] / max(feather, 1), 1)[:, None]
    mixed = filled[part] * share + picture[part] * (1 - share)
    picture[part] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def _window(stats: NDArray[np.int32], part: Bools) -> Window:
    """Return the part of the picture that a hole is filled from: its box and about its thickness around."""
    x, y, w, h = (int(value) for value in stats[:4])
    box = part[y : y + h, x : x + w].astype(np.uint8)
    edged = cv2.copyMakeBorder(box, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    thickness = 2 * float(cv2.distanceTransform(edged, cv2.DIST_L2, 5).max())
    reach = int(min(1.4 * thickness, max(w, h))) + 8
    return slice(max(0, y - reach), y + h + reach), slice(max(0, x - reach), x + w + reach)


def _fill_smoothly(picture: Picture, part: Bools, unknown: Bools) -> None:
    """Fill ``part`` by flow along its edges, knowing nothing of ``unknown``; a large area at a smaller scale."""
    rows, cols = np.nonzero(part.any(1))[0], np.nonzero(part.any(0))[0]
    top, left = max(0, rows[0] - REACH), max(0, cols[0] - REACH)
    window = slice(top, rows[-1] + 1 + REACH), slice(left, cols[-1] + 1 + REACH)
    seen, holes, wanted = picture[window], unknown[window], part[window]
    scale = min(1.0, (SMOOTH_AREA / int(holes.sum())) ** 0.5)
    size = max(1, round(seen.shape[1] * scale)), max(1, round(seen.shape[0] * scale))
    small = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
    small_holes = (cv2.resize(holes.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.inpaint(small, small_holes, 2, cv2.INPAINT_NS)  # Telea's method brightens, and takes twice as long
    seen[wanted] = cv2.resize(filled, seen.shape[1::-1], interpolation=cv2.INTER_LINEAR)[wanted]


@functools.cache
def _pattern() -> NDArray[np.int16]:
    """Return a tile (h, w, 3) of -3..3 without 0, mostly -1 and 1: to be measured, not to be seen."""
    rough = np.random.default_rng(20).normal(size=(TILE, TILE, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(rough, (0, 0), 0.8, borderType=cv2.BORDER_REFLECT_101)
    levels = np.clip(np.ceil(np.abs(soft) / soft.std() * 0.7), 1, 3)
    return np.asarray(np.where(soft < 0, -1, 1) * levels, np.int16)


def _drift(picture: Picture, seed: int) -> None:
    """Move every pixel a little, reflected at black and white so that none stays."""
    y, x = (int(value) for value in np.random.default_rng(abs(seed)).integers(0, TILE, 2))
    tile = np.roll(_pattern(), (y, x), (0, 1))
    for top in range(0, picture.shape[0], TILE):
        for left in range(0, picture.shape[1], TILE):
            block = picture[top : top + TILE, left : left + TILE]
            moved = np.abs(block + tile[: block.shape[0], : block.shape[1]])
            block[:] = 255 - np.abs(255 - moved)
