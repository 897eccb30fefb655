"""What was stuck or smeared on the wares: prints that lie on them."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cleanplate.cli.demo.studio.paints import Drawing, Pen, noise, text, texture
from cleanplate.cli.demo.studio.scene import Decal
from cleanplate.cli.demo.studio.shapes import Floats

_PAPER, _INK = "#f9f8f3", "#1a1a1a"


def price() -> tuple[Decal, ...]:
    def draw(pen: Pen) -> None:
        pen.ellipse((20, 20, 380, 380), "#f26b21")
        pen.ellipse((36, 36, 364, 364), outline="#ffffff", width=5)
        white = "#ffffff"
        text((200, 108, "SALE", 58, white), (200, 205, "12.90", 116, white), (200, 292, "EUR", 44, white))(pen)

    return (Decal(_stuck(400, 400, draw), (0, 0.6, 0.5), 0.4, azimuth=4, roll=9, wrap=0.5, roughness=0.35),)


def barcode() -> tuple[Decal, ...]:
    def draw(pen: Pen) -> None:
        pen.rounded_rectangle((16, 16, 444, 284), 14, _PAPER)
        _bars(pen, (54, 48, 406, 205), "5701234567899")

    return (Decal(_stuck(460, 300, draw), (0, 0.265, 0.41), 0.32, azimuth=5, roll=-4, wrap=0.413, roughness=0.4),)


def shipping_label() -> tuple[Decal, ...]:
    def draw(pen: Pen) -> None:
        pen.rounded_rectangle((14, 14, 606, 446), 10, _PAPER)
        pen.rectangle((40, 40, 176, 120), _INK)
        text((108, 80, "DK 1", 44, _PAPER))(pen)
        for row, words in enumerate(("TO:  M. LINDQVIST", "HARBOUR STREET 21", "8000 AARHUS C", "DENMARK")):
            pen.text((200, 40 + 38 * row), words, _INK, ImageFont.load_default(31))
        pen.line((30, 208, 590, 208), _INK, 3)
        pen.text((44, 222), "PRIORITY     0.84 kg     1 of 1", _INK, ImageFont.load_default(27))
        _bars(pen, (70, 268, 550, 388), "370012894406517")

    return (Decal(_stuck(620, 460, draw), (0.24, 0.185, 0.46), 0.4, roll=2.5, roughness=0.5),)


def fingerprints() -> tuple[Decal, ...]:
    y, x = np.mgrid[-1:1:300j, -1:1:240j].astype(np.float32)
    warp = 3.6 * noise(x * 0.12 + 0.4, y * 0.12 + 0.1, 3)
    ridges = 0.5 + 0.5 * np.sin(40 * np.sqrt(x * x * 1.9 + (y + 0.1 + 0.5 * x * x) ** 2 + 0.05) + warp + 3 * x)
    pad = np.clip(1.15 - np.sqrt(x * x + y * y) + 0.1 * noise(x * 0.3, y * 0.3, 4), 0, 0.3) / 0.3
    grease = pad * (0.06 + 0.26 * ridges) * np.clip(0.75 + 0.4 * noise(x * 0.5, y * 0.5, 5), 0, 1)
    smear = texture(np.dstack([*(np.full_like(x, level) for level in (0.86, 0.88, 0.86)), grease]))
    places = ((0.25, 33, 14, 0.16), (0.19, 49, -12, 0.15), (0.59, 8, 20, 0.16))
    return tuple(
        Decal(smear, (0, height, 0.56), width, azimuth=azimuth, roll=roll, wrap=0.57, roughness=0.9)
        for height, azimuth, roll, width in places
    )


def _stuck(width: int, height: int, draw: Drawing) -> Floats:
    """Return a sticker's texture with the thin shadow of its edge round it."""
    paper = Image.new("RGBA", (width, height))
    draw(ImageDraw.Draw(paper))
    edge = max(2, width // 90)
    shadow = paper.getchannel("A").filter(ImageFilter.GaussianBlur(edge)).point([level // 2 for level in range(256)])
    ground = Image.new("RGBA", paper.size)
    ground.paste(Image.new("RGBA", paper.size, "#000000"), (edge, edge), shadow)
    return texture(np.asarray(Image.alpha_composite(ground, paper), np.float32) / 255)


def _bars(pen: Pen, box: tuple[int, int, int, int], digits: str) -> None:
    left, top, right, bottom = box
    widths = np.random.default_rng(int(digits)).integers(1, 4, 59)
    edges = left + np.cumsum([0, *widths]) * (right - left) / widths.sum()
    for start, end in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True):
        pen.rectangle((start, top, end - 1, bottom), _INK)
    pen.text(((left + right) / 2, bottom + 6), "  ".join(digits), _INK, ImageFont.load_default(26), anchor="mt")
