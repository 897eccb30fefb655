import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cleanplate.simulator import pictures
from cleanplate.simulator.erase import erase, grow
from tests.pictures import decoded, photograph

YELLOW = (250, 215, 40)


def test_the_sticker_is_gone_and_every_other_pixel_has_moved_by_one_to_three() -> None:
    photo = decoded(photograph("coffee")).convert("RGB")
    stickered, mask = photo.copy(), Image.new("L", photo.size, 0)
    spot = (250, 260, 310, 320)
    ImageDraw.Draw(stickered).ellipse(spot, fill=YELLOW)
    ImageDraw.Draw(mask).ellipse(spot, fill=255)
    before, hole = np.asarray(stickered), grow(np.asarray(mask) >= 128, 10)

    after = erase(before, np.asarray(mask), 10, seed=4)

    moved = np.abs(after.astype(int) - before)[~hole]
    assert moved.max() == 3
    assert (moved > 0).mean() > 0.99
    assert np.abs(after[hole].astype(int) - YELLOW).max(axis=1).min() > 40
    assert np.abs(after[hole].astype(int) - np.asarray(photo)[hole]).mean() < 30


def test_texture_goes_on_where_something_is_erased_from_it() -> None:
    stripes = np.tile(np.repeat([[60], [200]], 12, axis=0), (10, 240))
    picture = np.repeat(stripes[..., None], 3, axis=2).astype(np.uint8)
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[80:160, 80:160] = 255
    covered = picture.copy()
    covered[mask > 0] = YELLOW

    after = erase(covered, mask, 4, seed=0)

    wrong = np.abs(after[mask > 0].astype(int) - picture[mask > 0]).max(axis=1) > 60
    assert wrong.mean() < 0.1


def test_without_care_the_sticker_is_gone_all_the_same() -> None:
    picture, mask = np.full((200, 200, 3), 90, np.uint8), np.zeros((200, 200), np.uint8)
    picture[60:140, 60:140], mask[60:140, 60:140] = YELLOW, 255
    after = erase(picture, mask, 10, seed=0, careful=False)
    assert np.abs(after.astype(int) - 90).max() <= 4


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 100), st.integers(0, 2**32), st.booleans())
@settings(max_examples=40)
def test_any_size_and_any_mask_can_be_erased(width: int, height: int, dilate: int, seed: int, sparse: bool) -> None:
    draw = np.random.default_rng(seed)
    picture = draw.integers(0, 256, (height, width, 3), np.uint8)
    mask = ((draw.random((height, width)) > (0.99 if sparse else 0.4)) * 255).astype(np.uint8)
    assert erase(picture, mask, dilate, seed).shape == picture.shape


@pytest.mark.parametrize("dilate", [0, 1, 10])
def test_the_hole_grows_by_a_disc(dilate: int) -> None:
    hole = np.zeros((41, 41), np.bool_)
    hole[20, 20] = True
    rows, cols = np.nonzero(grow(hole, dilate))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (20 - dilate, 20 + dilate, 20 - dilate, 20 + dilate)
    assert np.hypot(rows - 20, cols - 20).max() <= dilate + 0.5


def test_the_same_seed_makes_the_same_picture() -> None:
    picture, mask = np.full((30, 40, 3), 200, np.uint8), np.zeros((30, 40), np.uint8)
    mask[10:20, 10:20] = 255
    assert (erase(picture, mask, 2, 7) == erase(picture, mask, 2, 7)).all()
    assert (erase(picture, mask, 2, 7) != erase(picture, mask, 2, 8)).any()


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_result_is_a_whole_picture_of_the_format_asked_for(form: str) -> None:
    data = pictures.encode(np.full((20, 30, 3), (200, 100, 50), np.uint8), form)
    assert pictures.format_of(data) == form
    assert pictures.size_of(data) == (30, 20)
    assert np.abs(pictures.decode(data, "RGB").astype(int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(pictures.PictureError, match="is not a PNG"):
        pictures.size_of(data)


def test_a_truncated_picture_is_found_out() -> None:
    data = pictures.encode(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8), "jpeg")
    assert pictures.size_of(data[: len(data) // 2]) == (90, 90)
    with pytest.raises(pictures.PictureError, match="cannot be decoded"):
        pictures.decode(data[: len(data) // 2], "RGB")


def test_large_results_may_come_back_smaller() -> None:
    picture = np.zeros((400, 200, 3), np.uint8)
    assert pictures.shrink(picture, 20_000).shape == (200, 100, 3)
    assert pictures.shrink(picture, 80_000).shape == picture.shape
