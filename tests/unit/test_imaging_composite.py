"""What is stored: nothing but the erased area differs from the original."""

import hashlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cleanplate.imaging.composite import Finished, erased_area, finish
from cleanplate.imaging.faults import ImageFault, ResultFault
from cleanplate.imaging.formats import OutputFormat
from tests import pictures
from tests.pictures import MASK

SCENE = pictures.scene()
INSIDE = np.asarray(pictures.mask_image()) == 255
RESULT = pictures.encoded(Image.new("RGB", (96, 64), (10, 200, 90)))


def dilated(mask: np.ndarray, radius: int) -> np.ndarray:
    """Return which pixels are within ``radius`` of the mask, by other means than the code: OpenCV's ellipse."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def finished(
    original: Image.Image | bytes = SCENE, result: bytes = RESULT, mask: bytes = MASK, **options: Any
) -> Finished:
    data = original if isinstance(original, bytes) else pictures.encoded(original)
    return finish(data, mask, result, **{"dilate_pixels": 5, **options})


def stored(done: Finished, mode: str = "RGB") -> np.ndarray:
    image = pictures.decoded(done.data)
    assert image.mode == mode
    return np.asarray(image)


def test_the_facts_are_those_of_the_stored_bytes() -> None:
    done = finished()
    assert (done.width, done.height, done.format, done.media_type) == (96, 64, "png", "image/png")
    assert done.bytes == len(done.data)
    assert done.sha256 == hashlib.sha256(done.data).hexdigest()
    assert done.outside_mask_max_delta == 0


@pytest.mark.parametrize("output_format", ["png", "webp"])
@pytest.mark.parametrize("radius", [0, 1, 10, 100])
def test_outside_the_dilated_mask_every_pixel_is_the_originals(output_format: OutputFormat, radius: int) -> None:
    pixels = stored(finished(dilate_pixels=radius, output_format=output_format))
    outside = ~dilated(INSIDE, radius)
    assert np.array_equal(pixels[outside], np.asarray(SCENE)[outside])


def test_inside_the_mask_every_pixel_is_the_results() -> None:
    pixels = stored(finished())
    assert (pixels[INSIDE] == (10, 200, 90)).all()


def test_between_them_the_result_fades_into_the_original() -> None:
    black, white = Image.new("RGB", (96, 64)), pictures.encoded(Image.new("RGB", (96, 64), "white"))
    row = stored(finished(black, white, dilate_pixels=10))[24, 40:52, 0].tolist()
    assert row[:5] == [255] * 5
    assert row == sorted(row, reverse=True)
    assert len(set(row)) > 5
    assert row[9] > 0
    assert row[10:] == [0, 0]


@pytest.mark.parametrize("name", ["china", "flower", "astronaut", "coffee"])
def test_a_real_photograph_is_untouched_outside_the_dilated_mask(name: str) -> None:
    data = pictures.photograph(name)
    image = pictures.decoded(data)
    mask = pictures.mask_image(image.size, (100, 80, 300, 210))
    result = pictures.encoded(pictures.redrawn(image))
    done = finished(data, result, pictures.encoded(mask), dilate_pixels=10)
    outside = ~dilated(np.asarray(mask) == 255, 10)
    assert np.array_equal(stored(done)[outside], np.asarray(image)[outside])
    assert not np.array_equal(stored(done), np.asarray(image))
    assert done.outside_mask_max_delta == 0


@st.composite
def erasures(draw: st.DrawFn) -> dict[str, Any]:
    width, height = draw(st.integers(2, 48)), draw(st.integers(2, 48))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    mask = random.random((height, width)) < draw(st.sampled_from([0.002, 0.05, 0.5, 0.95]))
    mask[random.integers(height), random.integers(width)] = True
    if mask.all():
        mask[0, 0] = False
    return {
        "mask": mask,
        "original": random.integers(0, 256, (height, width, draw(st.sampled_from([1, 3, 4]))), dtype=np.uint8),
        "result": random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "radius": draw(st.one_of(st.integers(0, 12), st.integers(0, 100))),
        "profile": draw(st.sampled_from([None, pictures.rgb_profile()])),
        "output_format": draw(st.sampled_from(["png", "webp"])),
    }


@given(erasures())
@settings(max_examples=150)
def test_whatever_the_pair_only_the_dilated_mask_changes_and_the_mask_changes_wholly(case: dict[str, Any]) -> None:
    original = Image.fromarray(case["original"].squeeze(axis=2) if case["original"].shape[2] == 1 else case["original"])
    profile = case["profile"] if original.mode != "L" else None
    done = finish(
        pictures.encoded(original, icc_profile=profile),
        pictures.encoded(Image.fromarray(case["mask"])),
        pictures.encoded(Image.fromarray(case["result"])),
        dilate_pixels=case["radius"],
        output_format=case["output_format"],
    )
    assert done.outside_mask_max_delta == 0
    pixels = np.asarray(pictures.decoded(done.data).convert(original.mode))
    outside = ~dilated(case["mask"], case["radius"])
    assert np.array_equal(pixels[outside], np.asarray(original)[outside])
    if original.mode == "RGB" and profile is None:
        assert np.array_equal(pixels[case["mask"]], case["result"][case["mask"]])
    if original.mode == "RGBA":
        assert np.array_equal(pixels[..., 3], case["original"][..., 3])


@given(st.integers(0, 100))
@settings(max_examples=30)
def test_the_dilated_area_is_the_disc_of_all_pixels_within_the_radius(radius: int) -> None:
    mask = np.zeros((9, 230), np.uint8)
    mask[4, 110] = 255
    area = erased_area(mask, radius)
    found = np.zeros(mask.shape, bool)
    found[area.box] = area.weight > 0
    y, x = np.mgrid[-4:5, -110:120]
    assert np.array_equal(found, x * x + y * y <= radius * radius)


def test_a_jpeg_is_measured_as_it_was_stored() -> None:
    result = pictures.encoded(pictures.redrawn(SCENE))
    done = finished(result=result, output_format="jpeg")
    outside = ~dilated(INSIDE, 5)
    off = np.abs(stored(done).astype(int) - np.asarray(SCENE, int))
    assert 0 < off[outside].max() <= done.outside_mask_max_delta < 40
    assert done.media_type == "image/jpeg"
    assert pictures.decoded(done.data).layer[0][1:3] == (1, 1)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_the_originals_profile_is_on_the_result(output_format: OutputFormat) -> None:
    profile = pictures.rgb_profile()
    done = finished(pictures.encoded(SCENE, icc_profile=profile), output_format=output_format)
    assert pictures.decoded(done.data).info["icc_profile"] == profile


def test_a_profile_that_cannot_be_used_is_left_out() -> None:
    done = finished(pictures.encoded(SCENE, icc_profile=pictures.grey_profile()))
    assert "icc_profile" not in pictures.decoded(done.data).info


def test_a_profile_that_libpng_would_refuse_is_kept_because_browsers_read_it() -> None:
    profile = pictures.rgb_profile() + b"padding!"
    done = finished(pictures.encoded(SCENE, "JPEG", icc_profile=profile))
    assert pictures.decoded(done.data).info["icc_profile"] == profile


def test_the_erased_area_is_brought_into_the_originals_colours() -> None:
    original = pictures.encoded(SCENE, icc_profile=pictures.rgb_profile())
    result = pictures.encoded(Image.new("RGB", (96, 64), (255, 0, 0)))
    red, green, blue = stored(finished(original, result))[24, 30].tolist()
    assert 225 < red < 245
    assert 30 < green < 65
    assert 20 < blue < 50


def test_transparency_is_put_back() -> None:
    image = SCENE.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((96, 64)))
    for output_format in ("png", "webp"):
        pixels = stored(finished(image, output_format=output_format), "RGBA")
        assert np.array_equal(pixels[..., 3], np.asarray(image)[..., 3])
        outside = ~dilated(INSIDE, 5)
        assert np.array_equal(pixels[outside], np.asarray(image)[outside])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_shines_through_looks_on_white_as_the_upstream_made_it(mode: str) -> None:
    image = SCENE.convert(mode)
    image.putalpha(Image.linear_gradient("L").resize((96, 64)))
    white = Image.new("RGBA", image.size, "white")
    sent = Image.alpha_composite(white, image.convert("RGBA"))
    done = stored(finished(image, pictures.encoded(sent.convert("RGB"))), mode)
    looks = Image.alpha_composite(white, Image.fromarray(done).convert("RGBA"))
    assert np.abs(np.asarray(looks).astype(int) - np.asarray(sent)).max() <= 2


def test_a_transparent_picture_that_becomes_a_jpeg_lies_on_white() -> None:
    image = SCENE.convert("RGBA")
    image.putalpha(0)
    done = finished(image, pictures.encoded(Image.new("RGB", (96, 64), "white")), output_format="jpeg")
    assert stored(done)[0, 0].min() > 250
    assert done.outside_mask_max_delta < 10


def test_cmyk_comes_back_as_srgb_and_is_measured_so() -> None:
    original = pictures.encoded(SCENE.convert("CMYK"), "JPEG", quality=95)
    done = finished(original)
    outside = ~dilated(INSIDE, 5)
    assert np.array_equal(stored(done)[outside], np.asarray(pictures.decoded(original).convert("RGB"))[outside])
    assert done.outside_mask_max_delta == 0


def test_a_grey_photograph_stays_grey() -> None:
    grey = SCENE.convert("L")
    done = finished(pictures.encoded(grey, icc_profile=pictures.grey_profile()))
    pixels = stored(done, "L")
    outside = ~dilated(INSIDE, 5)
    assert np.array_equal(pixels[outside], np.asarray(grey)[outside])
    assert pictures.decoded(done.data).info["icc_profile"] == pictures.grey_profile()
    assert finished(grey.convert("LA")).outside_mask_max_delta == 0
    assert stored(finished(grey.convert("LA")), "LA").shape == (64, 96, 2)


def test_webp_has_no_grey_so_a_grey_profile_is_applied_and_left_out() -> None:
    done = finished(pictures.encoded(SCENE.convert("L"), icc_profile=pictures.grey_profile()), output_format="webp")
    assert stored(done)[0, 95, 0] > np.asarray(SCENE.convert("L"))[0, 95]
    assert "icc_profile" not in pictures.decoded(done.data).info


def test_a_turned_photograph_is_stored_upright_without_its_orientation() -> None:
    original = pictures.encoded(SCENE, "JPEG", exif=pictures.exif(6, gps=True))
    upright = pictures.upright(original)
    done = finished(original, pictures.encoded(Image.new("RGB", (64, 96))))
    outside = ~dilated(np.rot90(INSIDE, -1), 5)
    assert np.array_equal(stored(done)[outside], np.asarray(upright)[outside])
    assert not pictures.decoded(done.data).getexif()


def test_an_inverted_mask_erases_the_rest() -> None:
    inverted = pictures.encoded(pictures.mask_image().point([255 - value for value in range(256)]))
    assert finished(mask=inverted, mask_invert=True).sha256 == finished().sha256


def test_raw_is_the_upstreams_file_as_it_came() -> None:
    done = finished(fidelity="raw")
    assert done.data == RESULT
    assert done.outside_mask_max_delta > 100


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_raw_is_encoded_again_only_for_another_format(output_format: OutputFormat) -> None:
    result = pictures.encoded(SCENE, "JPEG", quality=98, subsampling=0)
    done = finished(result=result, fidelity="raw", output_format=output_format)
    assert (done.data == result) == (output_format == "jpeg")
    assert pictures.decoded(done.data).format == output_format.upper()
    assert done.outside_mask_max_delta < 30


def test_raw_is_measured_in_srgb() -> None:
    profile = pictures.rgb_profile()
    original = pictures.encoded(Image.new("RGB", (96, 64), (180, 120, 90)), icc_profile=profile)
    result = pictures.encoded(Image.new("RGB", (96, 64), (191, 118, 85)))
    assert finished(original, result, fidelity="raw").outside_mask_max_delta <= 4


def result_fault(result: bytes) -> ResultFault:
    with pytest.raises(ResultFault) as caught:
        finished(result=result)
    return caught.value


@pytest.mark.parametrize("result", [b"", b"<html>gone</html>", RESULT[:-30], b"\x89PNG\r\n\x1a\n"])
def test_a_result_that_is_no_whole_picture_is_corrupt(result: bytes) -> None:
    assert result_fault(result).code == "result_corrupt"


def test_a_result_of_another_size_is_refused_with_both_sizes() -> None:
    found = result_fault(pictures.encoded(pictures.scene(95, 64)))
    assert found.code == "result_wrong_size"
    assert found.title
    assert found.extra == {"image": {"width": 96, "height": 64}, "result": {"width": 95, "height": 64}}


@given(st.binary(max_size=100), st.integers(0, len(RESULT)))
@settings(max_examples=60)
def test_whatever_the_upstream_sends_a_fault_of_the_result_is_all_that_comes_of_it(junk: bytes, cut: int) -> None:
    try:
        done = finished(result=RESULT[:cut] + junk)
    except ResultFault:
        return
    assert done.outside_mask_max_delta == 0


def test_a_pair_that_rotted_in_the_store_is_not_blamed_on_the_upstream() -> None:
    with pytest.raises(ImageFault, match="image_corrupt"):
        finished(pictures.encoded(SCENE)[:-40])
