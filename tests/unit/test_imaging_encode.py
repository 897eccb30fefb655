"""PNG is written by this project itself, so other programs' readers say whether it is one."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cleanplate.imaging.encode import encode
from cleanplate.imaging.formats import MAX_SIDE

SIDES = st.integers(1, 70)


@given(mode=st.sampled_from(["L", "LA", "RGB", "RGBA"]), width=SIDES, height=SIDES, seed=st.integers(0, 2**32 - 1))
def test_a_png_holds_every_pixel_to_the_bit(mode: str, width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, len(mode)), np.uint8)
    colours, alpha = (pixels[..., :-1], Image.fromarray(pixels[..., -1])) if mode.endswith("A") else (pixels, None)
    png = encode(colours.squeeze(2) if mode.startswith("L") else colours, alpha, None, "png")
    read = Image.open(io.BytesIO(png), formats=["PNG"])
    assert (read.mode, read.size) == (mode, (width, height))
    assert np.array_equal(np.asarray(read).reshape(pixels.shape), pixels)


def test_opencv_reads_the_same_from_a_png_as_pillow() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (40, 30, 3), np.uint8)
    png = encode(pixels, None, None, "png")
    assert np.array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1], pixels)


@pytest.mark.parametrize("size", [(MAX_SIDE["png"], 1), (1, MAX_SIDE["png"])])
def test_the_longest_side_that_is_taken_fits_into_a_png(size: tuple[int, int]) -> None:
    png = encode(np.asarray(Image.new("RGB", size, (1, 2, 3))), None, None, "png")
    assert Image.open(io.BytesIO(png)).getpixel((size[0] - 1, size[1] - 1)) == (1, 2, 3)
