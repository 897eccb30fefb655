"""Shapes as signed distance fields: (3, n) points to (n,) distances, negative inside.

The formulas are Inigo Quilez's, "Distance functions" (iquilezles.org). Lengths are in units of about one product;
y is up and the floor is y = 0.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32 throughout
Shape = Callable[[Floats], Floats]
Vector = tuple[float, float, float]

_ROW = 32766  # points that OpenCV takes at once
_CELLS = 320  # of a table along its longer side
_MARGIN = 0.25  # round the line in its table


def column(vector: Sequence[float] | Floats) -> Floats:
    return np.asarray(vector, np.float32).reshape(3, 1)


def put(target: Floats, index: NDArray[np.intp], values: Floats) -> None:
    """Set the columns ``index`` of ``target``: row by row, which is several times as quick as all at once."""
    for row, value in zip(target, values, strict=True):
        row[index] = value


def dot(a: Floats, b: Floats) -> Floats:
    total: Floats = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return total


def length(x: Floats, y: Floats, z: Floats | None = None) -> Floats:
    square: Floats = x * x
    square += y * y
    if z is not None:
        square += z * z
    np.sqrt(square, out=square)
    return square


def sampled(table: Floats, u: Floats, v: Floats, border: int = cv2.BORDER_CONSTANT) -> Floats:
    """Read ``table`` bilinearly at columns ``u`` and rows ``v``, one value or vector a point."""
    shape = (*u.shape, *table.shape[2:])
    values = np.empty((u.size, math.prod(table.shape[2:])), np.float32)
    u, v = u.reshape(1, -1), v.reshape(1, -1)
    for i in range(0, u.size, _ROW):
        part = slice(i, i + _ROW)
        read = cv2.remap(table, u[:, part], v[:, part], cv2.INTER_LINEAR, borderMode=border)
        values[part] = read.reshape(-1, values.shape[1])
    return values.reshape(shape)


def ellipsoid(radii: Vector, centre: Vector = (0, 0, 0)) -> Shape:
    scale, middle = 1 / column(radii), column(centre)

    def distance(p: Floats) -> Floats:
        unit = (p - middle) * scale
        inner, slope = length(*unit), length(*(unit * scale))
        apart: Floats = inner * (inner - 1) / (slope + np.float32(1e-6))
        return apart

    return distance


def box(half: Vector, centre: Vector = (0, 0, 0), radius: float = 0.0) -> Shape:
    inner, middle = column(half) - radius, column(centre)

    def distance(p: Floats) -> Floats:
        q = p - middle
        np.abs(q, out=q)
        q -= inner
        within = np.minimum(np.maximum(np.maximum(q[0], q[1]), q[2]), 0)
        np.maximum(q, 0, out=q)
        apart: Floats = length(*q) + within - radius
        return apart

    return distance


def disc(radius: float, half_height: float, centre: Vector = (0, 0, 0), rounding: float = 0.0, axis: int = 1) -> Shape:
    """Return a cylinder whose axis is x, y or z (0, 1, 2)."""
    middle = column(centre)
    first, second = (i for i in range(3) if i != axis)

    def distance(p: Floats) -> Floats:
        q = p - middle
        radial = length(q[first], q[second]) - (radius - rounding)
        along = np.abs(q[axis]) - (half_height - rounding)
        outside = length(np.maximum(radial, 0), np.maximum(along, 0))
        inside = np.minimum(np.maximum(radial, along), 0)
        apart: Floats = outside + inside - rounding
        return apart

    return distance


def half_space(axis: int, edge: float) -> Shape:
    """Return all that lies beyond ``edge`` along the axis x, y or z (0, 1, 2)."""
    return lambda p: edge - p[axis]


def torus(ring: float, tube_radius: float, centre: Vector = (0, 0, 0), axis: int = 1) -> Shape:
    middle = column(centre)
    first, second = (i for i in range(3) if i != axis)

    def distance(p: Floats) -> Floats:
        q = p - middle
        return length(length(q[first], q[second]) - ring, q[axis]) - tube_radius

    return distance


def capsule(start: Vector, end: Vector, radius: float) -> Shape:
    """Return a rod with round ends."""
    foot, along = column(start), column(end) - column(start)
    norm = float(dot(along, along)[0])

    def distance(p: Floats) -> Floats:
        q = p - foot
        q -= along * np.clip(dot(q, along) / norm, 0, 1)
        return length(*q) - radius

    return distance


def line(points: str, *, smooth: int = 0, closed: bool = False) -> Floats:
    """Return the points (n, 2) of "x,y x,y ...", the corners between them cut ``smooth`` times (Chaikin's way)."""
    nodes = np.array([[float(number) for number in point.split(",")] for point in points.split()], np.float32)
    for _ in range(smooth):
        following = np.roll(nodes, -1, axis=0)
        cuts = np.stack([0.75 * nodes + 0.25 * following, 0.25 * nodes + 0.75 * following], axis=1).reshape(-1, 2)
        nodes = cuts if closed else np.concatenate([nodes[:1], cuts[1:-3], nodes[-1:]])
    return nodes


def profile(points: str, *, smooth: int = 0) -> Floats:
    """Return the closed polygon of "radius,y radius,y ..." for the lathe."""
    return line(points, smooth=smooth, closed=True)


def wire(path: Floats, radius: float, *, axis: int, level: float) -> Shape:
    """Return a round cable along ``path`` in the plane ``level`` across the axis x, y or z (0, 1, 2)."""
    apart = _tabled(path, closed=False)
    first, second = (i for i in range(3) if i != axis)
    return lambda p: length(apart(p[first], p[second]), p[axis] - level) - radius


def lathe(*profiles: Floats) -> Shape:
    """Return the solid that profiles sweep around the y axis."""
    apart = _tabled(*profiles, closed=True)
    return lambda p: apart(length(p[0], p[2]), p[1])


def _tabled(*lines: Floats, closed: bool) -> Callable[[Floats, Floats], Floats]:
    """Return the distance in the plane to polylines, or signed to polygons, as a table that is read bilinearly.

    So a hollow mug and a coiled cable cost what a cylinder does.
    """
    nodes = np.concatenate(lines)
    low, high = nodes.min(axis=0) - _MARGIN, nodes.max(axis=0) + _MARGIN
    cell = float((high - low).max()) / _CELLS
    columns, rows = (int(n) + 1 for n in np.ceil((high - low) / cell))
    x = (np.arange(columns, dtype=np.float32) * cell + low[0])[None]
    y = (np.arange(rows, dtype=np.float32) * cell + low[1])[:, None]
    nearest = np.full((rows, columns), np.inf, np.float32)
    inside = np.zeros(nearest.shape, bool)
    ends = [pair for line in lines for pair in pairwise([*line, line[0]] if closed else line)]
    for (ax, ay), (bx, by) in ends:
        dx, dy = bx - ax, by - ay
        t = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        nearest = np.minimum(nearest, (x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2)
        if closed and dy:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (dx / dy))
    table = np.sqrt(nearest)
    if closed:
        table = cv2.GaussianBlur(np.where(inside, -table, table), (0, 0), 1.2)

    def distance(a: Floats, b: Floats) -> Floats:
        u, v = (a - low[0]) / cell, (b - low[1]) / cell
        near_u, near_v = np.clip(u, 0, columns - 1), np.clip(v, 0, rows - 1)
        inner = sampled(table, near_u, near_v)
        # Beyond the table Pythagoras gives a lower bound, since the table is convex and holds all lines.
        beyond = (u - near_u) ** 2 + (v - near_v) ** 2
        far = np.flatnonzero(beyond)
        inner[far] = np.sqrt(inner[far] ** 2 + beyond[far] * (cell * cell))
        return inner

    return distance


def moved(shape: Shape, by: Vector) -> Shape:
    offset = column(by)
    return lambda p: shape(p - offset)


def turned(shape: Shape, degrees: float, axis: int = 1) -> Shape:
    """Turn counter-clockwise about the axis x, y or z (0, 1, 2), seen from its positive end."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3

    def distance(p: Floats) -> Floats:
        q = p.copy()
        q[first] = p[first] * cos + p[second] * sin
        q[second] = p[second] * cos - p[first] * sin
        return shape(q)

    return distance


def union(*shapes: Shape) -> Shape:
    return lambda p: reduce(np.minimum, (s(p) for s in shapes))


def blended(radius: float, *shapes: Shape) -> Shape:
    """Return the union of the shapes with fillets of about ``radius``."""

    def smooth(a: Floats, b: Floats) -> Floats:
        overlap = np.maximum(radius - np.abs(a - b), 0)
        joined: Floats = np.minimum(a, b) - overlap * overlap * (0.25 / radius)
        return joined

    return lambda p: reduce(smooth, (s(p) for s in shapes))


def cut(shape: Shape, *tools: Shape) -> Shape:
    return lambda p: reduce(lambda d, tool: np.maximum(d, -tool(p)), tools, shape(p))


def common(*shapes: Shape) -> Shape:
    return lambda p: reduce(np.maximum, (s(p) for s in shapes))


def mirrored(shape: Shape, axis: int = 0) -> Shape:
    """Repeat the half at positive coordinates on the other side."""

    def distance(p: Floats) -> Floats:
        q = p.copy()
        np.abs(q[axis], out=q[axis])
        return shape(q)

    return distance
