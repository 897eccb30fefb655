"""Wares that are not round: a unit or so high, standing on the floor and facing the front."""

import numpy as np

from cleanplate.cli.demo.studio.paints import Pen, colour, mixed, mottled, noise, printed, text, weave, wood
from cleanplate.cli.demo.studio.scene import Decal, Material, Solid
from cleanplate.cli.demo.studio.shapes import (
    Floats,
    blended,
    box,
    capsule,
    column,
    common,
    cut,
    disc,
    ellipsoid,
    half_space,
    length,
    mirrored,
    torus,
    union,
)


def parcel() -> Solid:
    kraft, lid = (
        mottled(colour("#b98d5f"), colour("#c79c6e"), scale=2.2),
        mottled(colour("#c2976a"), colour("#cda377"), scale=2),
    )
    stamp = printed(
        520,
        150,
        text(
            (260, 55, "HOLM & DAUGHTERS", 50, "#3a2c20d8"),
            (260, 112, "handmade footwear / since 1964", 26, "#3a2c20c8"),
        ),
    )
    return Solid(
        (
            (box((0.72, 0.26, 0.46), (0, 0.26, 0), 0.012), Material(kraft, 0.75, 0.02)),
            (box((0.74, 0.11, 0.48), (0, 0.48, 0), 0.014), Material(lid, 0.75, 0.02)),
        ),
        (0, 0.3, 0),
        0.95,
        (Decal(stamp, (0.0, 0.59, 0.0), 0.8, elevation=90, roughness=0.8),),
    )


def headphones() -> Solid:
    hoop = common(torus(0.64, 0.05, (0, 0.66, 0), axis=2), half_space(1, 0.5))
    ear, flattened = 0.305, column((1, 1, 0.45))
    cushion = blended(0.02, torus(0.2, 0.085, (0.5, ear, 0), axis=0), disc(0.18, 0.03, (0.54, ear, 0), 0.01, axis=0))
    return Solid(
        (
            (lambda p: hoop(p * flattened), Material(colour("#c9c4bb"), 0.25, metal=True)),
            (
                common(torus(0.6, 0.06, (0, 0.66, 0), axis=2), half_space(1, 1.03)),
                Material(colour("#3b332d"), 0.7),
            ),
            (mirrored(disc(0.3, 0.075, (0.62, ear, 0), 0.05, axis=0)), Material(colour("#e9e2d6"), 0.3)),
            (mirrored(cushion), Material(colour("#40362f"), 0.65)),
            (mirrored(torus(0.235, 0.012, (0.69, ear, 0), axis=0)), Material(colour("#c79a5b"), 0.15, metal=True)),
        ),
        (0, 0.65, 0),
        1.1,
    )


def soap() -> Solid:
    def bar(p: Floats) -> Floats:
        square = ((p - column((0, 0.2, 0))) / column((0.66, 0.2, 0.42))) ** 2
        return (np.sqrt(length(*square)) - 1) * np.float32(0.19)

    def marble(p: Floats) -> Floats:
        warp = noise(p[0] * 0.12 + 0.2, p[2] * 0.12 + p[1] * 0.1, 3)
        vein = 1 - np.abs(np.sin((p[0] * 1.4 + p[2] * 2.2 + p[1]) * 2.2 + warp * 1.6))
        return mixed(colour("#c6c8a2"), colour("#959a6c"), vein**4 * 0.55)

    hollow = ellipsoid((0.5, 0.06, 0.3), (0, 0.41, 0))
    ink = "#4d5233c0"
    mark = printed(420, 180, text((210, 70, "OLIVE", 92, ink), (210, 145, "oat milk soap  120 g", 28, ink)))
    return Solid(
        ((cut(bar, hollow), Material(marble, 0.35, 0.045)),),
        (0, 0.2, 0),
        0.85,
        (Decal(mark, (0, 0.38, 0.0), 0.5, elevation=90, roughness=0.5),),
    )


def watch() -> Solid:
    lift = 0.79
    case = union(
        disc(0.44, 0.085, (0, lift, 0.42), 0.03, axis=2),
        torus(0.415, 0.03, (0, lift, 0.505), axis=2),
        disc(0.05, 0.04, (0.5, lift, 0.42), 0.012, axis=0),
    )

    def strap(p: Floats) -> Floats:
        y = p[1] - np.float32(lift * 0.98)
        hoop = np.abs(length(y * np.float32(0.62), p[2]) - 0.42) - 0.02
        half = 0.2 - 0.03 * np.clip(np.abs(y), 0, 1)
        apart: Floats = np.maximum(hoop, np.abs(p[0]) - half) * np.float32(0.8)
        return apart

    def leather(p: Floats) -> Floats:
        stitch = np.clip(7 - 1000 * np.abs(np.abs(p[0]) - 0.165), 0, 1) * (np.sin(p[1] * 138 + p[2] * 31) > 0)
        tan = mixed(colour("#7a4a2b"), colour("#8d5936"), 0.5 + 0.3 * noise(p[0] * 3, (p[1] + p[2]) * 3, 6))
        painted: Floats = tan + (column(colour("#e3cfae")) - tan) * stitch
        return painted

    return Solid(
        ((case, Material(colour("#c9ccd0"), 0.1, metal=True)), (strap, Material(leather, 0.5))),
        (0, 0.77, 0.05),
        0.98,
        (Decal(printed(500, 500, _dial), (0, lift, 0.505), 0.79, roughness=0.3),),
    )


