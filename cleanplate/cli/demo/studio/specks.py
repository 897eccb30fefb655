"""What settled on the wares: dust and lint, drawn over the finished picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cleanplate.cli.demo.studio.shapes import Floats

_FINE = 4  # bits of a pixel's fraction in OpenCV's coordinates
_INSET = np.ones((25, 25), np.uint8)  # how far inside the product's edge


def dust(product: Floats, rng: np.random.Generator) -> Floats:
    """Return display RGBA (height, width, 4) to lay over a picture in which ``product`` is 1 where the ware is."""
    marks = np.zeros(product.shape, np.uint8)
    for start in _scattered(product, rng, 50):
        axes = _fine(rng.uniform(0.7, 3.2, 2))
        turn, light = float(rng.uniform(0, 180)), int(rng.integers(110, 255))
        cv2.ellipse(marks, _fine(start), axes, turn, 0, 360, light, cv2.FILLED, cv2.LINE_AA, _FINE)
    for start in _scattered(product, rng, 8):
        _fibre(marks, start, rng.uniform(16, 44), rng)
    return _overlay(marks, (0.93, 0.92, 0.9), 0.85)


def lint(product: Floats, rng: np.random.Generator) -> Floats:
    """Return what ``dust`` does."""
    marks = np.zeros(product.shape, np.uint8)
    for start in _scattered(product, rng, 7):
        _fibre(marks, start, rng.uniform(60, 190), rng)
    for start in _scattered(product, rng, 16):
        _fibre(marks, start, rng.uniform(8, 26), rng)
    return _overlay(marks, (0.2, 0.22, 0.3), 0.85)


def _scattered(product: Floats, rng: np.random.Generator, count: int) -> Floats:
    rows, columns = np.nonzero(cv2.erode(product, _INSET) == 1)
    chosen = rng.choice(len(rows), count, replace=False)
    return np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32)


def _fine(pair: Floats) -> tuple[int, int]:
    return int(pair[0] * 2**_FINE), int(pair[1] * 2**_FINE)


def _fibre(marks: NDArray[np.uint8], start: Floats, size: float, rng: np.random.Generator) -> None:
    turns = np.cumsum(rng.normal(0, 0.16, 40)) + rng.uniform(0, 2 * np.pi)
    steps = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0) * (size / 40)
    points = ((start + steps) * 2**_FINE).astype(np.int32)
    cv2.polylines(marks, [points], isClosed=False, color=255, thickness=1, lineType=cv2.LINE_AA, shift=_FINE)


def _overlay(marks: NDArray[np.uint8], tint: tuple[float, float, float], strength: float) -> Floats:
    """Return the marks in a colour, with a faint shadow below and right of them."""
    mark = cv2.GaussianBlur(marks, (0, 0), 0.6).astype(np.float32) / 255 * strength
    shade = cv2.GaussianBlur(np.roll(marks, (3, 2), (0, 1)), (0, 0), 1.6).astype(np.float32) / 255 * 0.4
    opacity = mark + (1 - mark) * shade
    return np.dstack([np.asarray(tint, np.float32) * (mark / np.maximum(opacity, 1e-4))[..., None], opacity])
