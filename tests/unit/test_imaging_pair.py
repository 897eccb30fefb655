"""What the intake is told about an image and its mask."""

import hashlib
import io
import pickle
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pillow_heif
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cleanplate.imaging.composite import finish
from cleanplate.imaging.faults import IMAGE_FAULTS, RESULT_FAULTS, WARNINGS, ImageFault
from cleanplate.imaging.formats import OutputFormat
from cleanplate.imaging.pair import Pair, check
from tests import pictures
from tests.pictures import MASK

LIMIT = 100_000


def checked(image: bytes, mask: bytes | None = None, *, invert: bool = False, to: OutputFormat = "png") -> Pair:
    mask = pictures.encoded(pictures.mask_image()) if mask is None else mask
    return check(image, mask, max_pixels=LIMIT, mask_invert=invert, output_format=to)


def fault(image: bytes, mask: bytes | None = None, *, to: OutputFormat = "png") -> ImageFault:
    with pytest.raises(ImageFault) as caught:
        checked(image, mask, to=to)
    assert caught.value.title
    assert caught.value.detail.endswith((".", ")"))
    return caught.value


def codes(pair: Pair) -> list[str]:
    return [text.split(":")[0] for text in pair.warnings]


def heic(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **options)
    return file.getvalue()


PNG = pictures.encoded(pictures.scene())
JPEG = pictures.encoded(pictures.scene(), "JPEG")
FILES = {
    "png": PNG,
    "jpeg": JPEG,
    "webp": pictures.encoded(pictures.scene(), "WEBP"),
    "avif": pictures.encoded(pictures.scene(), "AVIF"),
    "heic": heic(pictures.scene()),
}


@pytest.mark.parametrize("name", FILES)
def test_the_facts_are_those_of_the_uploaded_bytes(name: str) -> None:
    pair = checked(FILES[name])
    assert (pair.image.width, pair.image.height, pair.image.format) == (96, 64, name)
    assert pair.image.bytes == len(FILES[name])
    assert pair.image.sha256 == hashlib.sha256(FILES[name]).hexdigest()
    assert (pair.mask.width, pair.mask.height, pair.mask.format, pair.mask.bytes) == (96, 64, "png", len(MASK))
    assert pair.mask.sha256 == hashlib.sha256(MASK).hexdigest()
    assert pair.mask.coverage == pytest.approx(20 * 16 / (96 * 64))
    assert pair.warnings == ()


