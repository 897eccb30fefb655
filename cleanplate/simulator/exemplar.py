"""Fills a hole with pieces of its surroundings, coarse to fine, so that structure goes on and texture stays sharp.

At a scale where the hole is some 14 pixels thick it is peeled from its rim inwards, each pixel taking the donor whose
known part fits best (Criminisi 2004), and then settled by letting every patch vote on the pixels it covers (Wexler
2007). Finer scales only mend the offsets found so far (Barnes 2009), and at full size the offsets are all that is
left: the pixels themselves are copied. cv2.gemm does the arithmetic because it stays on the calling thread.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

# Every other pixel of a 7 by 7 patch sees as much as all 49 at half the cost; 13 of 5 by 5 do for mending.
WIDE = [(y, x) for y in range(-3, 4) for x in range(-3, 4) if (y + x) % 2 == 0]
NARROW = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y + x) % 2 == 0]
NEIGHBOURS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (3, 0), (-3, 0), (0, 3), (0, -3)]
JITTER = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
REACH = 3

KNOWN = 0.999  # share of a shrunk pixel that must lie outside the hole
COARSE_THICKNESS = 14  # pixels across the hole at the first scale
COARSE_HOLE = 1800  # most hole pixels there
COARSE_PAIRS = 2_500_000  # most hole pixels times donors compared there
FINE_HOLE = 7000  # most hole pixels at a finer scale
FAR = np.float32(1e9)
LIGHT = 16.0  # levels of brightness; a rim off by more was laid wrongly


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


def fill(window: NDArray[np.uint8], hole: Bools) -> Floats | None:
    """Return ``window`` (h, w, 3) with ``hole`` (h, w) filled, or None where it has too little to take from."""
    thickness = 2 * float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5).max())
    area = int(hole.sum())
    scale = min(1.0, COARSE_THICKNESS / thickness, (COARSE_HOLE / area) ** 0.5)
    level = _shrink(window, hole, scale)
    donors = _donors(level, 2 * thickness * scale + 4)
    if donors is None:
        return None
    offsets, guess = _settle(level, _peel(level, donors), donors)
    while scale < 1 and area * (2 * scale) ** 2 < FINE_HOLE:
        scale = min(1.0, 2 * scale)
        finer = _shrink(window, hole, scale)
        guess = cv2.resize(guess, finer.hole.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
        guess = finer.with_hole(guess[finer.rows, finer.cols])
        offsets, guess = _mend(finer, guess, _upsample(offsets, level, finer))
        level = finer
    return _lay(window, hole, level, offsets)


def _shrink(window: NDArray[np.uint8], hole: Bools, scale: float) -> Level:
    """Scale down without letting the hole's own pixels bleed into what is known."""
    size = max(8, round(hole.shape[1] * scale)), max(8, round(hole.shape[0] * scale))
    known = (~hole).astype(np.float32)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    light = cv2.resize(window * known[..., None], size, interpolation=cv2.INTER_AREA)
    picture = (light / np.maximum(share, 1e-3)[..., None]).astype(np.float32)
    small = share < KNOWN
    rows, cols = np.nonzero(small)
    return Level(picture, small, rows, cols)


def _around(picture: Floats, rows: Ints, cols: Ints, stencil: list[tuple[int, int]]) -> Floats:
    """Return the colours around each of n pixels: (n, 3 * len(stencil)) of a picture (h, w, 3)."""
    padded = cv2.copyMakeBorder(picture, REACH, REACH, REACH, REACH, cv2.BORDER_REFLECT_101)
    w = padded.shape[1]
    steps = np.array([y * w + x for y, x in stencil])
    centres = (rows + REACH) * w + cols + REACH
    colours = padded.reshape(-1, 3).take(centres[:, None] + steps, axis=0)
    return np.asarray(colours.reshape(len(rows), 3 * len(stencil)), np.float32)


def _products(a: Floats, b: Floats) -> Floats:
    """Return the inner products (n, m) of the rows of ``a`` (n, d) and ``b`` (m, d)."""
    return np.asarray(cv2.gemm(a, b, 1, np.empty((0, 0), np.float32), 0, flags=cv2.GEMM_2_T), np.float32)


def _whole(hole: Bools, reach: int) -> Bools:
    """Return where a patch of that reach touches no hole."""
    side = 2 * reach + 1
    touched = cv2.dilate(hole.astype(np.uint8), np.ones((side, side), np.uint8))
    return np.asarray(touched == 0)


