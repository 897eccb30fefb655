"""What another library than Pillow's unpacks is what Pillow reads, and no damage passes."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from cleanplate.imaging.faults import ImageFault
from cleanplate.imaging.source import open_picture
from tests import pictures

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]
STRATEGIES = [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]
SIDES = st.integers(1, 300)


def read(data: bytes) -> Image.Image:
    source = open_picture(data)
    source.decode()
    return source.image


def read_by_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=["PNG"])


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(packed: bytes, width: int, height: int, *, pieces: int = 1, interlaced: bool = False) -> bytes:
    """Return a PNG, L, of rows that are packed already, cut into so many pieces and an empty one."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced))
    size = max(1, -(-len(packed) // pieces))
    parts = [packed[at : at + size] for at in range(0, len(packed), size)] + [b""]
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(b"IDAT", one) for one in parts) + chunk(b"IEND", b"")


@given(st.sampled_from(MODES), SIDES, SIDES, st.integers(0, 9), st.integers(0, 99))
@example("RGB", 300, 300, 0, 0)
def test_every_mode_is_read_as_pillow_reads_it(mode: str, width: int, height: int, level: int, seed: int) -> None:
    scene = pictures.scene(width, height, seed=seed)
    image = scene.convert("L").convert("I;16") if mode == "I;16" else scene.convert(mode)
    data = pictures.encoded(image, compress_level=level)
    ours, theirs = read(data), read_by_pillow(data)
    assert (ours.mode, ours.size, ours.info) == (theirs.mode, theirs.size, theirs.info)
    assert ours.tobytes() == theirs.tobytes()


@given(SIDES, SIDES, st.sampled_from(STRATEGIES), st.integers(9, 15), st.integers(1, 9), st.integers(0, 3))
@example(1, 65_534, zlib.Z_RLE, 15, 1, 0)
@example(65_534, 1, zlib.Z_FIXED, 9, 1, 0)
def test_every_way_to_pack_is_read_to_the_bit(
    width: int, height: int, strategy: int, window: int, pieces: int, flushes: int
) -> None:
    pixels = np.random.default_rng(width).integers(0, 1 << (height % 9), (height, width), np.uint8)
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()
    packer = zlib.compressobj(6, zlib.DEFLATED, window, 9, strategy)
    step = len(rows) // (flushes + 1) + 1
    packed = b"".join(
        packer.compress(rows[at : at + step]) + packer.flush(zlib.Z_FULL_FLUSH) for at in range(0, len(rows), step)
    )
    assert read(png(packed + packer.flush(), width, height, pieces=pieces)).tobytes() == pixels.tobytes()


def test_an_interlaced_picture_is_read() -> None:
    passes = bytes([0, 1, 0, 2, 0, 3, 4, 0, 5, 0, 6, 0, 7, 8, 9, 0, 10, 11, 12])  # with the filter before each row
    image = read(png(zlib.compress(passes), 3, 4, interlaced=True))
    assert np.asarray(image).tolist() == [[1, 5, 2], [7, 8, 9], [3, 6, 4], [10, 11, 12]]


ROWS = np.pad(np.random.default_rng(1).integers(0, 256, (100, 100), np.uint8), ((0, 0), (1, 0))).tobytes()
PACKED = zlib.compress(ROWS)


@pytest.mark.parametrize("kept", [0, 1, 2, 50, -50, -5, -4, -1])
def test_pixels_that_break_off_are_broken(kept: int) -> None:
    with pytest.raises(ImageFault):
        read(png(PACKED[:kept], 100, 100))


@pytest.mark.parametrize("pieces", [1, 2, len(PACKED)])
def test_a_checksum_that_is_wrong_is_noticed_wherever_it_stands(pieces: int) -> None:
    assert read(png(PACKED, 100, 100, pieces=pieces))
    with pytest.raises(ImageFault):
        read(png(PACKED[:-1] + bytes([PACKED[-1] ^ 1]), 100, 100, pieces=pieces))


@pytest.mark.parametrize("times", [2, 1000])
def test_rows_beyond_the_last_are_left_aside_as_other_readers_do(times: int) -> None:
    image = read(png(zlib.compress(ROWS * times), 100, 100))
    assert image.tobytes() == read(png(PACKED, 100, 100)).tobytes()


def test_damage_is_noticed_wherever_it_is_which_pillow_does_not_in_the_last_rows() -> None:
    scene = pictures.scene(40, 30)
    whole = pictures.encoded(scene)
    unnoticed = 0
    for at in range(whole.index(b"IDAT") + 4, whole.index(b"IEND") - 8):
        file = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with suppress(ImageFault):
            assert read(file).tobytes() == scene.tobytes()
        with suppress(OSError):
            unnoticed += read_by_pillow(file).tobytes() != scene.tobytes()
    assert unnoticed > 0


@given(st.data())
def test_what_is_damaged_breaks_or_reads_as_if_it_were_whole(data: st.DataObject) -> None:
    scene = pictures.scene(40, 30)
    file = bytearray(pictures.encoded(scene))
    begin, end = file.index(b"IDAT") + 4, file.index(b"IEND") - 8
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(begin, end - 1))] = data.draw(st.integers(0, 255))
    with suppress(ImageFault):
        assert read(bytes(file)).tobytes() == scene.tobytes()
