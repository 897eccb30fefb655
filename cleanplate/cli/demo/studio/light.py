"""Softbox light: a key from the left, a strip from the right, a bright ceiling, and a floor that gives light back."""

import cv2
import numpy as np
from numpy.typing import NDArray

from cleanplate.cli.demo.studio.scene import Camera, Decal, Material, Scene, Solid, paint
from cleanplate.cli.demo.studio.shapes import Floats, column, dot, length, put, sampled

CHUNK = 65536  # points at once: fewer, and NumPy's cost of a call tells; more, and the processor's cache is too small
_KEY = (-0.49, 0.72, 0.49)  # right, up, and towards the camera
_FILL = (0.85, 0.35, 0.4)
_WARM = column((1.04, 1.0, 0.95))
_COOL = column((0.94, 0.98, 1.06))
_UP = column((0, 1, 0))
_SRGB_TOE = 0.0031308
_FAINT = 0.003  # opacity below which a print does not show
_GRID = 3  # pixels between the points at which floor and wall are worked out
_HORIZON = -1e-3
_SWEEP = (1.5, 6.0)  # how far behind the product the wall begins and has taken over


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def develop(linear: Floats) -> Floats:
    """Return display RGB 0..1 of linear light, highlights rolled off and a little contrast added, as film does."""
    rolled = 1 - np.exp(-1.35 * np.maximum(linear, 0))
    shown = np.where(rolled < _SRGB_TOE, 12.92 * rolled, 1.055 * np.maximum(rolled, 1e-6) ** (1 / 2.4) - 0.055)
    return shown * (0.6 + shown * (1.2 - 0.8 * shown))


def _towards(camera: Camera, direction: tuple[float, float, float]) -> Floats:
    right, _, back = (column(v) for v in camera.frame())
    level = back * column((1, 0, 1))
    return right * direction[0] + _UP * direction[1] + level / length(*level) * direction[2]


def shadow(solid: Solid, camera: Camera, p: Floats, *, spread: float, steps: int) -> Floats:
    """Return the share of the key light that passes the solid to each point; a small ``spread`` is a large lamp."""
    key = _towards(camera, _KEY)
    offset = column(solid.centre) - p
    along = dot(offset, key)
    aside = length(*(offset - key * along))
    passed = np.ones(p.shape[1], np.float32)
    index = np.flatnonzero((aside < solid.radius + np.maximum(along, 0) / spread) & (along > -solid.radius))
    q, along = p.take(index, axis=1), along[index]
    t, far = np.maximum(along - solid.radius * 1.3, 0.025), along + solid.radius
    least = np.ones(len(index), np.float32)
    for _ in range(steps if len(index) else 0):
        d = solid.distance(q + key * t)
        least = np.minimum(least, np.where(t < far, spread * d / t, 1))
        t = t + np.clip(d, 0.02, 0.25)
    passed[index] = smoothstep(-0.3, 1, np.clip(least, -0.3, 1))
    return passed


def _openness(solid: Solid, p: Floats, normal: Floats) -> Floats:
    """Return how open the surroundings are to ambient light, less in a crevice."""
    closed = np.zeros(p.shape[1], np.float32)
    for height, weight in ((0.03, 6), (0.1, 2.4), (0.3, 1)):
        closed += (height - np.minimum(solid.distance(p + normal * height), height)) * weight
    openness: Floats = np.clip(1 - 0.9 * closed, 0.12, 1)
    return openness


def reaching(scene: Scene, solid: Solid, p: Floats, normal: Floats) -> Floats:
    """Return as (3, n) what passes the solid itself of the key and of the ambient light, and how the clutter dims both.

    Where the key does not shine anyway, the clutter's shadow dims nothing.
    """
    out = np.ones((3, p.shape[1]), np.float32)
    lifted, lambert = p + normal * 0.012, np.clip(dot(normal, _towards(scene.camera, _KEY)), 0, 1)
    lit = np.flatnonzero(lambert)
    out[0, lit] = shadow(solid, scene.camera, lifted.take(lit, axis=1), spread=7, steps=11)
    out[1] = _openness(solid, p, normal)
    out[1] *= 0.45 + 0.55 * smoothstep(-0.1, 0.7, p[1] - 0.6 * np.minimum(normal[1], 0))
    if scene.clutter is not None and solid is not scene.clutter:
        past = shadow(scene.clutter, scene.camera, lifted, spread=6, steps=12)
        out[2] = 1 - 0.7 * np.maximum(out[0] - past, 0) * np.minimum(1, 2 * lambert)
    return out


def _lamps(camera: Camera, ray: Floats, roughness: float) -> Floats:
    """Return what a ray that leaves the set sees of the lamps; a rough surface sees them blurred."""
    soft = 0.06 + 0.9 * roughness
    right, up, back = (row @ ray for row in camera.frame())
    ceiling = 0.16 + 0.5 * smoothstep(-0.1, 1.0, up) * (1 + 0.3 * back)

    def panel(x: Floats, y: Floats, z: Floats, half: tuple[float, float]) -> Floats:
        ahead = np.maximum(z, 0.05)
        wide = smoothstep(half[0] + soft, half[0] - soft, np.abs(x / ahead))
        return wide * smoothstep(half[1] + soft, half[1] - soft, np.abs(y / ahead)) * (z > 0)

    key = panel(back - 0.35, up - 0.55, -right, (0.45, 0.5))
    strip = panel(back + 0.1, up - 0.35, right, (0.13, 0.8))
    blur = 1 / (1 + 5 * roughness)
    seen: Floats = _WARM * (ceiling + 3.4 * blur * key) + _COOL * (2.2 * blur * strip)
    return seen


