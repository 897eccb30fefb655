"""What the upstream is sent: never metadata, always upright, opaque, 8 bits and sRGB, and no more work than needed."""

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from cleanplate.imaging.pair import check
from cleanplate.imaging.payload import Prepared
from tests import pictures
from tests.pictures import MASK

SECRETS = (b"Exif", b"eXIf", b"J. Doe", b"http://ns.adobe.com")


def prepared(image: bytes, mask: bytes = MASK, *, invert: bool = False) -> Prepared:
    sent = check(image, mask, max_pixels=10_000_000, mask_invert=invert).sent
    assert not any(secret in sent.image for secret in SECRETS)
    shown = pictures.decoded(sent.image)
    assert shown.format in {"JPEG", "PNG"}
    assert shown.mode in {"L", "RGB"}
    assert not shown.has_transparency_data
    assert shown.format == "JPEG" or sent.image[24] == 8
    assert not shown.getexif()
    assert pictures.decoded(sent.mask).size == shown.size
    return sent


def sent_pixels(image: bytes, mask: bytes = MASK) -> np.ndarray:
    return np.asarray(pictures.decoded(prepared(image, mask).image).convert("RGB"), np.int16)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_plain_jpeg_is_sent_as_its_own_compressed_pixels(mode: str) -> None:
    bare = pictures.encoded(pictures.scene(mode=mode), "JPEG")
    tagged = pictures.encoded(
        pictures.scene(mode=mode), "JPEG", exif=pictures.exif(1, gps=True), comment=b"J. Doe", xmp=b"<x/>"
    )
    assert prepared(tagged).image == bare


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_plain_png_is_sent_as_its_own_compressed_pixels(mode: str) -> None:
    bare = pictures.encoded(pictures.scene(mode=mode))
    tagged = pictures.with_chunk(bare, b"tEXt", b"Author\0J. Doe")
    assert prepared(tagged).image == bare


def test_a_real_photograph_is_sent_as_its_own_compressed_pixels() -> None:
    data = pictures.photograph("china")
    size = pictures.decoded(data).size
    sent = prepared(data, pictures.encoded(pictures.mask_image(size)))
    assert sent.image[-1000:] == data[-1000:]
    assert len(sent.image) <= len(data)


@pytest.mark.parametrize("value", range(2, 9))
def test_a_turned_photograph_is_sent_upright(value: int) -> None:
    data = pictures.encoded(pictures.scene(), "JPEG", exif=pictures.exif(value, gps=True))
    sent = pictures.decoded(prepared(data).image)
    upright = pictures.upright(data)
    assert np.array_equal(np.asarray(sent), np.asarray(upright))


def test_a_wide_gamut_photograph_is_sent_in_srgb() -> None:
    profile = pictures.rgb_profile()
    sent = sent_pixels(pictures.encoded(Image.new("RGB", (96, 64), (200, 100, 50)), icc_profile=profile))
    red, green, blue = sent[0, 0]
    assert red > 205
    assert green < 100
    assert blue < 45


def test_a_profile_that_has_the_effect_of_srgb_changes_nothing() -> None:
    image = pictures.scene()
    tagged = pictures.encoded(image, icc_profile=pictures.srgb_profile())
    assert np.array_equal(sent_pixels(tagged), np.asarray(image))


@pytest.mark.parametrize("profile", [b"no profile", pictures.grey_profile()])
def test_a_profile_that_cannot_be_used_counts_as_none(profile: bytes) -> None:
    image = pictures.scene()
    assert np.array_equal(sent_pixels(pictures.encoded(image, icc_profile=profile)), np.asarray(image))


def test_a_grey_photograph_with_a_grey_profile_is_sent_in_srgb() -> None:
    sent = sent_pixels(pictures.encoded(Image.new("L", (96, 64), 100), icc_profile=pictures.grey_profile(1.5)))
    assert sent[0, 0, 0] > 130


def test_a_transparent_picture_is_sent_as_it_looks_on_white() -> None:
    image = Image.new("RGBA", (96, 64), (200, 100, 50, 255))
    image.paste((0, 0, 0, 0), (0, 0, 10, 10))
    sent = sent_pixels(pictures.encoded(image))
    assert sent[0, 0].tolist() == [255, 255, 255]
    assert sent[30, 30].tolist() == [200, 100, 50]