def _dial(pen: Pen) -> None:
    def hand(degrees: float, start: float, end: float, ink: str, width: int) -> None:
        x, y = float(np.sin(np.radians(degrees))), -float(np.cos(np.radians(degrees)))
        pen.line((250 + x * start, 250 + y * start, 250 + x * end, 250 + y * end), ink, width)

    pen.ellipse((0, 0, 499, 499), "#f1eee6")
    for minute in range(60):
        hand(minute * 6, *((228, 238, "#2a2f36", 3) if minute % 5 else (205, 238, "#2a2f36", 9)))
    text((250, 150, "AUREL", 34, "#2a2f36"), (250, 350, "automatic", 22, "#7b8088"))(pen)
    hand(305, -25, 120, "#1f2a3a", 13)
    hand(52, -25, 185, "#1f2a3a", 9)
    hand(190, -45, 205, "#b4532a", 3)
    pen.ellipse((239, 239, 261, 261), "#b4532a")


def book() -> Solid:
    cover = cut(box((0.56, 0.8, 0.135), (0, 0.8, 0), 0.008), box((0.56, 0.9, 0.112), (0.02, 0.8, 0)))
    pages = box((0.54, 0.775, 0.114), (-0.005, 0.8, 0))

    def paper(p: Floats) -> Floats:
        return mixed(colour("#d9cdb4"), colour("#f1e8d4"), 0.5 + 0.5 * np.sin(p[2] * 420 + noise(p[1], p[0], 4)))

    cloth = mottled(colour("#b5482f"), colour("#bd5138"), scale=5)
    return Solid(
        ((cover, Material(cloth, 0.55, 0.035)), (pages, Material(paper, 0.9, 0.02))),
        (0, 0.8, 0),
        1.02,
        (Decal(printed(640, 914, _coast), (0, 0.8, 0.135), 1.115, roughness=0.35),),
    )


def _coast(pen: Pen) -> None:
    pen.ellipse((150, 215, 490, 555), "#e7b45c")
    x = np.arange(0, 641, 8)
    for step, ink in enumerate(("#2f5d62", "#25494e", "#1b373c")):
        ridge = 440 + step * 80 + 46 * np.sin(x / (70 + 22 * step) + step * 2.1) + 20 * np.sin(x / 31 + step)
        pen.polygon([*zip(x.tolist(), ridge.tolist(), strict=True), (640, 914), (0, 914)], ink)
    ink = "#f4ead6"
    text((320, 690, "THE QUIET", 76, ink), (320, 772, "COAST", 76, ink), (320, 860, "INGRID VALE", 36, ink))(pen)


def speaker() -> Solid:
    brass = union(disc(0.085, 0.03, (0.45, 0.72, 0), 0.012), capsule((-0.5, 0.69, 0), (-0.25, 0.69, 0), 0.025))
    walnut, cloth = wood(colour("#7a4f30"), colour("#4a2d1a")), weave(colour("#1d1e20"), colour("#33353a"), 40)

    def front(p: Floats) -> Floats:
        aside = np.maximum(np.abs(p[0]) - 0.56, 0), np.maximum(np.abs(p[1] - 0.36) - 0.12, 0)
        edge = np.where(p[2] > 0, length(*aside) - 0.1, 1)
        seam = mixed(colour("#0b0b0c"), (1, 1, 1), np.abs(edge) * 120)
        return np.where(edge < 0, cloth(p), walnut(p)) * seam

    badge = printed(220, 60, text((110, 30, "tonn", 48, "#d8c7a3")))
    return Solid(
        (
            (box((0.78, 0.34, 0.26), (0, 0.36, 0), 0.14), Material(front, 0.45)),
            (box((0.6, 0.03, 0.12), (0, 0.03, 0)), Material(colour("#151515"), 0.7)),
            (brass, Material(colour("#c7a46b"), 0.15, metal=True)),
        ),
        (0, 0.36, 0),
        0.95,
        (Decal(badge, (0.52, 0.2, 0.26), 0.17, roughness=0.4),),
    )
