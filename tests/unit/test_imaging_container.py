"""What is cut out of a file before anything decodes it or it leaves the house."""

import zlib

import numpy as np
import pytest

from cleanplate.imaging import container, orientation
from tests import pictures


def same_pixels(one: bytes, other: bytes) -> bool:
    return np.array_equal(np.asarray(pictures.decoded(one)), np.asarray(pictures.decoded(other)))


def test_a_jpeg_is_cleared_of_metadata_and_keeps_its_pixels_and_profile() -> None:
    profile = pictures.rgb_profile()
    data = pictures.encoded(
        pictures.scene(), "JPEG", exif=pictures.exif(6, gps=True), icc_profile=profile, comment=b"shot by J. Doe"
    )
    file = container.read_jpeg(data)
    assert orientation.read(file.exif) == 6
    assert b"Exif" not in file.bare
    assert b"Doe" not in file.bare
    assert pictures.decoded(file.bare).info["icc_profile"] == profile
    assert same_pixels(file.bare, data)


def test_the_first_exif_is_the_one_that_counts() -> None:
    data = pictures.encoded(pictures.scene(), "JPEG")
    first, second = (b"\xff\xe1\0\x1e" + pictures.exif_entry(value) for value in (6, 3))
    assert orientation.read(container.read_jpeg(data[:2] + first + second + data[2:]).exif) == 6


def test_a_progressive_jpeg_survives_being_taken_apart() -> None:
    data = pictures.encoded(pictures.scene(200, 150), "JPEG", progressive=True, quality=95, restart_marker_rows=1)
    assert same_pixels(container.read_jpeg(data).bare, data)


def test_fill_bytes_may_stand_before_any_marker() -> None:
    data = pictures.encoded(pictures.scene(), "JPEG", exif=pictures.exif(6))
    filled = data[:2] + b"\xff\xff" + data[2:-2] + b"\xff\xff\xff" + data[-2:]
    file = container.read_jpeg(filled)
    assert orientation.read(file.exif) == 6
    assert same_pixels(file.bare, data)


def test_real_photographs_survive_being_taken_apart() -> None:
    for name in ("china", "flower", "rocket"):
        data = pictures.photograph(name)
        assert same_pixels(container.read_jpeg(data).bare, data)
    for name in ("astronaut", "coffee", "chelsea"):
        data = pictures.photograph(name)
        assert same_pixels(container.read_png(data).bare, data)


def test_a_phones_second_picture_is_cut_off_with_its_position() -> None:
    left, right = pictures.scene(seed=1), pictures.scene(seed=2)
    data = pictures.encoded(left, "MPO", save_all=True, append_images=[right], exif=pictures.exif(gps=True))
    bare = container.read_jpeg(data).bare
    assert bare.endswith(b"\xff\xd9")
    assert b"MPF" not in bare
    assert b"Exif" not in bare
    assert same_pixels(bare, pictures.encoded(left, "JPEG"))


@pytest.mark.parametrize(
    "data",
    [b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\x00", b"\xff\xd8\xff\xe0\x00\x01\xff\xd9", b"\xff\xd8\xff\xda\x00\x04ab"],
)
def test_a_jpeg_that_breaks_off_is_malformed(data: bytes) -> None:
    with pytest.raises(container.MalformedError):
        container.read_jpeg(data)


def test_a_png_is_cleared_of_text_and_keeps_its_pixels_and_profile() -> None:
    profile = pictures.rgb_profile()
    data = pictures.encoded(pictures.scene(), "PNG", icc_profile=profile, exif=pictures.exif(3, gps=True))
    data = pictures.with_chunk(data, b"tEXt", b"Author\0J. Doe")
    file = container.read_png(data)
    assert orientation.read(file.exif) == 3
    assert b"Doe" not in file.bare
    assert b"eXIf" not in file.bare
    assert pictures.decoded(file.bare).info["icc_profile"] == profile
    assert same_pixels(file.bare, data)


def test_a_png_without_its_end_is_malformed() -> None:
    data = pictures.encoded(pictures.scene())
    with pytest.raises(container.MalformedError):
        container.read_png(data[:-12])


BOMB = zlib.compress(b"\0" * (container.MAX_UNPACKED + 1))
SMALL = zlib.compress(b"\0" * (container.MAX_UNPACKED // 2 + 1))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (b"zTXt", b"Comment\0\0" + BOMB),
        (b"iCCP", b"profile\0\0" + BOMB),
        (b"iTXt", b"Comment\0\1\0de\0Kommentar\0" + BOMB),
    ],
)
def test_a_compressed_text_or_profile_that_unpacks_to_a_mebibyte_is_oversized(name: bytes, body: bytes) -> None:
    with pytest.raises(container.OversizedError):
        container.read_png(pictures.with_chunk(pictures.encoded(pictures.scene()), name, body))


def test_many_texts_share_one_limit() -> None:
    data = pictures.encoded(pictures.scene())
    once = pictures.with_chunk(data, b"zTXt", b"Comment\0\0" + SMALL)
    container.read_png(once)
    with pytest.raises(container.OversizedError):
        container.read_png(pictures.with_chunk(once, b"zTXt", b"Comment\0\0" + SMALL))


def test_broken_text_is_dropped_as_all_text_is() -> None:
    data = pictures.encoded(pictures.scene())
    assert container.read_png(pictures.with_chunk(data, b"zTXt", b"Comment\0\0no zlib stream")).bare == data


def test_a_text_that_is_not_compressed_may_be_long() -> None:
    data = pictures.encoded(pictures.scene())
    text = b"Comment\0\0\0\0\0" + b"x" * (container.MAX_UNPACKED + 1)
    assert container.read_png(pictures.with_chunk(data, b"iTXt", text)).bare == data


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", ["little", "big"])
def test_every_orientation_is_read_in_both_byte_orders(value: int, order: str) -> None:
    assert orientation.read(pictures.exif_entry(value, order=order)) == value


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_counts_as_upright(value: int) -> None:
    assert orientation.read(pictures.exif_entry(value)) == 1


@pytest.mark.parametrize(
    "exif", [None, b"", b"Exif\0\0", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"no EXIF at all", pictures.exif_entry(6)[:-6]]
)
def test_missing_or_broken_exif_counts_as_upright(exif: bytes | None) -> None:
    assert orientation.read(exif) == 1


def test_an_orientation_of_another_type_counts_as_upright() -> None:
    assert orientation.read(pictures.exif_entry(6, type_=4)) == 1


@pytest.mark.parametrize("value", range(1, 9))
def test_a_turned_picture_has_the_turned_size(value: int) -> None:
    image = pictures.scene(96, 64)
    assert orientation.turn(image, value).size == orientation.turned((96, 64), value)