@pytest.mark.parametrize("name", pictures.PHOTOGRAPHS)
def test_real_photographs_pass_without_a_word(name: str) -> None:
    data = pictures.photograph(name)
    size = pictures.decoded(data).size
    pair = check(data, pictures.encoded(pictures.mask_image(size)), max_pixels=10**6)
    assert (pair.image.width, pair.image.height) == size
    assert pair.warnings == ()


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_corrupt(name: str) -> None:
    for data in (FILES[name][:-20], FILES[name][: len(FILES[name]) // 2]):
        assert fault(data).code == "image_corrupt"
        assert fault(PNG, data).code == "mask_corrupt"


def test_a_palette_picture_without_its_palette_is_corrupt() -> None:
    assert fault(pictures.png(8, 3, (96, 64), b"\0" * 97 * 64)).code == "image_corrupt"


def test_no_bytes_are_an_empty_file() -> None:
    assert fault(b"").extra == {"part": "image"}
    assert fault(PNG, b"").code == "empty_file"
    assert fault(PNG, b"").extra == {"part": "mask"}


GIF = pictures.encoded(pictures.scene(), "GIF")


@pytest.mark.parametrize(
    "data",
    [b"just text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", GIF, b"%PDF-1.7", b"\0\0\0\x18ftypisom\0\0\0\0isom"],
)
def test_what_is_no_picture_that_is_taken_is_an_unsupported_media_type(data: bytes) -> None:
    assert fault(data).code == "unsupported_media_type"
    assert fault(data).status == 415


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    bomb = pictures.png(8, 2, (20_000, 20_000), b"")
    found = fault(bomb)
    assert (found.code, found.status) == ("image_too_large", 413)
    assert found.extra == {"part": "image", "width": 20_000, "height": 20_000, "max_pixels": LIMIT}
    assert fault(PNG, bomb).extra["part"] == "mask"


def test_a_webp_canvas_beyond_all_limits_is_refused() -> None:
    header = b"VP8X" + (10).to_bytes(4, "little") + b"\0" * 4 + (16382).to_bytes(3, "little") * 2
    data = b"RIFF" + (len(header) + 4).to_bytes(4, "little") + b"WEBP" + header
    assert fault(data).code == "image_too_large"


def test_exactly_as_many_pixels_as_are_taken_pass() -> None:
    assert check(PNG, MASK, max_pixels=96 * 64)
    with pytest.raises(ImageFault, match="image_too_large"):
        check(PNG, MASK, max_pixels=96 * 64 - 1)


def test_metadata_that_unpacks_to_much_is_refused() -> None:
    bomb = pictures.with_chunk(PNG, b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * (2 << 20)))
    assert fault(bomb).code == "metadata_too_large"
    assert fault(bomb).status == 413


def test_a_profile_that_no_png_could_carry_is_refused() -> None:
    profile = b"x" * ((1 << 20) + 1)
    assert fault(pictures.encoded(pictures.scene(), "JPEG", icc_profile=profile)).code == "metadata_too_large"
    cmyk = pictures.encoded(pictures.scene(mode="CMYK"), "JPEG", icc_profile=profile)
    assert codes(checked(cmyk)) == ["cmyk_converted"]


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "AVIF"])
def test_an_animation_is_refused(format_: str) -> None:
    frames = [pictures.scene(seed=seed) for seed in (1, 2)]
    data = pictures.encoded(frames[0], format_, save_all=True, append_images=frames[1:], duration=100)
    assert fault(data).code == "animated_unsupported"


def test_a_heif_sequence_is_an_animation() -> None:
    assert fault(FILES["heic"].replace(b"ftypheic", b"ftyphevc")).code == "animated_unsupported"


def test_a_phones_two_pictures_in_one_jpeg_are_its_first() -> None:
    first, second = pictures.scene(seed=1), pictures.scene(40, 30, seed=2)
    pair = checked(pictures.encoded(first, "MPO", save_all=True, append_images=[second]))
    assert (pair.image.width, pair.image.height, pair.image.format) == (96, 64, "jpeg")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_a_turned_photograph_counts_as_it_is_displayed(format_: str) -> None:
    image = pictures.scene()
    turned = (
        heic(image, exif=pictures.exif(6))
        if format_ == "HEIF"
        else pictures.encoded(image, format_, exif=pictures.exif(6))
    )
    upright = pictures.encoded(pictures.mask_image((64, 96)))
    pair = checked(turned, upright)
    assert (pair.image.width, pair.image.height) == (64, 96)
    assert pair.warnings == ()


def test_orientation_in_xmp_is_not_followed_as_browsers_do_not() -> None:
    xmp = b"<x:xmpmeta><rdf:Description tiff:Orientation='6' tiff:Orientation=\"6\"/></x:xmpmeta>"
    pair = checked(pictures.encoded(pictures.scene(), "JPEG", xmp=xmp))
    assert (pair.image.width, pair.image.height) == (96, 64)


