"""Fills a hole with pieces of its surroundings, coarse to fine, so that structure goes on and texture stays sharp.

At a scale where the hole is some 26 pixels thick it is filled from its front inwards, patch by patch (``front.py``),
and then settled by letting every patch vote on the pixels it covers (Wexler 2007). Finer scales only mend the offsets
found so far (Barnes 2009), and at full size the offsets are all that is left: the pixels themselves are copied.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from cleanplate.simulator.front import advance
from cleanplate.simulator.levels import (
    REACH,
    WIDE,
    Bools,
    Donors,
    Floats,
    Level,
    Offsets,
    Stencil,
    around,
    find_donors,
    nearest,
    products,
    shrink,
    whole,
)
from cleanplate.simulator.light import level_light

NARROW: Stencil = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y + x) % 2 == 0]
NEIGHBOURS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (3, 0), (-3, 0), (0, 3), (0, -3)]
JITTER = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]

COARSE_THICKNESS = 26  # pixels across the hole at the first scale
COARSE_HOLE = 2200  # most hole pixels there
DONORS = 1500  # most patches there to take from
FINE_HOLE = 7000  # most hole pixels at a finer scale
FAR = np.float32(1e9)


def fill(window: NDArray[np.uint8], hole: Bools) -> Floats | None:
    """Return ``window`` (h, w, 3) with ``hole`` (h, w) filled, or None where it has too little to take from."""
    thickness = 2 * float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5).max())
    area = int(hole.sum())
    scale = min(1.0, COARSE_THICKNESS / thickness, (COARSE_HOLE / area) ** 0.5)
    level = shrink(window, hole, scale)
    donors = find_donors(level, 2 * thickness * scale + 6, DONORS)
    if donors is None:
        return None
    offsets, guess = _settle(level, advance(level, donors), donors)
    while scale < 1 and area * (2 * scale) ** 2 < FINE_HOLE:
        scale = min(1.0, 2 * scale)
        finer = shrink(window, hole, scale)
        guess = cv2.resize(guess, finer.hole.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
        guess = finer.with_hole(guess[finer.rows, finer.cols])
        offsets, guess = _mend(finer, guess, _upsample(offsets, level, finer))
        level = finer
    return _lay(window, hole, level, offsets)


def _settle(level: Level, guess: Floats, donors: Donors, rounds: int = 2) -> tuple[Offsets, Floats]:
    """Match every patch of the hole with the donors and let the matches vote, a few times over."""
    half = 0.5 * np.einsum("ij,ij->i", donors.patches, donors.patches)
    for _ in range(rounds):
        wanted = around(guess, level.rows, level.cols, WIDE)
        cost = half - products(wanted, donors.patches)
        best = cost.argmin(1)
        misfit = 2 * cost[np.arange(len(best)), best] + np.einsum("ij,ij->i", wanted, wanted)
        offsets = Offsets(donors.rows[best] - level.rows, donors.cols[best] - level.cols)
        guess = _vote(level, offsets, np.maximum(misfit, 0), WIDE)
    return offsets, guess


def _mend(level: Level, guess: Floats, offsets: Offsets) -> tuple[Offsets, Floats]:
    """Better each offset by its neighbours' and by a pixel to every side."""
    h, w = level.hole.shape
    clean = whole(level.hole, 2)
    place = np.full((h, w), -1)
    place[level.rows, level.cols] = np.arange(len(level.rows))
    wanted = around(guess, level.rows, level.cols, NARROW)
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
        usable = clean[row, col] & (row == y) & (col == x)
        gap = around(level.picture, row, col, NARROW) - wanted
        misfit = np.where(usable, np.einsum("ij,ij->i", gap, gap), FAR)
        better = misfit < least
        least[better], dy[better], dx[better] = misfit[better], ty[better], tx[better]
    mended = Offsets(dy, dx)
    return mended, _vote(level, mended, least, NARROW)


def _vote(level: Level, offsets: Offsets, misfit: Floats, stencil: Stencil) -> Floats:
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


def _upsample(offsets: Offsets, coarse: Level, fine: Level) -> Offsets:
    (ch, cw), (fh, fw) = coarse.hole.shape, fine.hole.shape
    who = nearest(coarse)[np.minimum(fine.rows * ch // fh, ch - 1), np.minimum(fine.cols * cw // fw, cw - 1)]
    return Offsets(
        np.rint(offsets.dy[who] * (fh / ch)).astype(np.intp), np.rint(offsets.dx[who] * (fw / cw)).astype(np.intp)
    )


def _lay(window: NDArray[np.uint8], hole: Bools, level: Level, offsets: Offsets) -> Floats:
    """Copy pixels of the full-sized window by the offsets, blended where these change, and level the light."""
    h, w = hole.shape
    ch, cw = level.hole.shape
    rim = cv2.dilate(hole.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    rows, cols = np.nonzero(rim)
    owner, colours, known = nearest(level), window.reshape(-1, 3), ~hole.ravel()
    light = np.zeros((len(rows), 3), np.float32)
    total = np.zeros(len(rows), np.float32)
    for a, b, share in ((0.0, 0.0, 1.0), (0.5, 0.5, 0.6), (-0.5, 0.5, 0.6), (0.5, -0.5, 0.6), (-0.5, -0.5, 0.6)):
        y = np.clip(((rows + 0.5) * ch / h + a).astype(np.intp), 0, ch - 1)
        x = np.clip(((cols + 0.5) * cw / w + b).astype(np.intp), 0, cw - 1)
        who = owner[y, x]
        row = np.clip(rows + np.rint(offsets.dy[who] * (h / ch)).astype(np.intp), 0, h - 1)
        col = np.clip(cols + np.rint(offsets.dx[who] * (w / cw)).astype(np.intp), 0, w - 1)
        at = row * w + col
        weight = np.where(known[at], np.float32(share), np.float32(1e-4))
        light += colours[at] * weight[:, None]
        total += weight
    laid = np.zeros((h, w, 3), np.float32)
    laid[rows, cols] = light / total[:, None]
    edge = ~hole[rows, cols]
    gap = window[rows[edge], cols[edge]] - laid[rows[edge], cols[edge]]
    return laid + level_light(gap, rows[edge], cols[edge], (h, w))
