"""Wares that are turned on a lathe: a unit or two high, standing on the floor and facing the front."""

import numpy as np

from cleanplate.cli.demo.studio.paints import colour, mixed, mottled, noise, printed, specks, text
from cleanplate.cli.demo.studio.scene import Decal, Material, Solid
from cleanplate.cli.demo.studio.shapes import (
    Floats,
    Shape,
    blended,
    column,
    common,
    ellipsoid,
    half_space,
    lathe,
    length,
    profile,
    torus,
)


def _above(edge: float) -> Shape:
    return half_space(1, edge)


def _below(edge: float) -> Shape:
    return lambda p: p[1] - edge


def _around(p: Floats) -> Floats:
    angle: Floats = np.arctan2(p[0], p[2])
    return angle


def mug() -> Solid:
    body = lathe(profile("0,0 .4,0 .46,.025 .5,.11 .5,.95 .487,.97 .472,.95 .462,.1 0,.07", smooth=1))
    ear = common(torus(0.25, 0.052, (0.5, 0.52, 0), axis=2), half_space(0, 0.46))
    cream, glaze = colour("#f4efe6"), colour("#7f9a8c")

    def dipped(p: Floats) -> Floats:
        angle = _around(p)
        edge = 0.27 + 0.012 * noise(angle * 0.16, np.full_like(angle, 0.3), 4)
        return mixed(glaze, cream, (p[1] - edge) * 150) * (1 - 0.6 * specks(angle * 0.5, p[1]))

    return Solid(((blended(0.07, body, ear), Material(dipped, 0.1, 0.05)),), (0.12, 0.5, 0), 0.86)


def bottle() -> Solid:
    outline = lathe(
        profile("0,0 .36,0 .4,.03 .41,.08 .41,.98 .37,1.12 .2,1.22 .165,1.27 .165,1.42 0,1.42", smooth=2),
        profile("0,1.33 .2,1.33 .205,1.345 .205,1.6 .19,1.62 .11,1.62 .115,1.78 .095,1.92 .06,1.98 .02,2 0,2"),
    )

    def amber(p: Floats) -> Floats:
        rim, filled = np.clip(np.abs(p[0]) / 0.41, 0, 1) ** 3, np.clip((1.03 - p[1]) * 60, 0, 1)
        painted: Floats = mixed(colour("#a8541a"), colour("#5a2408"), filled * 0.75 + 0.1) * (0.5 + 0.9 * rim)
        return painted

    def ribbed(p: Floats) -> Floats:
        return mixed(colour("#0c0b0b"), colour("#2a2826"), 0.5 + 0.5 * np.cos(56 * _around(p)))

    label = printed(
        620,
        400,
        text(
            (310, 75, "NORDLYS", 76, "#2b2a28"),
            (310, 142, "botanical hair oil", 31, "#6d6558"),
            (310, 238, "No. 4", 88, "#a8642e"),
            (310, 332, "rosemary / argan / vitamin E", 28, "#6d6558"),
        ),
        "#efe8da",
    )
    glass, cap, rubber = Material(amber, 0.02, 0.07), Material(ribbed, 0.3), Material(colour("#22201e"), 0.55)
    return Solid(
        ((_below(1.33), glass), (common(_above(1.33), _below(1.62)), cap), (_above(1.62), rubber)),
        (0, 0.98, 0),
        1.12,
        (Decal(label, (0, 0.75, 0.41), 0.66, wrap=0.412, roughness=0.7),),
        outline,
    )


def lamp() -> Solid:
    outline = lathe(
        profile("0,0 .4,0 .42,.015 .42,.05 .4,.065 .06,.08 .03,.12 .026,.2 .026,1.3 0,1.3"),
        profile(".17,1.72 .2,1.72 .56,1.12 .53,1.12"),
        profile("0,1.18 .08,1.2 .13,1.3 .1,1.42 0,1.46"),
    )

    def glowing(p: Floats) -> Floats:
        cloth = mixed(colour("#dcc9a6"), colour("#f4e8cf"), 0.6 + 0.16 * noise(_around(p) * 0.4, p[1] * 3, 6))
        heart = np.exp(-(((p[1] - 1.32) / 0.26) ** 2))
        painted: Floats = cloth * (0.42 + 0.75 * heart) * column((1.12, 0.95, 0.72))
        return painted

    brass, shade = Material(colour("#b9853f"), 0.16, metal=True), Material(glowing, 0.9, 0.02, glow=0.3)
    return Solid(((_below(1.1), brass), (_above(1.1), shade)), (0, 0.86, 0), 1.06, outline=outline)


