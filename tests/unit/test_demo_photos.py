"""The demonstration's photographs: each shows a thing that its mask covers, and nothing else."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cleanplate.cli.demo import photos
from cleanplate.cli.demo.photos import SHOTS, Pixels, Shot, Take

PIXEL = np.zeros((2, 2, 3), np.uint8)


@cache
def half_sized(shot: Shot) -> Take:
    width, height = (n // 4 * 2 for n in shot.size)
    return photos.take(replace(shot, size=(width, height)), np.random.default_rng(7), shot.paper)


def rim(mask: Pixels, width: int) -> Pixels:
    """Return what of the mask is nearer than ``width`` pixels to its edge; the picture's edge is none."""
    return (mask > 0) & (cv2.erode(mask, np.ones((3, 3)), iterations=width, borderValue=255) == 0)


def test_the_same_seed_makes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "SHOTS", [replace(shot, size=(320, 240)) for shot in SHOTS])
    once, again, other = (photos.make(tmp_path / name, 6, seed) for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    for first, second, third in zip(once, again, other, strict=True):
        assert first.read_bytes() == second.read_bytes() != third.read_bytes()
        assert photos_mask(first).read_bytes() == photos_mask(second).read_bytes()


def photos_mask(photo: Path) -> Path:
    return photo.with_name(f"{photo.stem}_mask.png")


def test_a_mask_lies_beside_each_photograph_and_has_its_size(tmp_path: Path) -> None:
    (path,) = photos.make(tmp_path, 1)
    assert path.name == "mug-price-sticker.jpg"
    with Image.open(path) as photo, Image.open(photos_mask(path)) as mask:
        assert photo.size == mask.size == SHOTS[0].size
        assert (photo.format, photo.mode, mask.format, mask.mode) == ("JPEG", "RGB", "PNG", "L")
        assert {value for _, value in mask.getcolors() or ()} == {0, 255}


def test_sizes_vary_around_a_megapixel_and_some_are_png() -> None:
    assert {Path(shot.file).suffix for shot in SHOTS} == {".jpg", ".png"}
    assert len({shot.size for shot in SHOTS}) > 5
    for width, height in (shot.size for shot in SHOTS):
        assert 0.9e6 < width * height < 1.1e6
        assert 0.5 <= width / height <= 2
        assert width % 2 == height % 2 == 0


def test_more_photographs_than_wares_have_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    papers = []

    def instant(_shot: Shot, _rng: np.random.Generator, paper: str) -> Take:
        papers.append(paper)
        return Take(PIXEL, PIXEL, PIXEL[..., 0])

    monkeypatch.setattr(photos, "take", instant)
    paths = photos.make(tmp_path, 30)
    assert len(set(paths)) == 30
    assert paths[12].name == "mug-price-sticker-2.jpg"
    assert papers[12] != papers[0]


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.file)
def test_the_thing_is_wholly_inside_its_mask_and_the_mask_is_sparse(shot: Shot) -> None:
    taken = half_sized(shot)
    difference = cv2.absdiff(taken.photo, taken.clean).max(axis=2)
    assert set(np.unique(taken.mask)) == {0, 255}
    assert 0.01 < (taken.mask > 0).mean() < 0.25
    assert difference[taken.mask == 0].max() == 0
    assert difference.max() > 60, "there is something to see"
    assert difference[rim(taken.mask, 5)].max() < 8, "the mask does not cut the thing or its shadow off"


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.file)
def test_no_picture_is_burnt_out_or_black(shot: Shot) -> None:
    grey = half_sized(shot).photo.mean(axis=2)
    assert ((grey > 2) & (grey < 253)).mean() > 0.99
    assert np.percentile(grey, 99) - np.percentile(grey, 1) > 60
