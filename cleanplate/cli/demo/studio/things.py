"""What stands, lies or hangs about the wares: solids that cast shadows and may hide what is behind them."""

import numpy as np

from cleanplate.cli.demo.studio.paints import colour, mottled, printed, text, wood
from cleanplate.cli.demo.studio.scene import Decal, Material, Solid
from cleanplate.cli.demo.studio.shapes import (
    Floats,
    Shape,
    blended,
    box,
    capsule,
    cut,
    disc,
    line,
    mirrored,
    moved,
    torus,
    turned,
    union,
    wire,
)


def cable() -> Solid:
    path = line("-.62,0 -.62,.3 -.55,.62 -.1,.8 .35,.5 .75,.55 1,1.05 1.9,1.3", smooth=3)
    fall = capsule((-0.62, 0.1, 0), (-0.62, 0.022, 0.02), 0.021)
    jacket = blended(0.04, wire(path, 0.021, axis=1, level=0.022), fall)
    plug = capsule((-0.62, 0.12, 0), (-0.62, 0.06, 0), 0.034)
    return Solid(
        ((jacket, Material(colour("#1d1d1f"), 0.4)), (plug, Material(colour("#2a2a2c"), 0.3))), (0.55, 0.1, 0.6), 1.45
    )


def power_cord() -> Solid:
    path = line(".15,-.33 .5,-.5 .75,-.3 .72,.1 .95,.3 1.2,0 2,-.2", smooth=3)
    switch = moved(turned(box((0.1, 0.035, 0.045), radius=0.02), -92), (0.735, 0.035, -0.08))
    plastic = Material(colour("#ece8df"), 0.35)
    return Solid(((union(wire(path, 0.024, axis=1, level=0.026), switch), plastic),), (1.1, 0.05, -0.3), 1.15)


def display_stand() -> Solid:
    oak = wood(colour("#c99c63"), colour("#a87741"))
    return Solid(((box((0.42, 0.035, 0.36), (0, 0.035, 0), 0.015), Material(oak, 0.5)),), (0, 0.035, 0), 0.6)


def hanging_tag() -> Solid:
    middle, lean, roll = (0.03, 1.02, 0.37), 32, 6
    card = cut(box((0.1, 0.15, 0.006), radius=0.004), disc(0.016, 0.1, (0, 0.112, 0), axis=2))
    string = union(
        moved(torus(0.137, 0.008), (0, 1.34, 0)), capsule((0.02, 1.335, 0.135), (0.042, 1.125, 0.318), 0.007)
    )
    ink = "#3b332b"
    words = printed(
        300,
        400,
        text(
            (150, 110, "stoneware", 40, ink),
            (150, 200, "48.00", 86, ink),
            (150, 270, "EUR", 36, ink),
            (150, 335, "made by hand", 24, ink),
        ),
    )
    return Solid(
        (
            (string, Material(colour("#b49a6e"), 0.9)),
            (
                moved(turned(turned(card, -roll, axis=2), -lean, axis=0), middle),
                Material(mottled(colour("#e9dcc0"), colour("#dfcfac"), scale=4), 0.8, 0.02),
            ),
        ),
        (0.02, 1.12, 0.2),
        0.45,
        (Decal(words, middle, 0.18, elevation=lean, roll=-roll, roughness=0.8),),
    )


def clamp() -> Solid:
    def jaws(p: Floats) -> Floats:
        up = p[1] - np.float32(1.5)
        across = np.abs(p[2]) - 0.1 * up
        sides = np.maximum(np.abs(across - 0.15) - 0.012, up - 0.15)
        spine = np.maximum(np.abs(up - 0.15) - 0.012, across - 0.16)
        ends = np.maximum(np.abs(p[0] - np.float32(0.2)) - 0.2, -0.13 - up)
        apart: Floats = np.maximum(np.minimum(sides, spine), ends)
        return apart

    loop = line(".08,1.48 .11,1.66 .13,1.88 .27,1.88 .29,1.66 .32,1.48", smooth=3)
    handles = mirrored(turned(wire(loop, 0.014, axis=2, level=-0.145), 12, axis=0), axis=2)
    return Solid(
        ((jaws, Material(colour("#18181a"), 0.25)), (handles, Material(colour("#c8cacd"), 0.12, metal=True))),
        (0.2, 1.62, 0),
        0.42,
    )


def price_stake() -> Solid:
    foot, roll, reach = (0.33, 0.56, 0.06), 17, 0.6

    def planted(shape: Shape) -> Shape:
        return moved(turned(shape, -roll, axis=2), foot)

    blade = planted(
        union(
            box((0.026, 0.28, 0.008), (0, 0.28, 0), 0.004),
            box((0.12, 0.085, 0.008), (0, reach, 0), 0.006),
        )
    )
    words = printed(320, 220, text((160, 110, "4.50", 120, "#1f4d2e")))
    angle = np.radians(roll)
    centre = foot[0] + reach * float(np.sin(angle)), foot[1] + reach * float(np.cos(angle)), foot[2] + 0.008
    return Solid(
        ((blade, Material(colour("#f4f2ea"), 0.3)),),
        (0.42, 0.87, 0.06),
        0.45,
        (Decal(words, centre, 0.23, roll=-roll, roughness=0.4),),
    )