def test_broken_exif_does_not_spoil_a_good_photograph() -> None:
    data = pictures.encoded(pictures.scene(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xffbroken")
    assert checked(data).image.width == 96


@pytest.mark.parametrize("size", [(97, 64), (96, 63), (48, 32), (63, 96)])
def test_a_mask_off_by_a_pixel_is_refused_with_both_sizes(size: tuple[int, int]) -> None:
    found = fault(PNG, pictures.encoded(pictures.mask_image(size)))
    assert found.code == "mask_size_mismatch"
    assert found.extra == {"image": {"width": 96, "height": 64}, "mask": {"width": size[0], "height": size[1]}}
    assert "96 x 64" in found.detail


def test_an_image_that_no_file_of_the_wanted_format_can_hold_is_refused_before_it_is_paid() -> None:
    wide = pictures.encoded(pictures.scene(17_000, 4))
    mask = pictures.encoded(pictures.mask_image((17_000, 4), (5, 0, 9, 2)))
    assert fault(wide, mask, to="webp").extra["max_side"] == 16_383
    assert checked(wide, mask, to="png").image.width == 17_000


def test_a_cmyk_photograph_is_taken_with_a_warning() -> None:
    assert codes(checked(pictures.encoded(pictures.scene(mode="CMYK"), "JPEG"))) == ["cmyk_converted"]


def test_a_deep_photograph_is_taken_with_a_warning() -> None:
    rows = b"".join(b"\0" + np.full((96, 3), row << 10, ">u2").tobytes() for row in range(64))
    assert codes(checked(pictures.png(16, 2, (96, 64), rows))) == ["depth_reduced"]


def test_transparency_is_lost_in_a_jpeg_and_the_pair_says_so() -> None:
    image = pictures.scene(mode="RGBA")
    image.putalpha(pictures.mask_image())
    data = pictures.encoded(image)
    assert codes(checked(data, to="jpeg")) == ["alpha_flattened"]
    assert codes(checked(data, to="webp")) == []


def test_a_fault_survives_pickling_because_processes_hand_it_on() -> None:
    found = fault(PNG, pictures.encoded(pictures.mask_image((97, 64))))
    again = pickle.loads(pickle.dumps(found))
    assert (again.code, again.detail, again.extra, again.status) == (
        found.code,
        found.detail,
        found.extra,
        found.status,
    )


def test_every_code_has_its_own_title() -> None:
    titles = [kind.title for kind in IMAGE_FAULTS.values()] + [*RESULT_FAULTS.values(), *WARNINGS.values()]
    assert len(set(titles)) == len(titles)
    assert not set(IMAGE_FAULTS) & set(RESULT_FAULTS)


def test_many_threads_find_what_one_finds() -> None:
    profiled = pictures.encoded(pictures.scene(), "JPEG", icc_profile=pictures.rgb_profile())
    files = [*FILES.values(), profiled] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(checked, files)) == [checked(data) for data in files]


MAGICS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x20\0\0\0WEBPVP8X",
    b"\0\0\0\x1cftypavif",
    b"\0\0\0\x1cftypheic",
]


@given(st.sampled_from(MAGICS), st.binary(max_size=200))
@settings(max_examples=150)
@example(b"\x89PNG\r\n\x1a\n", b"")
def test_any_bytes_end_in_facts_or_a_fault(magic: bytes, data: bytes) -> None:
    for image, mask in ((magic + data, MASK), (PNG, magic + data)):
        with pytest.raises(ImageFault) as caught:
            checked(image, mask)
        assert caught.value.code in IMAGE_FAULTS


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(FILES[draw(st.sampled_from(sorted(FILES)))])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(1, len(data) * 2))])


def outcome(image: bytes, mask: bytes) -> Pair | ImageFault:
    try:
        return checked(image, mask)
    except ImageFault as found:
        return found


@given(damaged())
@settings(max_examples=300)
def test_damaged_files_end_in_facts_or_a_fault_and_what_has_facts_can_be_worked_on(data: bytes) -> None:
    for image, mask in ((data, MASK), (PNG, data)):
        end = outcome(image, mask)
        if isinstance(end, Pair):
            result = pictures.encoded(pictures.scene(end.image.width, end.image.height))
            assert pictures.decoded(end.sent.image)
            assert pictures.decoded(finish(image, mask, result, dilate_pixels=3).data)
        else:
            assert end.code in IMAGE_FAULTS
