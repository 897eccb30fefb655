"""How a mask is read: white is erased, whatever kind of file says so."""

import numpy as np
import pytest
from PIL import Image

from cleanplate.imaging import mask as masks
from cleanplate.imaging.faults import ImageFault
from cleanplate.imaging.source import open_picture
from tests import pictures

IMAGE = open_picture(pictures.encoded(pictures.scene()))
PLAIN = pictures.mask_image()
WHITE = np.asarray(PLAIN) == 255


def read(image: Image.Image | bytes, *, invert: bool = False, **options: object) -> masks.Mask:
    data = image if isinstance(image, bytes) else pictures.encoded(image, **options)
    return masks.read(data, IMAGE, invert=invert)


def codes(mask: masks.Mask) -> list[str]:
    return [text.split(":")[0] for text in mask.warnings]


def fault(image: Image.Image) -> str:
    with pytest.raises(ImageFault) as caught:
        read(image)
    return caught.value.code


def marks(mask: masks.Mask) -> bool:
    """Tell whether the mask marks what ``PLAIN`` marks, in strict black and white."""
    return mask.image.mode == "L" and np.array_equal(np.asarray(mask.image), np.where(WHITE, 255, 0))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P", "CMYK"])
def test_a_mask_of_any_kind_is_read_by_value(mode: str) -> None:
    mask = read(PLAIN.convert(mode), format_="JPEG" if mode == "CMYK" else "PNG")
    assert marks(mask)
    assert mask.warnings == ()


def test_a_palette_is_read_by_value_and_not_by_index() -> None:
    palette = Image.fromarray(np.where(WHITE, 1, 7).astype(np.uint8)).convert("P")
    colours = [0] * 768
    colours[3:6] = [255, 255, 255]
    palette.putpalette(colours)
    assert marks(read(palette))


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    rows = b"".join(b"\0" + np.where(row, 40_000, 20_000).astype(">u2").tobytes() for row in WHITE)
    mask = read(pictures.png(16, 0, (96, 64), rows))
    assert marks(mask)
    assert codes(mask) == ["mask_grey"]


def test_values_from_128_on_are_white() -> None:
    assert marks(read(PLAIN.point([127] * 128 + [128] * 128)))


def test_a_soft_edge_is_split_in_the_middle_and_much_grey_is_told() -> None:
    grey = PLAIN.copy()
    grey.paste(100, (0, 0, 96, 2))
    assert marks(read(grey))
    assert codes(read(grey)) == ["mask_grey"]
    assert "3.1%" in read(grey).warnings[0]
    grey.paste(0, (0, 0, 96, 1))
    assert codes(read(grey)) == []


def test_a_jpeg_mask_is_taken_without_a_word() -> None:
    mask = read(PLAIN, format_="JPEG", quality=90)
    assert marks(mask)
    assert mask.warnings == ()
    assert mask.format == "jpeg"


def strokes(colour: int, ground: int) -> Image.Image:
    """Return opaque strokes of one colour on a transparent ground of another."""
    return Image.merge("LA", (Image.fromarray(np.where(WHITE, colour, ground).astype(np.uint8)), PLAIN))


@pytest.mark.parametrize(("colour", "ground"), [(255, 255), (0, 0), (255, 0), (0, 255), (90, 0)])
def test_where_only_transparency_says_something_opaque_is_erased(colour: int, ground: int) -> None:
    mask = read(strokes(colour, ground))
    assert marks(mask)
    assert "mask_from_alpha" in codes(mask)


def test_transparency_that_is_the_same_everywhere_says_nothing() -> None:
    image = PLAIN.convert("RGBA")
    image.putalpha(77)
    assert marks(read(image))
    assert codes(read(image)) == []


def test_colours_and_transparency_that_disagree_are_ambiguous() -> None:
    image = PLAIN.convert("RGBA")
    image.putalpha(pictures.mask_image(box=(0, 0, 48, 64)))
    assert fault(image) == "mask_ambiguous"


def test_a_mask_that_marks_nothing_or_everything_is_refused() -> None:
    assert fault(Image.new("L", (96, 64), 127)) == "mask_empty"
    assert fault(Image.new("L", (96, 64), 255)) == "mask_full"
    with pytest.raises(ImageFault, match="mask_full"):
        read(Image.new("L", (96, 64), 0), invert=True)


def test_one_marked_pixel_and_one_kept_pixel_are_enough() -> None:
    assert read(pictures.mask_image(box=(95, 63, 96, 64))).coverage == pytest.approx(1 / (96 * 64))
    almost = Image.new("L", (96, 64), 255)
    almost.putpixel((0, 0), 0)
    assert codes(read(almost)) == ["mask_probably_inverted"]


def test_a_mask_is_inverted_on_request_and_never_unasked() -> None:
    inverted = PLAIN.point([255 - value for value in range(256)])
    asked, unasked = read(inverted, invert=True), read(inverted)
    assert marks(asked)
    assert asked.warnings == ()
    assert not marks(unasked)
    assert codes(unasked) == ["mask_probably_inverted"]
    assert "mask_invert=true" in unasked.warnings[0]


TURNED = open_picture(pictures.encoded(pictures.scene(), "JPEG", exif=pictures.exif(6)))
UPRIGHT = PLAIN.transpose(Image.Transpose.ROTATE_270)


def on_turned(image: Image.Image, **options: object) -> masks.Mask:
    return masks.read(pictures.encoded(image, **options), TURNED)


def fits_turned(mask: masks.Mask) -> bool:
    return np.array_equal(np.asarray(mask.image), np.asarray(UPRIGHT)) and mask.warnings == ()


def test_a_mask_that_fits_the_image_as_displayed_is_taken() -> None:
    assert fits_turned(on_turned(UPRIGHT))


def test_a_mask_that_fits_only_the_stored_image_is_turned_as_it_is() -> None:
    assert fits_turned(on_turned(PLAIN))


def test_a_mask_with_an_orientation_of_its_own_is_turned_by_it() -> None:
    assert fits_turned(on_turned(PLAIN, exif=pictures.exif(6)))


def test_an_orientation_copied_onto_an_upright_mask_is_seen_through() -> None:
    assert fits_turned(on_turned(UPRIGHT, exif=pictures.exif(6)))


@pytest.mark.parametrize(("size", "value"), [((64, 64), 6), ((96, 64), 3), ((96, 64), 2)])
def test_where_the_size_cannot_tell_the_mask_is_taken_as_displayed_with_a_warning(
    size: tuple[int, int], value: int
) -> None:
    image = open_picture(pictures.encoded(pictures.scene(*size), "JPEG", exif=pictures.exif(value)))
    drawn = pictures.mask_image(size)
    mask = masks.read(pictures.encoded(drawn), image)
    assert codes(mask) == ["mask_orientation_assumed"]
    assert np.array_equal(np.asarray(mask.image), np.asarray(drawn))
    same = masks.read(pictures.encoded(drawn, exif=pictures.exif(value)), image)
    assert same.warnings == ()