@pytest.mark.parametrize(("depth", "value"), [(8, b"\x60"), (16, b"\x60\x00")])
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3)])
def test_a_colour_that_is_transparent_is_white_and_no_other(
    depth: int, value: bytes, colour_type: int, channels: int
) -> None:
    keyed, opaque = (level * channels for level in (value, b"\x20" * len(value)))
    transparent = pictures.chunk(b"tRNS", value.rjust(2, b"\0") * channels)
    rows = (b"\0" + keyed * 48 + opaque * 48) * 64
    sent = sent_pixels(pictures.png(depth, colour_type, (96, 64), rows, transparent))
    assert sent[0, 0].tolist() == [255, 255, 255]
    assert sent[0, 95].tolist() == [32, 32, 32]


def test_16_bit_colour_is_sent_with_8() -> None:
    rows = (b"\0" + b"\x40\x80\x20\x00\x10\xff" * 96) * 64
    assert sent_pixels(pictures.png(16, 2, (96, 64), rows))[0, 0].tolist() == [64, 32, 16]


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    rows = (b"\0" + b"\x40\x00" * 96) * 64
    assert sent_pixels(pictures.png(16, 0, (96, 64), rows))[0, 0].tolist() == [64, 64, 64]


def test_cmyk_is_sent_in_srgb() -> None:
    data = pictures.encoded(Image.new("RGB", (96, 64), (200, 100, 50)).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(sent_pixels(data)[0, 0] - [200, 100, 50]).max() < 12


@pytest.mark.parametrize("format_", ["WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("value", [1, 6, 7])
def test_other_formats_are_sent_as_png_and_upright(format_: str, value: int) -> None:
    image, file = pictures.scene(), io.BytesIO()
    exif = pictures.exif(value, gps=True)
    if format_ == "HEIF":
        pillow_heif.from_pillow(image).save(file, quality=-1, chroma=444, exif=exif)
    else:
        image.save(file, format_, quality=100, exif=exif)
    sent = prepared(file.getvalue(), pictures.encoded(pictures.mask_image((96, 64) if value == 1 else (64, 96))))
    assert sent.image.startswith(b"\x89PNG")
    turned = pictures.upright(pictures.encoded(image, exif=exif))
    assert np.abs(np.asarray(pictures.decoded(sent.image), np.int16) - np.asarray(turned, np.int16)).mean() < 6


def test_the_mask_is_sent_in_strict_black_and_white() -> None:
    soft = pictures.mask_image().point([40] * 128 + [200] * 128)
    sent = pictures.decoded(prepared(pictures.encoded(pictures.scene()), pictures.encoded(soft)).mask)
    assert sent.format == "PNG"
    assert sent.mode == "L"
    assert np.array_equal(np.asarray(sent), np.asarray(pictures.mask_image()))


def test_an_inverted_mask_is_sent_inverted() -> None:
    inverted = pictures.mask_image().point([255 - value for value in range(256)])
    sent = prepared(pictures.encoded(pictures.scene()), pictures.encoded(inverted), invert=True)
    assert np.array_equal(np.asarray(pictures.decoded(sent.mask)), np.asarray(pictures.mask_image()))


def test_a_mask_drawn_on_the_stored_photograph_is_sent_upright_with_it() -> None:
    data = pictures.encoded(pictures.scene(), "JPEG", exif=pictures.exif(6))
    sent = prepared(data)
    assert pictures.decoded(sent.image).size == (64, 96)
    assert pictures.decoded(sent.mask).size == (64, 96)


def test_a_mask_that_is_strict_already_is_sent_as_its_own_compressed_pixels() -> None:
    tagged = pictures.with_chunk(MASK, b"tEXt", b"Author\0J. Doe")
    assert prepared(pictures.encoded(pictures.scene()), tagged).mask == MASK


@pytest.mark.parametrize(
    "mask",
    [
        pictures.encoded(pictures.mask_image().convert("RGB")),
        pictures.encoded(pictures.mask_image().convert("1")),
        pictures.encoded(pictures.mask_image().point([0] * 255 + [254])),
        pictures.encoded(pictures.mask_image(), "WEBP", lossless=True),
    ],
    ids=["of colours", "of single bits", "not quite white", "of another format"],
)
def test_any_other_mask_is_sent_as_a_png_of_black_and_white(mask: bytes) -> None:
    sent = prepared(pictures.encoded(pictures.scene()), mask).mask
    assert sent != mask
    read = pictures.decoded(sent)
    assert (read.format, read.mode) == ("PNG", "L")
    assert np.array_equal(np.asarray(read), np.asarray(pictures.mask_image()))
