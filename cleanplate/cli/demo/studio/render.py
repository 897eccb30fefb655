"""Photographs of a scene with and without what is to be erased, by marching rays through distance fields."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cleanplate.cli.demo.studio import light
from cleanplate.cli.demo.studio.scene import Camera, Scene, Solid
from cleanplate.cli.demo.studio.shapes import Floats, column, dot, length, put, sampled

_NEAR = 1e-3  # a hit: about half a pixel
_STEPS = 48
_SIEVE = 3  # steps between two looks at which rays have arrived
_SLACK = 0.03  # how much nearer than its neighbours a point may be
_BLOCK = 8  # pixels that share a start of their rays
_DETAIL = 0.03  # curvature of brightness from which on the half-sized picture does not do
_CONTRAST = 0.13  # of neighbours, from which on a pixel is an average of several samples
_BESIDE = ((0.33, 0.1), (-0.25, 0.3), (-0.08, -0.36))  # with the middle, the samples of an edge pixel
_DIM = 0.985  # light left of all, from which on a shadow shows
_AROUND = np.ones((3, 3), np.uint8)
_CHANNELS = 12  # clean RGB, cluttered RGB, touched, product, and where it is hit: distance and the light (3) there


@dataclass(frozen=True, eq=False)
class Plate:
    """Float images of one size: ``clean`` and ``cluttered`` in display RGB 0..1, shares of a pixel in the others."""

    clean: Floats
    cluttered: Floats
    touched: Floats
    product: Floats


def render(scene: Scene, width: int, height: int) -> Plate:
    """Take a picture of even width and height at half its size, then its detail in full, then its edges finer."""
    shot = _Shot(scene, width, height)
    rows, columns = height // 2, width // 2
    y, x = np.divmod(np.arange(rows * columns, dtype=np.float32), columns)
    coarse = shot.samples(2 * x + 1, 2 * y + 1).reshape(_CHANNELS, rows, columns)
    shot.learn(coarse)
    image = np.empty((8, height, width), np.float32)
    for plane, finer in zip(coarse[:8], image, strict=True):
        cv2.resize(plane, (width, height), dst=finer)
    detail = cv2.dilate(np.abs(cv2.Laplacian(_brightness(coarse), cv2.CV_32F)), _AROUND) > _DETAIL
    x, y = _middles(np.repeat(np.repeat(detail, 2, axis=0), 2, axis=1))
    _set(image, x, y, shot.samples(x, y)[:8])
    bright = _brightness(image)
    x, y = _middles(cv2.dilate(bright, _AROUND) - cv2.erode(bright, _AROUND) > _CONTRAST)
    total = image[:, y.astype(np.intp), x.astype(np.intp)]
    for dx, dy in _BESIDE:
        total += shot.samples(x + dx, y + dy)[:8]
    _set(image, x, y, total / (len(_BESIDE) + 1))
    return Plate(cv2.merge(list(image[:3])), cv2.merge(list(image[3:6])), image[6], image[7])


def _brightness(image: Floats) -> Floats:
    both: Floats = image[1] + image[4]
    return both


def _middles(where: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    y, x = np.nonzero(where)
    return x.astype(np.float32) + np.float32(0.5), y.astype(np.float32) + np.float32(0.5)


def _set(image: Floats, x: Floats, y: Floats, values: Floats) -> None:
    index = y.astype(np.intp) * image.shape[2] + x.astype(np.intp)
    put(image.reshape(len(image), -1), index, values)


class _Shot:
    """One scene at one size, with what is worked out once for all its rays."""

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        self._scene, self._size = scene, (width, height)
        self._eye = scene.camera.position()
        self._surroundings = light.Surroundings(scene, width, height)
        self._starts = [
            _starts(s, scene.camera, width, height) for s in (scene.product, scene.clutter) if s is not None
        ]
        self._light: Floats | None = None
        self._nearest: Floats | None = None

    def learn(self, coarse: Floats) -> None:
        """Take from a half-sized picture what finer samples then know: how far off and how lit the product is."""
        hit = coarse[7, ..., None]
        total = cv2.blur(cv2.merge(list(coarse[9:])) * hit, (3, 3))
        self._light = total / np.maximum(cv2.blur(hit, (3, 3)), 1e-3)[..., None]
        self._nearest = cv2.erode(coarse[8], _AROUND, borderType=cv2.BORDER_REPLICATE) - _SLACK

    def samples(self, x: Floats, y: Floats) -> Floats:
        """Return the channels (12, n) seen at the points ``x``, ``y`` of the picture."""
        blocks = (y.astype(np.int32) // _BLOCK, x.astype(np.int32) // _BLOCK)
        starts = [s[blocks] for s in self._starts]
        if self._nearest is not None:
            starts[0] = np.maximum(starts[0], self._nearest[y.astype(np.int32) // 2, x.astype(np.int32) // 2])
        empty = np.isinf(np.minimum.reduce(starts))
        out = np.empty((_CHANNELS, len(x)), np.float32)
        for index in (np.flatnonzero(~empty), np.flatnonzero(empty)):
            for part in (index[i : i + light.CHUNK] for i in range(0, len(index), light.CHUNK)):
                put(out, part, self._look(x[part], y[part], [s[part] for s in starts]))
        return out

    def _look(self, x: Floats, y: Floats, starts: list[Floats]) -> Floats:
        scene, eye = self._scene, self._eye
        rays = scene.camera.rays(x, y, *self._size)
        clean, dimmed = self._surroundings.at(x, y)
        t = march(scene.product, eye, rays, starts[0])
        floor_t = length(*(light.floor_points(eye, rays) - eye))
        hit = np.flatnonzero(t < floor_t)
        out = np.zeros((_CHANNELS, len(x)), np.float32)
        ray = rays.take(hit, axis=1)
        p = eye + ray * t[hit]
        normal = scene.product.normal(p)
        reaching = (
            light.reaching(scene, scene.product, p, normal)
            if self._light is None
            else sampled(self._light, x[hit] / 2 - 0.5, y[hit] / 2 - 0.5).T
        )
        surface = light.Surface(scene, scene.product, p, ray, normal, reaching)
        seen = surface.seen()
        put(clean, hit, seen)
        dimmed[hit] = reaching[2]
        for decal in scene.stickers:
            out[6, hit] = np.maximum(out[6, hit], surface.lay(decal, seen))
        cluttered = clean.copy()
        put(cluttered, hit, seen)
        cluttered *= dimmed
        out[6] = np.maximum(out[6], dimmed < _DIM)
        if scene.clutter is not None:
            clutter_t = march(scene.clutter, eye, rays, starts[1])
            self._put_before(cluttered, out[6], rays, clutter_t, np.minimum(t, floor_t))
        out[:3] = out[3:6] = light.develop(clean)
        changed = np.flatnonzero(out[6])
        put(out[3:6], changed, light.develop(cluttered.take(changed, axis=1)))
        out[7, hit], out[8] = 1, t
        put(out[9:], hit, reaching)
        return out

    def _put_before(self, picture: Floats, touched: Floats, rays: Floats, t: Floats, behind: Floats) -> None:
        """Draw the clutter in place where it is nearer than what is ``behind``."""
        clutter = self._scene.clutter
        front = np.flatnonzero(t < behind)
        if clutter is not None and len(front):
            ray = rays.take(front, axis=1)
            p = self._eye + ray * t[front]
            normal = clutter.normal(p)
            reaching = light.reaching(self._scene, clutter, p, normal)
            put(picture, front, light.Surface(self._scene, clutter, p, ray, normal, reaching).seen())
            touched[front] = 1


def march(solid: Solid, origin: Floats, rays: Floats, start: Floats) -> Floats:
    """Return how far along each unit ray the solid is first met, infinity where it is not; ``start`` is known free."""
    found = np.full(rays.shape[1], np.inf, np.float32)
    far = float(length(*(origin - column(solid.centre)))[0]) + solid.radius
    index = np.flatnonzero(np.isfinite(start))
    ray, t = rays.take(index, axis=1), start[index]
    for step in range(_STEPS):
        if not len(index):
            break
        d = solid.distance(origin + ray * t)
        t = t + d
        if (step + 1) % _SIEVE == 0:
            near = d < _NEAR
            found[index[near]] = t[near]
            going = np.flatnonzero(~near & (t < far))
            index, ray, t = index[going], ray.take(going, axis=1), t[going]
    return found


def _starts(solid: Solid, camera: Camera, width: int, height: int) -> Floats:
    """Return, for blocks of pixels, how far all their rays are free, infinity for those that miss the solid."""
    rows, columns = -(-height // _BLOCK) + 1, -(-width // _BLOCK) + 1
    y, x = np.divmod(np.arange(rows * columns, dtype=np.float32), columns)
    rays = camera.rays((x + 0.5) * _BLOCK, (y + 0.5) * _BLOCK, width, height)
    eye, cone = camera.position(), 0.75 * _BLOCK * camera.pixel(width, height)
    towards = column(solid.centre) - eye
    along = dot(towards, rays)
    miss = length(*(towards - rays * along)) > solid.radius + cone * along
    t = np.where(miss, np.inf, np.maximum(along - solid.radius, 0.1)).astype(np.float32)
    index, far = np.flatnonzero(~miss), camera.distance + 3 * solid.radius
    for _ in range(40):
        free = solid.distance(eye + rays.take(index, axis=1) * t[index]) - cone * t[index]
        t[index] += np.maximum(free, 0)
        t[index[t[index] > far]] = np.inf
        index = index[(free > cone) & np.isfinite(t[index])]
    return t.reshape(rows, columns)
