"""Product photographs with something to erase, and the masks for it, for who has none at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cleanplate.cli.demo.studio import goods, specks, stickers, things, vessels
from cleanplate.cli.demo.studio.paints import colour
from cleanplate.cli.demo.studio.render import render
from cleanplate.cli.demo.studio.scene import Camera, Decal, Scene, Solid
from cleanplate.cli.demo.studio.shapes import Floats

Pixels = NDArray[np.uint8]
Specks = Callable[[Floats, np.random.Generator], Floats]

_VISIBLE = 0.02  # share of a pixel
_GENEROUS = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (19, 19))  # what masks cover beyond the thing itself


@dataclass(frozen=True)
class Shot:
    """``size`` is width and height, both even; ``zoom`` how many times the product's radius the camera stands away."""

    file: str
    paper: str
    product: Callable[[], Solid]
    size: tuple[int, int]
    azimuth: float
    elevation: float
    zoom: float
    thing: Callable[[], Solid] | None = None
    stickers: Callable[[], tuple[Decal, ...]] | None = None
    specks: Specks | None = None


_SQUARE, _TALL, _WIDE = (1024, 1024), (896, 1152), (1152, 896)
SHOTS = (
    Shot("mug-price-sticker.jpg", "#d9cfc2", vessels.mug, _SQUARE, 14, 15, 5.6, stickers=stickers.price),
    Shot("headphones-cable.jpg", "#d8b4a0", goods.headphones, _SQUARE, 22, 14, 5.4, thing=things.cable),
    Shot("bottle-barcode.jpg", "#b9a88f", vessels.bottle, (832, 1216), 6, 9, 4.9, stickers=stickers.barcode),
    Shot("parcel-shipping-label.jpg", "#9fb0ad", goods.parcel, _WIDE, 26, 20, 5.6, stickers=stickers.shipping_label),
    Shot("watch-display-stand.jpg", "#e6e1d8", goods.watch, _TALL, 20, 10, 5.0, thing=things.display_stand),
    Shot("speaker-dust.jpg", "#b8bfc4", goods.speaker, (1408, 704), -20, 13, 5.0, specks=specks.dust),
    Shot("book-clamp.jpg", "#8fa3a8", goods.book, _TALL, 24, 10, 5.2, thing=things.clamp),
    Shot("lamp-power-cord.jpg", "#46525a", vessels.lamp, _TALL, 0, 9, 5.2, thing=things.power_cord),
    Shot("soap-lint.png", "#cfd4d0", goods.soap, (1216, 832), 24, 30, 5.6, specks=specks.lint),
    Shot("vase-hanging-tag.jpg", "#caa78f", vessels.vase, (768, 1344), 0, 9, 4.5, thing=things.hanging_tag),
    Shot("tin-fingerprint.png", "#d9c9a8", vessels.tin, _WIDE, 10, 18, 5.8, stickers=stickers.fingerprints),
    Shot("cactus-price-stake.jpg", "#e7d3c7", vessels.cactus, (960, 1088), 8, 14, 5.4, thing=things.price_stake),
)


@dataclass(frozen=True, eq=False)
class Take:
    """One photograph, height x width x 3, what it would be without the thing, and 255 where that is to be erased."""

    photo: Pixels
    clean: Pixels
    mask: Pixels


def make(folder: Path, count: int = 12, seed: int = 7) -> list[Path]:
    """Write ``count`` photographs and beside each its ``NAME_mask.png``, white where to erase; return the photographs.

    The same seed gives the same pictures. From the thirteenth on the wares come again, on other paper and seen anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        again, index = divmod(number, len(SHOTS))
        shot = SHOTS[index]
        paper = SHOTS[(index + 5 * again) % len(SHOTS)].paper
        taken = take(shot, np.random.default_rng([seed, number]), paper)
        path = folder / shot.file
        if again:
            path = path.with_stem(f"{path.stem}-{again + 1}")
        Image.fromarray(taken.photo).save(path, quality=92, compress_level=3)
        Image.fromarray(taken.mask).save(path.with_name(f"{path.stem}_mask.png"))
        paths.append(path)
    return paths


def take(shot: Shot, rng: np.random.Generator, paper: str) -> Take:
    """Take one photograph; ``rng`` decides on a few degrees of the camera, on where specks lie, and on the grain."""
    product = shot.product()
    azimuth, elevation = shot.azimuth + rng.uniform(-4, 4), shot.elevation + rng.uniform(-1.5, 1.5)
    camera = Camera(product.centre, shot.zoom * product.radius, azimuth, elevation)
    thing, stuck = shot.thing() if shot.thing else None, shot.stickers() if shot.stickers else ()
    plate = render(Scene(product, camera, colour(paper), thing, stuck), *shot.size)
    cluttered, touched = plate.cluttered, plate.touched
    if shot.specks:
        over = shot.specks(plate.product, rng)
        cluttered = cluttered + (over[..., :3] - cluttered) * over[..., 3:]
        touched = np.maximum(touched, over[..., 3])
    mask = cv2.dilate(np.where(touched > _VISIBLE, 255, 0).astype(np.uint8), _GENEROUS).astype(np.uint8)
    film, where = _Film(mask.shape, rng), mask > 0
    clean = film.exposed(plate.clean, np.s_[:])
    photo = clean.copy()
    photo[where] = film.exposed(cluttered[where], where)
    return Take(photo, clean, mask)


class _Film:
    """A vignette and grain of a picture's height and width."""

    def __init__(self, size: tuple[int, ...], rng: np.random.Generator) -> None:
        y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
        self._vignette = 255 * (1 - 0.1 * ((y * y)[:, None] + x * x) ** 1.5 / 2.83)
        self._grain = 255 * 0.009 * cv2.GaussianBlur(rng.standard_normal(size, np.float32), (0, 0), 0.55)

    def exposed(self, light: Floats, where: Any) -> Pixels:
        """Return the print of display RGB 0..1 at the pixels ``where``."""
        print_ = light * self._vignette[where][..., None] + self._grain[where][..., None]
        pixels: Pixels = np.clip(print_, 0, 255).astype(np.uint8)
        return pixels
