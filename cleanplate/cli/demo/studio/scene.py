"""What stands in the studio: solids of parts and materials, what is printed or stuck on them, the set, the camera."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from cleanplate.cli.demo.studio.shapes import Floats, Shape, Vector, column, length, sampled

Pattern = Callable[[Floats], Floats]  # (3, n) points to (3, n) linear RGB
Paint = Vector | Pattern

_FACING = 0.3  # cosine from which on a flat print lies on a surface
_DEEP = 0.06  # how far before or behind a flat print a surface may be
_UPRIGHT = 0.6  # rise of the normal up to which one bent round an upright ware does


def paint(colour: Paint, p: Floats) -> Floats:
    if callable(colour):
        return colour(p)
    return np.broadcast_to(column(colour), p.shape)


@dataclass(frozen=True, eq=False)
class Material:
    """How a surface answers light; ``reflectance`` is the share mirrored head-on, 0.04 for most that is no metal."""

    albedo: Paint
    roughness: float = 0.5
    reflectance: float = 0.04
    metal: bool = False
    glow: float = 0.0


@dataclass(frozen=True, eq=False)
class Decal:
    """A print laid on what faces it; its texture is height x width x 4, see ``paints.texture``."""

    texture: Floats
    centre: Vector
    width: float
    azimuth: float = 0.0  # degrees round y that it faces, 0 to the front
    elevation: float = 0.0  # degrees upwards that it faces
    roll: float = 0.0
    wrap: float | None = None  # radius, if it is bent round the y axis
    roughness: float = 0.6

    def sample(self, p: Floats, normal: Floats) -> tuple[Floats, Floats]:
        """Return colours (3, n) and opacities (n,) at the points ``p``."""
        right, up, out = self._frame()
        q = p - column(self.centre)
        across = right @ q
        if self.wrap is not None:
            axis_right, axis_out = right @ p, out @ p
            across = self.wrap * np.arctan2(axis_right, axis_out)
        along = up @ q
        cos, sin = math.cos(math.radians(self.roll)), math.sin(math.radians(self.roll))
        across, along = across * cos + along * sin, along * cos - across * sin
        rows, columns = self.texture.shape[:2]
        scale = columns / self.width
        u = (across * scale + (columns - 1) / 2).astype(np.float32)
        v = ((rows - 1) / 2 - along * scale).astype(np.float32)
        texel = sampled(self.texture, u, v).T
        facing = out @ normal > _FACING if self.wrap is None else np.abs(normal[1]) < _UPRIGHT
        near = np.abs(out @ q) < (_DEEP if self.wrap is None else 2 * self.wrap)
        return texel[:3] / np.maximum(texel[3], 1e-4), texel[3] * facing * near

    def _frame(self) -> Floats:
        a, e = np.radians(self.azimuth), np.radians(self.elevation)
        right = np.array([np.cos(a), 0, -np.sin(a)], np.float32)
        out = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], np.float32)
        return np.stack([right, np.cross(out, right), out]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Solid:
    """Parts and their materials; with an ``outline``, quicker to measure, they only tell which material is where."""

    parts: tuple[tuple[Shape, Material], ...]
    centre: Vector  # of a sphere round all parts
    radius: float
    decals: tuple[Decal, ...] = ()
    outline: Shape | None = None

    def distance(self, p: Floats) -> Floats:
        if self.outline is not None:
            return self.outline(p)
        return reduce(np.minimum, (shape(p) for shape, _ in self.parts))

    def nearest_part(self, p: Floats) -> NDArray[np.intp]:
        nearest: NDArray[np.intp] = np.stack([shape(p) for shape, _ in self.parts]).argmin(axis=0)
        return nearest

    def normal(self, p: Floats, step: float = 0.0015) -> Floats:
        gradient = np.zeros_like(p)
        for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
            gradient += column(corner) * self.distance(p + column(corner) * step)
        return gradient / (length(*gradient) + np.float32(1e-12))


@dataclass(frozen=True)
class Camera:
    """A long lens, so that verticals stay nearly upright; it looks down by ``elevation`` at ``target``."""

    target: Vector
    distance: float
    azimuth: float = 0.0
    elevation: float = 14.0
    view: float = 22.0  # degrees over the geometric mean of width and height

    def frame(self) -> Floats:
        """Return the rows right, up, back."""
        a, e = np.radians(self.azimuth), np.radians(self.elevation)
        right = np.array([np.cos(a), 0, -np.sin(a)])
        back = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
        return np.stack([right, np.cross(back, right), back]).astype(np.float32)

    def position(self) -> Floats:
        return column(self.target) + self.distance * column(self.frame()[2])

    def pixel(self, width: int, height: int) -> float:
        """Return the size of a pixel at unit distance."""
        return 2 * float(np.tan(np.radians(self.view / 2))) / float(np.sqrt(width * height))

    def rays(self, x: Floats, y: Floats, width: int, height: int) -> Floats:
        pixel = self.pixel(width, height)
        right, up, back = (column(v) for v in self.frame())
        ray = right * ((x - width / 2) * pixel) + up * ((height / 2 - y) * pixel) - back
        return (ray / length(*ray)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Scene:
    """A product on paper that sweeps up into a wall without an edge, and what should not have been there."""

    product: Solid
    camera: Camera
    paper: Vector
    clutter: Solid | None = None
    stickers: tuple[Decal, ...] = ()
