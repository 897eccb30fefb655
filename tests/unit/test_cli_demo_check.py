from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cleanplate.cli.demo.check import largest_difference

RADIUS = 5


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An original, a mask with one white pixel in the middle, and a result that is the original."""
    pixels = np.random.default_rng(1).integers(0, 200, (40, 60, 3), np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[20, 30] = 255
    paths = (tmp_path / "a.png", tmp_path / "a_mask.png", tmp_path / "out.png")
    for path, content in zip(paths, (pixels, mask, pixels), strict=True):
        Image.fromarray(content).save(path)
    return paths


def change(path: Path, row: int, column: int, by: int) -> None:
    pixels = np.array(Image.open(path))
    pixels[row, column, 1] += by
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(("row", "column"), [(20, 30), (20, 35), (25, 30), (23, 34)])
def test_what_changes_in_the_dilated_mask_does_not_count(files: tuple[Path, Path, Path], row: int, column: int) -> None:
    change(files[2], row, column, 50)
    assert largest_difference(*files, RADIUS) == 0


@pytest.mark.parametrize(("row", "column"), [(0, 0), (20, 36), (24, 34)])
def test_what_changes_outside_of_it_does(files: tuple[Path, Path, Path], row: int, column: int) -> None:
    change(files[2], row, column, 3)
    assert largest_difference(*files, RADIUS) == 3


def test_what_cannot_be_compared_is_not(files: tuple[Path, Path, Path]) -> None:
    Image.open(files[2]).convert("L").save(files[2])
    assert largest_difference(*files, RADIUS) is None