class Surface:
    """Visible points of a solid and the light that reaches them; all arrays hold a column a point."""

    def __init__(self, scene: Scene, solid: Solid, p: Floats, rays: Floats, normal: Floats, light: Floats) -> None:
        key, fill = _towards(scene.camera, _KEY), _towards(scene.camera, _FILL)
        self._camera, self._solid, self._p, self._normal = scene.camera, solid, p, normal
        self._lambert = np.clip(dot(normal, key), 0, 1) * light[0]
        self._openness = light[1]
        self._bounce = column(scene.paper)
        above = 0.5 + 0.5 * normal[1]
        ambient = 0.5 * above * _COOL + 0.42 * (1 - above) * self._bounce
        side = 0.22 * np.clip(dot(normal, fill), 0, 1) * _COOL
        self._diffuse = 1.25 * self._lambert * _WARM + (ambient + side) * self._openness
        self._cosine = np.clip(-dot(normal, rays), 0, 1)
        self._mirror = rays + 2 * self._cosine * normal

    def seen(self) -> Floats:
        """Return the linear light from the solid to the camera."""
        out = np.empty(self._p.shape, np.float32)
        parts = self._solid.nearest_part(self._p)
        for number, (_, material) in enumerate(self._solid.parts):
            index = np.flatnonzero(parts == number)
            if len(index):
                put(out, index, self._shaded(paint(material.albedo, self._p.take(index, axis=1)), index, material))
        for decal in self._solid.decals:
            self.lay(decal, out)
        return out

    def lay(self, decal: Decal, picture: Floats) -> Floats:
        """Lay a decal over the light of ``seen``, in place, and return how far it covers each point."""
        colour, opacity = decal.sample(self._p, self._normal)
        index = np.flatnonzero(opacity > _FAINT)
        if len(index):
            print_ = self._shaded(colour.take(index, axis=1), index, Material((0, 0, 0), decal.roughness))
            below = picture.take(index, axis=1)
            put(picture, index, below + (print_ - below) * opacity[index])
        return opacity

    def _shaded(self, albedo: Floats, index: NDArray[np.intp], material: Material) -> Floats:
        ray, rough = self._mirror.take(index, axis=1), material.roughness
        fresnel = (1 - self._cosine[index]) ** 5 * (1 - rough) ** 2
        floor = smoothstep(0.05 + rough, -0.05 - rough, ray[1])
        room = _lamps(self._camera, ray, rough) * (1 - floor) + 0.5 * self._bounce * floor
        room *= (0.3 + 0.7 * self._openness[index]) * (0.55 + 0.45 * np.minimum(1, self._lambert[index] * 3 + 0.4))
        if material.metal:
            return np.asarray((albedo + (1 - albedo) * fresnel) * room * 1.2)
        mirrored = material.reflectance + (1 - material.reflectance) * fresnel
        return np.asarray(
            albedo * (self._diffuse.take(index, axis=1) * (1 - mirrored) + material.glow) + room * mirrored
        )


class Surroundings:
    """Floor and wall as the camera sees them, on a coarse grid, because all of it changes slowly."""

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        rows, columns = -(-height // _GRID) + 2, -(-width // _GRID) + 2
        y, x = np.divmod(np.arange(rows * columns, dtype=np.float32), columns)
        table = _surroundings(scene, scene.camera.rays(x * _GRID, y * _GRID, width, height))
        self._table = cv2.GaussianBlur(table.T.reshape(rows, columns, 4), (0, 0), 0.7)

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return linear light (3, n) at points of the picture, and by how much the clutter dims it."""
        seen = sampled(self._table, x / _GRID, y / _GRID).T
        return seen[:3].copy(), seen[3].copy()


def _surroundings(scene: Scene, rays: Floats) -> Floats:
    camera, product = scene.camera, scene.product
    right, up, _ = camera.frame()
    spot = np.exp(-((right @ rays * 3.2) ** 2 + ((up @ rays - 0.05) * 3.6) ** 2))
    p = floor_points(camera.position(), rays)
    rise = np.where(rays[1] < _HORIZON, smoothstep(*_SWEEP, -dot(_towards(camera, (0, 0, 1)), p)), 1)
    pool = np.exp(-((p[0] + 0.4) ** 2 + (p[2] - 0.2) ** 2) / 30)
    past, lamp = shadow(product, camera, p, spread=4, steps=22), 0.62 * (0.55 + 0.45 * pool)
    ambient = 0.42 * _openness(product, p, _UP)
    out = np.ones((4, rays.shape[1]), np.float32)
    floor, wall = lamp * past * _WARM + ambient, 0.42 + 0.75 * spot
    out[:3] = column(scene.paper) * (floor * (1 - rise) + wall * rise)
    if scene.clutter is not None:
        past_both = np.minimum(past, shadow(scene.clutter, camera, p, spread=6, steps=22))
        out[3] = 1 - (1 - (lamp * past_both + ambient) / (lamp * past + ambient)) * (1 - rise)
    return out


def floor_points(eye: Floats, rays: Floats) -> Floats:
    """Return where rays meet the floor; those that do not are sent far off."""
    return np.asarray(eye - rays * (eye[1] / np.minimum(rays[1], _HORIZON)), np.float32)
