"""The main job: a folder in, a folder out, and nothing changed that no mask covered."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.journeys.harness import finish, pairs, stack, stored

DILATE = 10


def test_every_photograph_is_stored_paid_once_and_exact_outside_its_mask(tmp_path: Path) -> None:
    photos, out = pairs(tmp_path / "photos", 20), tmp_path / "out"
    with stack(tmp_path / "data") as running:
        finish(running.erase(photos, out, "--dilate", str(DILATE)))
        assert running.paid() == 20
        assert running.stats()["key_seen_at_delivery"] == 0

        finish(running.erase(photos, out, "--dilate", str(DILATE)))
        assert running.paid() == 20, "a second run pays for nothing again"

    names = {path.stem for path in photos.iterdir() if not path.stem.endswith("_mask")}
    assert stored(out) == names
    assert [name for name in names if _changed_outside(photos, out, name)] == []
    assert [name for name in names if not _changed_inside(photos, out, name)] == []


def _pictures(photos: Path, out: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    original = next(path for path in photos.glob(f"{name}.*"))
    mask = Image.open(photos / f"{name}_mask.png").convert("L")
    images = (Image.open(original).convert("RGB"), Image.open(out / f"{name}.png").convert("RGB"))
    before, after = (np.asarray(image, dtype=np.int16) for image in images)
    return before, after, np.asarray(mask) >= 128


def _changed_outside(photos: Path, out: Path, name: str) -> bool:
    before, after, mask = _pictures(photos, out, name)
    return bool((np.abs(before - after).max(axis=2) > 0)[~_grown(mask)].any())


def _changed_inside(photos: Path, out: Path, name: str) -> bool:
    before, after, mask = _pictures(photos, out, name)
    return bool(np.abs(before - after).max(axis=2)[mask].any())


def _grown(mask: np.ndarray) -> np.ndarray:
    """Dilate by a disc, written down plainly: what is measured must not be measured with the code that made it."""
    grown = mask.copy()
    height, width = mask.shape
    for dy in range(-DILATE, DILATE + 1):
        for dx in range(-DILATE, DILATE + 1):
            if dx * dx + dy * dy > DILATE * DILATE:
                continue
            top, left = max(0, dy), max(0, dx)
            bottom, right = min(height, height + dy), min(width, width + dx)
            grown[top:bottom, left:right] |= mask[top - dy : bottom - dy, left - dx : right - dx]
    return grown
