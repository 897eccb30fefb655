"""Makes what was laid into a hole as bright as what is around it."""

import cv2
import numpy as np

from cleanplate.simulator.levels import Floats, Ints

COARSER = 4  # times that the correction is worked out smaller than the picture
LIGHT = 16.0  # levels of brightness; a rim off by more was laid wrongly


def level_light(gap: Floats, rows: Ints, cols: Ints, shape: tuple[int, int]) -> Floats:
    """Return the smooth correction (h, w, 3) of what was laid, from its ``gap`` (n, 3) to the pixels on the rim.

    Where the rim differs by much, a wrong piece was laid, not a wrong light: such pixels count little.
    """
    weight = np.exp(np.einsum("ij,ij->i", gap, gap) * np.float32(-1 / LIGHT**2))
    h, w = (-(-side // COARSER) for side in shape)
    place = rows // COARSER * w + cols // COARSER
    total = np.bincount(place, weight, h * w)
    sums = [np.bincount(place, weight * np.clip(gap[:, c], -LIGHT, LIGHT), h * w) for c in range(3)]
    values = (np.stack(sums, axis=1) / np.maximum(total, 1e-6)[:, None]).reshape(h, w, 3)
    spread = extend(values.astype(np.float32), np.minimum(total / COARSER, 1).reshape(h, w).astype(np.float32))
    return np.asarray(cv2.resize(spread, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def extend(values: Floats, weight: Floats) -> Floats:
    """Spread ``values`` (h, w, 3) smoothly from where ``weight`` (h, w) is 1 to where it is 0, by a pyramid."""
    h, w = weight.shape
    share = weight[..., None]
    if min(h, w) <= 2:  # noqa: PLR2004  a pyramid ends where it cannot be halved
        mean = (values * share).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        return np.asarray(values * share + mean * (1 - share), np.float32)
    pooled = cv2.pyrDown(weight)
    below = (cv2.pyrDown(values * share) / np.maximum(pooled, 1e-6)[..., None]).astype(np.float32)
    up = cv2.pyrUp(extend(below, np.minimum(pooled * 4, 1).astype(np.float32)), dstsize=(w, h))
    return np.asarray(values * share + up * (1 - share), np.float32)