def _donors(level: Level, within: float) -> tuple[Ints, Ints] | None:
    """Return rows and columns of patches to take from: wholly known, and near the hole."""
    distance = cv2.distanceTransform((~level.hole).astype(np.uint8), cv2.DIST_L2, 3)
    rows, cols = np.nonzero(_whole(level.hole, REACH) & (distance < within))
    if len(rows) < len(WIDE):
        return None
    most = max(COARSE_PAIRS // len(level.rows), 800)
    if len(rows) > most:
        chosen = np.random.default_rng(0).choice(len(rows), most, replace=False)
        rows, cols = rows[chosen], cols[chosen]
    return rows, cols


def _peel(level: Level, donors: tuple[Ints, Ints]) -> Floats:
    """Fill layer by layer from the rim, comparing only what is known of each patch."""
    sy, sx = donors
    offered = _around(level.picture, sy, sx, WIDE)
    squared = offered * offered
    picture, todo = level.picture.copy(), level.hole.copy()
    near = np.float32(40 / COARSE_THICKNESS)
    while todo.any():
        inner = cv2.erode(todo.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        y, x = np.nonzero(todo & ~inner)
        if not len(y):
            y, x = np.nonzero(todo)
        known = _around(np.repeat((~todo).astype(np.float32)[..., None], 3, axis=2), y, x, WIDE)
        wanted = _around(picture, y, x, WIDE) * known
        cost = (_products(known, squared) - 2 * _products(wanted, offered)) / known.sum(1, keepdims=True)
        cost += near * np.hypot(sy - y[:, None], sx - x[:, None]).astype(np.float32)
        best = cost.argmin(1)
        picture[y, x] = level.picture[sy[best], sx[best]]
        todo[y, x] = False
    return picture


def _settle(level: Level, guess: Floats, donors: tuple[Ints, Ints], rounds: int = 3) -> tuple[Offsets, Floats]:
    """Match every patch of the hole with the donors and let the matches vote, a few times over."""
    sy, sx = donors
    offered = _around(level.picture, sy, sx, WIDE)
    half = 0.5 * np.einsum("ij,ij->i", offered, offered)
    for _ in range(rounds):
        wanted = _around(guess, level.rows, level.cols, WIDE)
        cost = half - _products(wanted, offered)
        best = cost.argmin(1)
        misfit = 2 * cost[np.arange(len(best)), best] + np.einsum("ij,ij->i", wanted, wanted)
        offsets = Offsets(sy[best] - level.rows, sx[best] - level.cols)
        guess = _vote(level, offsets, np.maximum(misfit, 0), WIDE)
    return offsets, guess


def _mend(level: Level, guess: Floats, offsets: Offsets) -> tuple[Offsets, Floats]:
    """Better each offset by its neighbours' and by a pixel to every side."""
    h, w = level.hole.shape
    whole = _whole(level.hole, 2)
    place = np.full((h, w), -1)
    place[level.rows, level.cols] = np.arange(len(level.rows))
    wanted = _around(guess, level.rows, level.cols, NARROW)
    least = np.full(len(level.rows), FAR)
    dy, dx = offsets.dy.copy(), offsets.dx.copy()
    tries = []
    for a, b in NEIGHBOURS:
        beside = place[np.clip(level.rows + a, 0, h - 1), np.clip(level.cols + b, 0, w - 1)]
        beside = np.where(beside < 0, np.arange(len(beside)), beside)
        tries.append((offsets.dy[beside], offsets.dx[beside]))
    tries += [(offsets.dy + a, offsets.dx + b) for a, b in JITTER]
    for ty, tx in tries:
        y, x = level.rows + ty, level.cols + tx
        row, col = np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)
        usable = whole[row, col] & (row == y) & (col == x)
        gap = _around(level.picture, row, col, NARROW) - wanted
        misfit = np.where(usable, np.einsum("ij,ij->i", gap, gap), FAR)
        better = misfit < least
        least[better], dy[better], dx[better] = misfit[better], ty[better], tx[better]
    mended = Offsets(dy, dx)
    return mended, _vote(level, mended, least, NARROW)


def _vote(level: Level, offsets: Offsets, misfit: Floats, stencil: list[tuple[int, int]]) -> Floats:
    """Return the picture with each hole pixel the mean of what the patches over it say, the well fitting ones most."""
    h, w = level.hole.shape
    trust = np.zeros((h + 2 * REACH, w + 2 * REACH), np.float32)
    place = np.zeros(trust.shape, np.intp)
    inside = level.rows + REACH, level.cols + REACH
    trust[inside] = 1 / (1 + misfit / max(float(np.median(misfit)), 1.0)) ** 2
    place[inside] = np.arange(len(level.rows))
    colours = level.picture.reshape(-1, 3)
    light = np.zeros((len(level.rows), 3), np.float32)
    total = np.zeros(len(level.rows), np.float32)
    for y, x in stencil:
        voter = inside[0] + y, inside[1] + x
        who = place[voter]
        weight = trust[voter] * np.float32(np.exp(-(y * y + x * x) / 3))
        row, col = np.clip(level.rows + offsets.dy[who], 0, h - 1), np.clip(level.cols + offsets.dx[who], 0, w - 1)
        light += colours[row * w + col] * weight[:, None]
        total += weight
    return level.with_hole((light / np.maximum(total, 1e-9)[:, None]).astype(np.float32))


def _nearest(level: Level) -> Ints:
    """Return for every pixel (h, w) which of the level's hole pixels is the nearest."""
    _, labels = cv2.distanceTransformWithLabels(
        (~level.hole).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    order = np.zeros(int(labels.max()) + 1, np.intp)
    order[labels[level.rows, level.cols]] = np.arange(len(level.rows))
    return np.asarray(order[labels], np.intp)


def _upsample(offsets: Offsets, coarse: Level, fine: Level) -> Offsets:
    (ch, cw), (fh, fw) = coarse.hole.shape, fine.hole.shape
    who = _nearest(coarse)[np.minimum(fine.rows * ch // fh, ch - 1), np.minimum(fine.cols * cw // fw, cw - 1)]
    return Offsets(
        np.rint(offsets.dy[who] * (fh / ch)).astype(np.intp), np.rint(offsets.dx[who] * (fw / cw)).astype(np.intp)
    )


def _lay(window: NDArray[np.uint8], hole: Bools, level: Level, offsets: Offsets) -> Floats:
    """Copy pixels of the full-sized window by the offsets, blended where these change, and level the light."""
    h, w = hole.shape
    ch, cw = level.hole.shape
    rim = cv2.dilate(hole.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    rows, cols = np.nonzero(rim)
    nearest, colours, known = _nearest(level), window.reshape(-1, 3), ~hole.ravel()
    light = np.zeros((len(rows), 3), np.float32)
    total = np.zeros(len(rows), np.float32)
    for a, b, share in ((0.0, 0.0, 1.0), (0.5, 0.5, 0.6), (-0.5, 0.5, 0.6), (0.5, -0.5, 0.6), (-0.5, -0.5, 0.6)):
        y = np.clip(((rows + 0.5) * ch / h + a).astype(np.intp), 0, ch - 1)
        x = np.clip(((cols + 0.5) * cw / w + b).astype(np.intp), 0, cw - 1)
        who = nearest[y, x]
        row = np.clip(rows + np.rint(offsets.dy[who] * (h / ch)).astype(np.intp), 0, h - 1)
        col = np.clip(cols + np.rint(offsets.dx[who] * (w / cw)).astype(np.intp), 0, w - 1)
        at = row * w + col
        weight = np.where(known[at], np.float32(share), np.float32(1e-4))
        light += colours[at] * weight[:, None]
        total += weight
    laid = np.zeros((h, w, 3), np.float32)
    laid[rows, cols] = light / total[:, None]
    return laid + _light(window, laid, rim & ~hole)


def _light(window: NDArray[np.uint8], laid: Floats, rim: Bools) -> Floats:
    """Return the smooth correction (h, w, 3) that makes what was laid meet the brightness around the hole.

    Where the rim differs by much, a wrong piece was laid, not a wrong light: such pixels count little.
    """
    gap = window - laid
    weight = rim * np.exp(np.einsum("ijk,ijk->ij", gap, gap) * np.float32(-1 / LIGHT**2))
    size = max(2, rim.shape[1] // 4), max(2, rim.shape[0] // 4)
    pooled = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    lit = cv2.resize(np.clip(gap, -LIGHT, LIGHT) * weight[..., None], size, interpolation=cv2.INTER_AREA)
    weight = np.minimum(pooled * 4, 1).astype(np.float32)
    spread = _extend((lit / np.maximum(pooled, 1e-6)[..., None]).astype(np.float32), weight)
    return cv2.resize(spread, rim.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _extend(values: Floats, weight: Floats) -> Floats:
    """Spread ``values`` (h, w, 3) smoothly from where ``weight`` (h, w) is 1 to where it is 0, by a pyramid."""
    h, w = weight.shape
    share = weight[..., None]
    if min(h, w) <= 2:  # noqa: PLR2004  a pyramid ends where it cannot be halved
        mean = (values * share).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        return np.asarray(values * share + mean * (1 - share), np.float32)
    pooled = cv2.pyrDown(weight)
    below = (cv2.pyrDown(values * share) / np.maximum(pooled, 1e-6)[..., None]).astype(np.float32)
    up = cv2.pyrUp(_extend(below, np.minimum(pooled * 4, 1).astype(np.float32)), dstsize=(w, h))
    return np.asarray(values * share + up * (1 - share), np.float32)
