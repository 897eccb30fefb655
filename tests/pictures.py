"""Test pictures: made ones that a seed decides, and real photographs that scikit-image and scikit-learn ship."""

import io
import struct
import zlib
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageOps

Box = tuple[int, int, int, int]
PHOTOGRAPHS = {
    "china": ("sklearn.datasets.images", "china.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "astronaut": ("skimage.data", "astronaut.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "chelsea": ("skimage.data", "chelsea.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
}


def photograph(name: str) -> bytes:
    """Return a real photograph's file as it ships."""
    package, file = PHOTOGRAPHS[name]
    return (files(package) / file).read_bytes()


def scene(width: int = 96, height: int = 64, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Return a picture with slopes, edges and a little noise; no two pixels of it are alike on purpose."""
    noise = np.random.default_rng(seed).integers(0, 32, (height, width, 3))
    slope = np.linspace(0, 160, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
    pixels = np.clip(slope * np.array([1, 0.8, 0.6]) + noise, 0, 255).astype(np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (
        255 - pixels[height // 4 : height // 2, width // 4 : width // 2]
    )
    return Image.fromarray(pixels).convert(mode)


def mask_image(size: tuple[int, int] = (96, 64), box: Box = (20, 16, 40, 32)) -> Image.Image:
    """Return a mask, L, white in ``box`` (left, top, right, bottom; right and bottom are outside)."""
    image = Image.new("L", size, 0)
    left, top, right, bottom = box
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=255)
    return image


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    """Return the picture as a file; options as ``Image.save`` takes them."""
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def upright(data: bytes) -> Image.Image:
    """Return the file's picture as a browser shows it."""
    return ImageOps.exif_transpose(decoded(data))


def decoded(data: bytes) -> Image.Image:
    """Return the file's picture, decoded wholly."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def redrawn(image: Image.Image, *, seed: int = 1, amount: int = 3) -> Image.Image:
    """Return the picture as a diffusion model does: everywhere moved a little."""
    pixels = np.asarray(image.convert("RGB"), np.int16)
    noise = np.random.default_rng(seed).integers(-amount, amount + 1, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def exif(orientation: int = 1, *, gps: bool = False) -> bytes:
    """Return EXIF bytes with an orientation and, on request, a position."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    if gps:
        tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return tags.tobytes()


def exif_entry(orientation: int, *, order: str = "little", type_: int = 3) -> bytes:
    """Return EXIF bytes that are nothing but an orientation, which may be none that EXIF knows."""
    sign, magic = ("<", b"II*\0") if order == "little" else (">", b"MM\0*")
    return b"Exif\0\0" + magic + struct.pack(f"{sign}IHHHIHH", 8, 1, 0x0112, type_, 1, orientation, 0)


def png(depth: int, colour_type: int, size: tuple[int, int], rows: bytes, *extra: bytes) -> bytes:
    """Return a PNG of any kind, made by hand: unfiltered rows, each after its zero byte; ``extra`` before the data."""
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    data = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(data)


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunk(data: bytes, name: bytes, body: bytes) -> bytes:
    """Return the PNG with a chunk more, right after its header."""
    return data[:33] + chunk(name, body) + data[33:]


DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""XYZ of its red, green and blue, adapted to D50, as in the ICC's own profile."""


def srgb_profile() -> bytes:
    """Return sRGB's ICC profile as Little CMS makes it."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def rgb_profile() -> bytes:
    """Return an ICC profile with the primaries of Display P3 and a gamma of 2.2."""
    tags = {name: _xyz(*value) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), DISPLAY_P3, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(2.2))
    return _profile(b"RGB ", tags)


def grey_profile(gamma: float = 1.5) -> bytes:
    """Return an ICC profile for grey pictures."""
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _description(), b"wtpt": _xyz(0.9642, 1.0, 0.8249), **tags}
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + _s15(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _description() -> bytes:
    return b"desc" + struct.pack(">II", 0, 5) + b"test\0" + b"\0" * 78


def _xyz(*values: float) -> bytes:
    return b"XYZ " + b"\0" * 4 + _s15(*values)


def _curve(gamma: float) -> bytes:
    return b"curv" + b"\0" * 4 + struct.pack(">IH", 1, round(gamma * 256))


def _s15(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


IMAGE = encoded(scene(), "JPEG")
"""A photograph for those who do not look at it."""
MASK = encoded(mask_image())
"""A mask for it."""
BAD_MASK = encoded(mask_image((97, 64)))
"""A mask that is a pixel too wide for it."""
