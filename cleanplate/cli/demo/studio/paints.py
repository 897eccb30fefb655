"""What surfaces are coloured with: noise, wood, weave, and prints drawn by Pillow. Colours are linear RGB."""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from cleanplate.cli.demo.studio.scene import Pattern
from cleanplate.cli.demo.studio.shapes import Floats, Vector, column, sampled

Pen = ImageDraw.ImageDraw
Drawing = Callable[[Pen], None]

_TILE = 512  # texels to a unit, after which noise and specks begin anew
_SOFT = 0.7  # pixels of blur, because Pillow's lines have jagged edges
_SRGB_TOE = 0.04045


def linear(srgb: Floats) -> Floats:
    """Return linear light of sRGB, both 0..1 (IEC 61966-2-1)."""
    return np.where(srgb < _SRGB_TOE, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def colour(name: str) -> Vector:
    """Return the linear RGB of a CSS colour."""
    red, green, blue = linear(np.asarray(ImageColor.getrgb(name)[:3], np.float32) / 255)
    return float(red), float(green), float(blue)


def mixed(a: Vector, b: Vector, share: Floats) -> Floats:
    """Return (3, n) colours between ``a`` (share 0 or less) and ``b`` (share 1 or more)."""
    blend: Floats = column(a) + (column(b) - column(a)) * np.clip(share, 0, 1)
    return blend


@cache
def _waves(octaves: int) -> Floats:
    rng = np.random.default_rng(octaves)
    total = np.zeros((_TILE, _TILE), np.float32)
    for octave in range(octaves):
        cells = 8 << octave
        coarse = np.pad(rng.standard_normal((cells, cells), np.float32), 2, mode="wrap")
        edge = 2 * _TILE // cells
        fine = cv2.resize(coarse, None, fx=_TILE / cells, fy=_TILE / cells, interpolation=cv2.INTER_CUBIC)
        total += fine[edge : edge + _TILE, edge : edge + _TILE] * 0.6**octave
    total /= total.std()
    return total


@cache
def _dots() -> Floats:
    rng, count = np.random.default_rng(1), 130
    tile = np.zeros((_TILE, _TILE), np.uint8)
    sixteenths = (rng.uniform(8, _TILE - 8, (count, 2)) * 16).astype(int)
    radii = (16 * np.minimum(rng.gamma(1.6, 0.55, count) + 0.5, 2.2)).astype(int)
    for (x, y), radius, shade in zip(sixteenths, radii, rng.uniform(90, 255, count), strict=True):
        cv2.circle(tile, (int(x), int(y)), int(radius), float(shade), cv2.FILLED, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(tile, (0, 0), 0.6).astype(np.float32) / 255


def _tiled(tile: Floats, u: Floats, v: Floats) -> Floats:
    return sampled(tile, np.mod(u, 1) * _TILE, np.mod(v, 1) * _TILE, cv2.BORDER_WRAP)


def noise(u: Floats, v: Floats, octaves: int = 5) -> Floats:
    """Return smooth noise of mean 0 and deviation 1; its largest lumps are an eighth of a unit wide."""
    return _tiled(_waves(octaves), u, v)


def specks(u: Floats, v: Floats) -> Floats:
    """Return scattered dots, 0..1, up to a hundredth of a unit wide."""
    return _tiled(_dots(), u, v)


def mottled(a: Vector, b: Vector, *, scale: float) -> Pattern:
    """Return a paint that wanders between two colours: card, clay, cloth."""
    return lambda p: mixed(a, b, 0.5 + 0.3 * noise((p[0] + 0.7 * p[2]) * scale, (p[1] + 0.6 * p[2]) * scale, 6))


def wood(light: Vector, dark: Vector) -> Pattern:
    """Return wood that grew along the x axis."""

    def grain(p: Floats) -> Floats:
        across = p[2] + p[1]
        rings = 0.5 + 0.5 * np.sin(across * 55 + 5 * noise(p[0] * 0.09, across * 0.5, 4))
        return mixed(light, dark, 0.25 + 0.35 * rings + 0.14 * noise(p[0] * 0.25, across * 4, 6))

    return grain


def weave(a: Vector, b: Vector, threads: int) -> Pattern:
    """Return a cloth with so many threads to a unit."""

    def cloth(p: Floats) -> Floats:
        u, v = (p[0] + 0.5 * p[2]) * (threads * np.float32(np.pi)), p[1] * (threads * np.float32(np.pi))
        over = np.abs(np.sin(u + v)) * np.abs(np.sin(u - v))
        return mixed(a, b, over + 0.12 * noise(p[0] * 3, p[1] * 3))

    return cloth


def printed(width: int, height: int, draw: Drawing, ground: str = "#0000") -> Floats:
    """Return a decal's texture, drawn by Pillow on a ground of one colour."""
    picture = Image.new("RGBA", (width, height), ground)
    draw(ImageDraw.Draw(picture))
    return cv2.GaussianBlur(texture(np.asarray(picture, np.float32) / 255), (0, 0), _SOFT)


def texture(rgba: Floats) -> Floats:
    """Return display RGBA as what decals hold: linear colour times opacity, and opacity."""
    opacity = rgba[..., 3:]
    return np.concatenate([linear(rgba[..., :3]) * opacity, opacity], axis=2)


def text(*lines: tuple[float, float, str, int, str]) -> Drawing:
    """Return a drawing of centred lines of text: x, y, words, size, colour."""

    def draw(pen: Pen) -> None:
        for x, y, words, size, ink in lines:
            pen.text((x, y), words, ink, ImageFont.load_default(size), anchor="mm")

    return draw