def vase() -> Solid:
    body = lathe(
        profile(
            "0,0 .24,0 .3,.03 .46,.35 .5,.62 .42,.95 .17,1.2 .12,1.4 .13,1.58 .21,1.7 .2,1.715 .1,1.6 .09,1.35 0,1.2",
            smooth=2,
        )
    )

    def glaze(p: Floats) -> Floats:
        angle = _around(p)
        share = (p[1] - 0.72 - 0.1 * noise(angle * 0.32, p[1] * 0.12)) * 3
        return mixed(colour("#d8cfc0"), colour("#2f5f73"), share) * (1 - 0.6 * specks(angle * 0.5, p[1]))

    return Solid(((body, Material(glaze, 0.14, 0.05)),), (0, 0.86, 0), 1.0)


def tin() -> Solid:
    outline = lathe(
        profile("0,0 .54,0 .56,.02 .56,.5 0,.5"),
        profile("0,.46 .575,.46 .585,.48 .585,.7 .56,.735 .52,.735 .5,.715 .36,.715 .35,.725 .33,.725 .32,.715 0,.715"),
    )
    band = printed(
        1200,
        260,
        text(
            (600, 85, "MORNING  LEAF", 84, "#f1e3c2"),
            (600, 170, "darjeeling first flush", 38, "#e2c78d"),
            (600, 222, "100 g", 30, "#e2c78d"),
        ),
    )
    lacquer, brass = Material(colour("#174238"), 0.22, 0.06), Material(colour("#cfab6d"), 0.2, metal=True)
    return Solid(
        ((_below(0.46), lacquer), (_above(0.46), brass)),
        (0, 0.36, 0),
        0.76,
        (Decal(band, (0, 0.235, 0.56), 0.84, azimuth=-14, wrap=0.56, roughness=0.3),),
        outline,
    )


def cactus() -> Solid:
    pot = lathe(
        profile(
            "0,.06 .29,.06 .3,.08 .37,.5 .42,.505 .43,.52 .43,.64 .42,.65 .39,.65 .38,.58 0,.58 "
            "0,.05 .36,.05 .43,.09 .44,.07 .36,0 0,0"
        )
    )
    rim, soil_level = 0.375, 0.56

    def globe(p: Floats) -> Floats:
        q = p - column((0, 0.93, 0))
        ribs = np.abs(np.sin(_around(q) * 9)) * np.clip(length(q[0], q[2]) * 5, 0, 1)
        apart: Floats = (length(q[0], q[1] * np.float32(0.86), q[2]) - 0.305 - 0.036 * ribs) * np.float32(0.75)
        return apart

    def skin(p: Floats) -> Floats:
        ridge = np.abs(np.sin(_around(p) * 9))
        spines = np.clip((ridge - 0.962) * 200, 0, 1) * np.clip(4 * np.sin(p[1] * 94) - 2, 0, 1)
        green = mixed(colour("#2f5a39"), colour("#6f9a5e"), ridge**2)
        painted: Floats = green + (column(colour("#efe6c8")) - green) * spines
        return painted

    soil = mottled(colour("#2c211a"), colour("#6a5847"), scale=6)
    terracotta = mottled(colour("#b5623f"), colour("#c77552"), scale=1.5)

    def baked(p: Floats) -> Floats:
        return np.where((length(p[0], p[2]) < rim) & (p[1] > soil_level), soil(p), terracotta(p))

    flower = ellipsoid((0.075, 0.06, 0.075), (0.03, 1.3, 0.05))
    return Solid(
        ((pot, Material(baked, 0.8, 0.025)), (globe, Material(skin, 0.45)), (flower, Material(colour("#e2557a"), 0.6))),
        (0, 0.68, 0),
        0.86,
    )
